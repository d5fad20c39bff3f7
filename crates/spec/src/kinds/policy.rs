//! `DataResidencyPolicy` as it is written, in our own group and in `policy.example.com/v1`.

use crate::form::{At, form, words};

form! {
    /// Where data of certain classes may live. Parsed and checked; enforced by a later version.
    pub(crate) struct PolicyForm {
        /// The classes of data that it covers, such as `pii`.
        required data_classes "dataClassification": At<Vec<String>>,
        /// Regions, or globs of them such as `eu-*`, that may hold the data.
        required allowed "allowedRegions": At<Vec<At<String>>>,
        /// Regions, or globs of them, that must not, whatever else is said.
        optional blocked "blockedRegions": At<Vec<At<String>>>,
        /// What must be encrypted.
        optional encryption "encryption": EncryptionForm,
        /// What must be written down.
        optional audit "audit": AuditForm,
    }
}

form! {
    /// What must be encrypted.
    pub(crate) struct EncryptionForm {
        /// On disk. Default: `optional`.
        optional at_rest "atRest": Want,
        /// On the wire. Default: `optional`.
        optional in_transit "inTransit": Want,
        /// Who holds the keys. Default: `provider-managed`.
        optional keys "keyManagement": Keys,
    }
}

/// Whether something must be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Required,
    Optional,
}

words!(Want: "`required` or `optional`" {
    "required" => Want::Required,
    "optional" => Want::Optional,
});

/// Who holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Customer,
    Provider,
}

words!(Keys: "`customer-managed` or `provider-managed`" {
    "customer-managed" => Keys::Customer,
    "provider-managed" => Keys::Provider,
});

form! {
    /// What must be written down.
    pub(crate) struct AuditForm {
        /// Every access is logged. Default: `disabled`.
        optional access_logging "accessLogging": Switch,
        /// For how many days; 2555 are seven years. Default: 0.
        optional retention_days "retentionDays": u32,
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    Enabled,
    Disabled,
}

words!(Switch: "`enabled` or `disabled`" {
    "enabled" => Switch::Enabled,
    "disabled" => Switch::Disabled,
});
