//! What was seen, and what is concluded from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::RegionName;

/// A part of a region that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The node: its control interface answers.
    Node,
    /// The edge answers HTTP.
    Edge,
    /// At least one instance of the application answers its health check.
    App,
    /// The gateway accepts PostgreSQL sessions.
    Gateway,
    /// The database answers SQL.
    Database,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Node, Self::Edge, Self::App, Self::Gateway, Self::Database];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Node => "node",
            Self::Edge => "edge",
            Self::App => "app",
            Self::Gateway => "gateway",
            Self::Database => "database",
        })
    }
}

/// What is checked: one part of one region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Where.
    pub region: RegionName,
    /// What.
    pub part: Part,
}

/// Up, down, or not known. Unknown is an answer: it is never rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        })
    }
}

/// What one vantage point says of one target, after its own thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What was looked at.
    pub target: Target,
    /// What the vantage holds it to be.
    pub health: Health,
    /// How many probes in a row ended like the last one.
    pub in_a_row: u32,
    /// How long the last successful probe took, in microseconds.
    pub rtt_us: Option<u64>,
    /// What the last probe said: `200 OK`, `connection timed out after 1s`.
    pub detail: String,
}

/// All that one vantage point says at once: what a node shares through etcd every round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who says so.
    pub vantage: RegionName,
    /// The number of the round; it only rises while the node lives.
    pub round: u64,
    /// What it saw.
    pub observations: Vec<Observation>,
}

/// What all vantage points together make of one target, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is judged.
    pub target: Target,
    /// What it is held to be.
    pub health: Health,
    /// The sentence that says why, such as `2 of 3 vantage points say down, its own report is silent`.
    pub reason: String,
    /// What each vantage said.
    pub evidence: Vec<Evidence>,
}

/// One vantage point's part in a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who.
    pub vantage: RegionName,
    /// What it said; unknown when its report has expired or it is cut off itself.
    pub health: Health,
    /// Its last words.
    pub detail: String,
    /// How old its report was when judged, in milliseconds.
    pub age_ms: u64,
}

/// The state of a region: the one state that DNS, edge, gateway and failover act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionHealth {
    /// Which.
    pub region: RegionName,
    /// The whole region: down only with two kinds of evidence.
    pub health: Health,
    /// The sentence that says why.
    pub reason: String,
    /// Each part.
    pub parts: Vec<Verdict>,
}

impl RegionHealth {
    /// What `part` is held to be.
    #[must_use]
    pub fn part(&self, part: Part) -> Health {
        self.parts.iter().find(|v| v.target.part == part).map_or(Health::Unknown, |v| v.health)
    }
}
