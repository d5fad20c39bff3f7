//! The machine from outside: scripts, and a small world of machines under random faults.

#[cfg(test)]
mod it {
    pub(crate) mod desk;
    pub(crate) mod faults;
    pub(crate) mod hand;
    pub(crate) mod names;
    pub(crate) mod scenes;
    pub(crate) mod world;
}
