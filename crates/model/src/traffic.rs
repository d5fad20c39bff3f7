//! Dials that are turned while the system runs, by a step of a run or by a person. They stand in for the
//! dials of the spec, but for `forbid`.
//!
//! What a run has turned ends with the next claim that begins another run of its group, because etcd drops it
//! in that same transaction; what a person has turned ends when a person clears it. A person can clear both.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{RegionName, RunId};
use crate::order::Word;
use crate::topology::Dial;
use crate::units::Share;

/// How a dial can be turned: less traffic is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Only in an emergency: when nothing else is left.
    Drain,
    /// This share of what arrives.
    Share(Share),
}

impl From<Turn> for Dial {
    fn from(turn: Turn) -> Self {
        match turn {
            Turn::Drain => Self::Drain,
            Turn::Share(share) => Self::Share(share),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain => f.pad("drain"),
            Self::Share(share) => f.pad(&share.to_string()),
        }
    }
}

/// The dial of a region as it was turned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedDial {
    /// Whose dial.
    pub region: RegionName,
    /// To what.
    pub turn: Turn,
    /// The run whose step did it; none: a person did.
    #[serde(default)]
    pub run: Option<RunId>,
    /// Who, when and why.
    pub word: Word,
}

impl TurnedDial {
    /// Who turned it, for people.
    #[must_use]
    pub fn who(&self) -> String {
        self.run.as_ref().map_or_else(|| self.word.by.clone(), |run| format!("run {run}"))
    }
}
