//! What the gateway counts when the writer moves.

use prometheus_client::registry::Registry;

use super::{Counters, Gauges, Seconds};

/// Running sessions that are held, move, or cannot.
pub(crate) struct Moves {
    pub(crate) held: Gauges<1>,
    pub(crate) held_seconds: Seconds<1>,
    pub(crate) moved: Counters<1>,
    pub(crate) move_seconds: Seconds<1>,
    pub(crate) unmovable: Counters<2>,
}

impl Moves {
    pub(super) fn declare(r: &mut Registry) -> Self {
        Self {
            held: Gauges::declare(
                r,
                "gateway_held",
                "Running sessions that are held, or between two servers",
                ["group"],
            ),
            held_seconds: Seconds::declare(
                r,
                "gateway_held",
                "How long running sessions were held",
                ["group"],
            ),
            moved: Counters::declare(
                r,
                "gateway_sessions_moved",
                "Sessions that went on at another server",
                ["group"],
            ),
            move_seconds: Seconds::declare(
                r,
                "gateway_move",
                "From leaving a server until all was set up at the next",
                ["group"],
            ),
            unmovable: Counters::declare(
                r,
                "gateway_sessions_unmovable",
                "Sessions that ended because they could not be moved",
                ["group", "reason"],
            ),
        }
    }
}
