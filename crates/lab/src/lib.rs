//! A whole multi-region system on one machine: real processes, real programs, a WAN between them.
//!
//! One [`Lab`] is one running system. It starts what production starts, one etcd member and one node
//! for each region, each on loopback addresses of its own; it emulates the network between them
//! ([`wan`]); it breaks them on demand ([`faults`]). Load, ledger, drills and reports stand on top.
//!
//! The lab knows nothing of what a node does inside. It reads what a node tells over `GET /v1/status`
//! and nothing else, so that a drill measures from outside, as a user would.
//!
//! Linux only: it uses `/proc`, `PR_SET_PDEATHSIG` through `setpriv`, and 127.0.0.0/8.

pub mod control;
pub mod drill;
pub mod error;
pub mod faults;
pub mod ledger;
pub mod load;
pub mod measure;
pub mod plan;
pub mod process;
pub mod regions;
pub mod report;
pub mod status;
pub mod wan;

pub use error::LabError;
pub use faults::{Fault, FaultPart, FaultRecord, LabEvent, parse_bandwidth};
pub use plan::{Addresses, LabOptions};
pub use regions::Lab;
pub use status::{LabStatus, RegionStatus};

/// The specs that the nodes of that lab read, one a region. Each has the addresses by which its own region reaches the
/// others, across the emulated network; so only its own node is reached by it whatever has been lost.
///
/// # Errors
/// The lab's folder cannot be read, or has no spec in it.
pub fn specs_of(lab: &control::Holder) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut specs: Vec<_> = std::fs::read_dir(&lab.dir)?
        .filter_map(|entry| Some(entry.ok()?.path().join("spec.yaml")))
        .filter(|path| path.is_file())
        .collect();
    specs.sort();
    if specs.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(specs) }
}
