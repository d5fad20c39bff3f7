//! The machine from outside: scripts of single events. A world of machines under faults is the crate
//! `simulation`.

#[cfg(test)]
mod it {
    pub(crate) mod again;
    pub(crate) mod desk;
    pub(crate) mod early;
    pub(crate) mod evidence;
    pub(crate) mod hand;
    pub(crate) mod handed;
    pub(crate) mod names;
    pub(crate) mod news;
    pub(crate) mod patience;
    pub(crate) mod quorum;
    pub(crate) mod steps;
    pub(crate) mod void;
    pub(crate) mod walks;
}
