//! The simulator from outside: scenes with one misfortune each, storms of many, and the list of mutants.

#[cfg(test)]
mod it {
    pub(crate) mod quorum;
    pub(crate) mod rows;
    pub(crate) mod scenes;
    pub(crate) mod storms;
}
