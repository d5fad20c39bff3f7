//! What a check says.

use std::fmt;

use meridian_model::{GroupName, Name, RegionName, ServiceName};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a thought; the system may run.
    Warning,
    /// The system must not run like this.
    Error,
}

/// What a finding is about. `spec` knows where that was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A period of the topology, by its name in the spec, such as `leaseTtl`.
    Timer(&'static str),
    /// The time to recover.
    Rto,
    /// The data that may be lost.
    Rpo,
    /// The regions as a whole.
    Regions,
    /// The members of etcd.
    Coordination,
    /// How a database replicates.
    Replication(GroupName),
    /// The members of a database.
    Members(GroupName),
    /// The limits of a database's gateway.
    Gateway(GroupName),
    /// The limits of a database's switchover.
    Switchover(GroupName),
    /// How long a service's DNS answers may be kept.
    DnsTtl(ServiceName),
    /// The recovery plan of that name.
    Plan(Name),
    /// The steps of a list as a whole.
    Steps,
    /// The step of that name in a list.
    Step(Name),
    /// The node of a region, in a running system.
    Node(RegionName),
    /// A group's member in a region, in a running system.
    Member(GroupName, RegionName),
    /// A service in a region, in a running system.
    Instances(ServiceName, RegionName),
}

impl Subject {
    /// The region of which it is a part, if it is of one.
    #[must_use]
    pub const fn region(&self) -> Option<&RegionName> {
        match self {
            Self::Node(region) | Self::Member(_, region) | Self::Instances(_, region) => Some(region),
            _ => None,
        }
    }

    /// The data group that it belongs to, if it does.
    #[must_use]
    pub const fn group(&self) -> Option<&GroupName> {
        match self {
            Self::Replication(group)
            | Self::Members(group)
            | Self::Gateway(group)
            | Self::Switchover(group)
            | Self::Member(group, _) => Some(group),
            _ => None,
        }
    }

    /// Its name as a label of metrics: the group's or the service's, else the region's.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::DnsTtl(name)
            | Self::Instances(name, _)
            | Self::Plan(name)
            | Self::Step(name)
            | Self::Node(name) => Some(name),
            _ => self.group(),
        }
    }
}

/// One contradiction in a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its short name, stable: `safety-inequality`.
    pub code: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong: one sentence.
    pub message: String,
    /// The sum or the table that shows it, line by line.
    pub details: Vec<String>,
    /// What to do.
    pub suggestion: String,
}

impl Finding {
    /// A finding that refuses the system.
    pub(crate) fn error(code: &'static str, subject: Subject, message: String) -> Self {
        let (details, suggestion) = (Vec::new(), String::new());
        Self { severity: Severity::Error, code, subject, message, details, suggestion }
    }

    /// A finding that only warns.
    pub(crate) fn warning(code: &'static str, subject: Subject, message: String) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, subject, message) }
    }

    /// With what to do.
    pub(crate) fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self { suggestion: suggestion.into(), ..self }
    }

    /// With the lines that show it.
    pub(crate) fn show(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.details.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        if self.suggestion.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.suggestion) }
    }
}
