//! The same suite on two rigs, etcd and its twin in memory; then what only a real cluster can show.
//!
//! Real etcd members are started on loopback addresses of this process, with data in a temporary
//! folder, and die with the test. Without `etcd` on the PATH these tests fail: install `etcd-server`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at what it does not expect"
)]

mod it {
    pub(crate) mod cluster;
    pub(crate) mod dials;
    pub(crate) mod etcd;
    pub(crate) mod journal;
    pub(crate) mod memory;
    pub(crate) mod orders;
    pub(crate) mod proxy;
    pub(crate) mod rehearsals;
    pub(crate) mod suite;
}
