//! The order of regions, and the words for it: the only place where health, dial and nearness meet.
//!
//! From first to last: up and inside its dial; up beyond its dial; up, but its application is down
//! (its edge passes requests on); unknown; drained; and, only if nothing else is left, down (the
//! verdicts may be wrong, an answer that fails is no worse than none). `Forbid` and witnesses are in
//! no list at all. Unknown is never rounded: it stands behind every region that is known to work and
//! before an empty answer.

use std::fmt;

use meridian_model::Share;
use meridian_model::health::{Health, Part, RegionHealth};
use meridian_model::topology::{Dial, Region, Role};
use meridian_model::traffic::TurnedDial;

/// How good a place is for a client; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Up, and takes this client.
    Serving,
    /// Up, but this client is beyond the share that its dial takes.
    PastDial,
    /// Up, but its application is down or absent: its edge passes requests on.
    Relaying,
    /// Nobody can tell whether it works.
    Unknown,
    /// Drained: only in an emergency.
    Drained,
    /// Down: only when everything is.
    Down,
    /// Never, whatever happens.
    Never,
}

impl Rank {
    /// It may be chosen while something of a better rank is there.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::Serving | Self::PastDial | Self::Relaying | Self::Unknown)
    }

    /// It is known to work and takes traffic.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Serving | Self::PastDial | Self::Relaying)
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Serving => "serving",
            Self::PastDial => "past its dial",
            Self::Relaying => "relaying",
            Self::Unknown => "unknown",
            Self::Drained => "drained",
            Self::Down => "down",
            Self::Never => "never",
        })
    }
}

/// Where a region stands before anybody's distance is considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) rank: Rank,
    /// Of what the rank rests on: orders the drained ones among themselves.
    pub(crate) health: Health,
    pub(crate) reason: String,
}

/// The dial that counts: what it was turned to stands in for the spec's, but nobody lifts a `forbid`.
pub(crate) fn dial(region: &Region, turned: Option<&TurnedDial>) -> Dial {
    match (region.dial, turned) {
        (Dial::Forbid, _) => Dial::Forbid,
        (of_spec, None) => of_spec,
        (_, Some(turned)) => turned.turn.into(),
    }
}

/// Ranks a region for clients of a service. `has_backend` says whether the service has instances there.
pub(crate) fn standing(
    region: &Region,
    turned: Option<&TurnedDial>,
    seen: Option<&RegionHealth>,
    has_backend: bool,
) -> Standing {
    let (health, reason) = serving_health(seen);
    let (rank, reason) = match (region.role, dial(region, turned), health) {
        (Role::Witness, _, _) => (Rank::Never, "a witness serves nobody".to_owned()),
        (_, Dial::Forbid, _) => (Rank::Never, "forbidden by its dial, also in an emergency".to_owned()),
        (_, _, Health::Down) => (Rank::Down, reason),
        (_, Dial::Drain | Dial::Share(Share::ZERO), _) => {
            let by = turned.map(|turned| format!(" by {}", turned.who())).unwrap_or_default();
            (Rank::Drained, format!("drained{by}; {reason}"))
        }
        (_, _, Health::Unknown) => (Rank::Unknown, reason),
        (_, _, Health::Up) if !has_backend => {
            (Rank::Relaying, format!("{reason}, but the service has no instances there"))
        }
        (_, _, Health::Up) if app(seen) == Health::Down => {
            (Rank::Relaying, format!("{reason}, but its application is down"))
        }
        (_, _, Health::Up) => (Rank::Serving, reason),
    };
    Standing { rank, health, reason }
}

/// Can clients be served there: the region and its edge together. Down if either is; up if both are.
fn serving_health(seen: Option<&RegionHealth>) -> (Health, String) {
    let Some(seen) = seen else {
        return (Health::Unknown, "unknown: the snapshot does not mention it".to_owned());
    };
    match (seen.health, seen.part(Part::Edge)) {
        (Health::Down, _) => (Health::Down, format!("down: {}", seen.reason)),
        (_, Health::Down) => (Health::Down, format!("its edge is down: {}", part_reason(seen, Part::Edge))),
        (Health::Up, Health::Up) => (Health::Up, "up".to_owned()),
        (Health::Unknown, _) => (Health::Unknown, format!("unknown: {}", seen.reason)),
        (Health::Up, Health::Unknown) => {
            (Health::Unknown, format!("its edge is unknown: {}", part_reason(seen, Part::Edge)))
        }
    }
}

/// The health of the application part; unknown when nothing is said.
pub(crate) fn app(seen: Option<&RegionHealth>) -> Health {
    seen.map_or(Health::Unknown, |s| s.part(Part::App))
}

/// Why `part` is held to be what it is.
pub(crate) fn part_reason(seen: &RegionHealth, part: Part) -> &str {
    seen.parts.iter().find(|v| v.target.part == part).map_or("no verdict yet", |v| v.reason.as_str())
}

/// Whether a client whose dice fell on `roll` (0 to 999,999) is inside `dial`.
pub(crate) fn takes(dial: Dial, roll: u32) -> bool {
    match dial {
        Dial::Share(share) => roll < share.millionths(),
        Dial::Drain | Dial::Forbid => false,
    }
}

/// Up before unknown before down.
pub(crate) const fn health_order(health: Health) -> u8 {
    match health {
        Health::Up => 0,
        Health::Unknown => 1,
        Health::Down => 2,
    }
}
