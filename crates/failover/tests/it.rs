//! The machine from outside: scripts, and a small world of machines under random faults.

mod it {
    pub(crate) mod faults;
    pub(crate) mod names;
    pub(crate) mod world;
}
