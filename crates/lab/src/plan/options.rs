//! What a caller may choose.

use std::path::PathBuf;

/// How a lab is started.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// The number of the lab (10 to 250); none: that of the stopped lab which was made for this very spec,
    /// else the lowest free.
    pub number: Option<u8>,
    /// The state folder; none: `/var/tmp/meridian-lab-UID/TOPOLOGY-NUMBER`.
    pub dir: Option<PathBuf>,
    /// Not the topology's name but this one, and never a stopped lab's number or folder: a drill's.
    pub own_name: Option<String>,
    /// Whoever finds the data of this lab when it does not run may remove it.
    pub temporary: bool,
    /// The program that is started as node; none: the one that runs now.
    pub meridian: Option<PathBuf>,
    /// Seed of jitter and loss.
    pub seed: u64,
    /// Remove the data of an earlier run first.
    pub fresh: bool,
    /// Start etcd and the WAN only: for tests of the lab itself.
    pub without_nodes: bool,
}
