//! Who took writes when, as clients connected straight to every database saw it.
//!
//! A reign is one server on one timeline. It counts from the instant at which the first write that it
//! acknowledged was sent to the instant at which its last acknowledgement arrived: the widest stretch
//! in which it can have written. So an overlap is never missed; and since the margins between reigns
//! are far longer than a write on the same machine, none is made up.

use std::collections::BTreeMap;

use meridian_model::{Moment, RegionName};

/// A write that a database acknowledged to a client connected straight to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessAck {
    /// Whose database.
    pub region: RegionName,
    /// The timeline it wrote on.
    pub timeline: u32,
    /// When it was sent.
    pub sent: Moment,
    /// When the acknowledgement was there.
    pub received: Moment,
}

/// One server on one timeline, taking writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    /// Whose database.
    pub region: RegionName,
    /// The timeline.
    pub timeline: u32,
    /// The first acknowledged write was sent.
    pub first: Moment,
    /// The last acknowledgement arrived.
    pub last: Moment,
    /// Acknowledgements in between.
    pub acks: u64,
}

/// All reigns that were seen; as small as their number.
#[derive(Debug, Clone, Default)]
pub struct Reigns(BTreeMap<(RegionName, u32), Reign>);

impl Reigns {
    /// Takes an acknowledgement in.
    pub fn note(&mut self, ack: WitnessAck) {
        let reign = self.0.entry((ack.region.clone(), ack.timeline)).or_insert_with(|| Reign {
            region: ack.region,
            timeline: ack.timeline,
            first: ack.sent,
            last: ack.received,
            acks: 0,
        });
        reign.first = reign.first.min(ack.sent);
        reign.last = reign.last.max(ack.received);
        reign.acks += 1;
    }

    /// The reigns in the order of their beginnings.
    #[must_use]
    pub fn in_order(&self) -> Vec<Reign> {
        let mut reigns: Vec<Reign> = self.0.values().cloned().collect();
        reigns.sort_by_key(|r| (r.first, r.last));
        reigns
    }

    /// The most servers that took writes at one instant. Two timelines of one server are one server.
    #[must_use]
    pub fn max_concurrent(&self) -> u32 {
        let at_once = |instant: Moment| {
            let mut servers: Vec<_> = self
                .0
                .values()
                .filter(|r| r.first <= instant && instant <= r.last)
                .map(|r| &r.region)
                .collect();
            servers.sort_unstable();
            servers.dedup();
            servers.len()
        };
        let most = self.0.values().map(|r| at_once(r.first)).max().unwrap_or_default();
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// Reigns of `region` on a timeline up to `timeline` that still got a write acknowledged after `instant`.
    #[must_use]
    pub fn acknowledged_after(&self, region: &RegionName, timeline: u32, instant: Moment) -> Vec<Reign> {
        let late = |r: &&Reign| &r.region == region && r.timeline <= timeline && r.last > instant;
        self.0.values().filter(late).cloned().collect()
    }
}
