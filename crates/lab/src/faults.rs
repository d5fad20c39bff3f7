//! The faults that a person or a drill can put on the running lab, and the record of them.

use std::fmt;
use std::time::Duration;

use meridian_model::{Moment, RegionName, Timestamp};
use serde::{Deserialize, Serialize};

/// A part of a region that can be hit alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultPart {
    /// PostgreSQL: the postmaster and all of its backends.
    Postgres,
    /// The etcd member.
    Etcd,
    /// The node; its children die with it, by design.
    Node,
    /// The instances of the application.
    App,
}

impl FaultPart {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Etcd, Self::Node, Self::App];
}

impl fmt::Display for FaultPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Postgres => "postgres",
            Self::Etcd => "etcd",
            Self::Node => "node",
            Self::App => "app",
        })
    }
}

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// The power goes: all processes of a region (or of one part) are gone at once. A whole region
    /// also goes dark on the network: nobody hears a reset from it.
    Kill {
        /// Where.
        region: RegionName,
        /// Only this part.
        part: Option<FaultPart>,
    },
    /// The machine stands still (as a paused virtual machine) until it is restored.
    Freeze {
        /// Where.
        region: RegionName,
        /// Only this part; the network stays up then.
        part: Option<FaultPart>,
    },
    /// What was killed is started again, what was frozen goes on, the network is back: the region is neither dark
    /// nor isolated. Partitions between pairs stay.
    Restore {
        /// Where.
        region: RegionName,
    },
    /// Packets between two regions are swallowed.
    Partition {
        /// One side; with `one_way` the side whose packets are lost.
        from: RegionName,
        /// The other.
        to: RegionName,
        /// Only packets sent by `from` are lost.
        one_way: bool,
    },
    /// Packets between a region and everybody else, users included, are swallowed.
    Isolate {
        /// Which.
        region: RegionName,
    },
    /// A bad link between two regions, both ways. What is `None` stays as it is.
    Slow {
        /// One side.
        from: RegionName,
        /// The other.
        to: RegionName,
        /// The whole round trip.
        rtt: Option<Duration>,
        /// The share of packets lost, 0 to 1.
        loss: Option<f64>,
        /// Bytes a second.
        bandwidth: Option<u64>,
    },
    /// Every partition, isolation and bad link ends. Killed and frozen regions stay so.
    Heal,
    /// No fault: a person orders the writer of the first database to move.
    Switchover {
        /// Where to.
        to: RegionName,
    },
    /// No fault: a person orders the writer of the first database home, to where the spec begins.
    Failback,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { region, part } => write!(f, "kill {}", place(region, *part)),
            Self::Freeze { region, part } => write!(f, "freeze {}", place(region, *part)),
            Self::Restore { region } => write!(f, "restore {region}"),
            Self::Partition { from, to, one_way: true } => write!(f, "partition {from} -> {to}"),
            Self::Partition { from, to, one_way: false } => write!(f, "partition {from} <-> {to}"),
            Self::Isolate { region } => write!(f, "isolate {region}"),
            Self::Slow { from, to, rtt, loss, bandwidth } => {
                write!(f, "slow {from} <-> {to}")?;
                rtt.iter().try_for_each(|r| write!(f, ", rtt {} ms", r.as_millis()))?;
                loss.iter().try_for_each(|l| write!(f, ", loss {} %", l * 100.0))?;
                bandwidth.iter().try_for_each(|b| write!(f, ", {}", bandwidth_text(*b)))
            }
            Self::Heal => f.write_str("heal"),
            Self::Switchover { to } => write!(f, "switchover to {to}"),
            Self::Failback => f.write_str("failback"),
        }
    }
}

/// `eu-central-1`, or `postgres of eu-central-1`.
fn place(region: &RegionName, part: Option<FaultPart>) -> String {
    part.map_or_else(|| region.to_string(), |part| format!("{part} of {region}"))
}

/// A fault that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// What.
    pub fault: Fault,
    /// The instant just before the first effect, by this machine's boot-time clock.
    #[serde(skip)]
    pub at: Moment,
    /// The instant at which all of it had happened.
    #[serde(skip)]
    pub done_at: Moment,
    /// `at` by the wall clock.
    pub wall: Timestamp,
    /// What was done: `killed 14 processes`.
    pub detail: String,
}

/// Something that happened in the lab, in the order of its happening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabEvent {
    /// When, by this machine's boot-time clock.
    #[serde(skip)]
    pub at: Moment,
    /// When, by the wall clock.
    pub wall: Timestamp,
    /// Where; none: the whole lab.
    pub region: Option<RegionName>,
    /// A sentence.
    pub what: String,
}

/// The units of a bandwidth, the greatest first, in bytes a second.
const BANDWIDTH_UNITS: [(&str, f64); 4] =
    [("GiB/s", 1_073_741_824.0), ("MiB/s", 1_048_576.0), ("KiB/s", 1024.0), ("B/s", 1.0)];

/// `10MiB/s`, `500KiB/s` or `2000B/s`, in bytes a second; `None` when it is anything else.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
pub fn parse_bandwidth(text: &str) -> Option<u64> {
    let (number, factor) =
        BANDWIDTH_UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let bytes = number.trim_end().parse::<f64>().ok()? * factor;
    (1.0..1e15).contains(&bytes).then_some(bytes as u64)
}

/// `10 MiB/s`: so many bytes a second in the greatest unit that fits, to a hundredth of it.
#[expect(clippy::cast_precision_loss, reason = "bandwidths are below 2^53")]
pub(crate) fn bandwidth_text(bytes: u64) -> String {
    let bytes = bytes as f64;
    let fits = BANDWIDTH_UNITS.iter().find(|(_, factor)| bytes >= *factor);
    let (unit, factor) = fits.copied().unwrap_or(("B/s", 1.0));
    format!("{} {unit}", (bytes / factor * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_told_as_it_was_asked() {
        for text in ["1 MiB/s", "1.5 MiB/s", "500 KiB/s", "2 GiB/s", "1 B/s", "1023 B/s"] {
            assert_eq!(bandwidth_text(parse_bandwidth(text).unwrap()), text);
        }
        assert_eq!(bandwidth_text(1_000_000), "976.56 KiB/s");
    }
}
