//! What the law allows: parsed and validated now, enforced by `residency` later.

use crate::name::Name;

/// Where data of certain classes may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataResidencyPolicy {
    /// Its name.
    pub name: Name,
    /// The classes of data that it covers, such as `pii`.
    pub data_classes: Vec<String>,
    /// Regions, or globs of them, that may hold the data.
    pub allowed_regions: Vec<String>,
    /// Regions, or globs of them, that must not, whatever else is said.
    pub blocked_regions: Vec<String>,
    /// What must be encrypted.
    pub encryption: Encryption,
    /// What must be written down, and for how long.
    pub audit: Audit,
}

/// What must be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    /// On disk.
    pub at_rest_required: bool,
    /// On the wire.
    pub in_transit_required: bool,
    /// The customer holds the keys, not the provider.
    pub customer_managed_keys: bool,
}

/// What must be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// Every access is logged.
    pub access_logging: bool,
    /// For so many days (2,555 are seven years).
    pub retention_days: u32,
}
