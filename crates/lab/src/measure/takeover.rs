//! One writer taking over from another, whatever the system, as clients of every server saw it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use meridian_model::Moment;

/// A write that a server acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerAck {
    /// Its number, unique.
    pub id: i64,
    /// The server that had it.
    pub server: IpAddr,
    /// It came by the way that the system has its clients take.
    pub usual: bool,
    /// When the acknowledgement was there.
    pub at: Moment,
}

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Takeover {
    /// From the fault to the first write that another server acknowledged on the usual way.
    pub new_after: Option<Duration>,
    /// The longest stretch since the fault without an acknowledgement on the usual way, by whomever; the one
    /// that lasts to the end counts.
    pub outage: Duration,
    /// Acknowledgements by the old server after the new one's first.
    pub old_after_new: u64,
    /// Acknowledged writes that are not in `rows`.
    pub lost: u64,
}

/// Judges the acknowledgements of one fault. `old` wrote before it; the watch ended at `end`; `rows` are what
/// the writer at the end has.
#[must_use]
pub fn takeover(
    acks: &[ServerAck],
    old: IpAddr,
    (fault, end): (Moment, Moment),
    rows: &BTreeSet<i64>,
) -> Takeover {
    let new = |ack: &&ServerAck| ack.server != old && ack.at > fault;
    let began = acks.iter().filter(new).map(|a| a.at).min();
    let late = |ack: &&ServerAck| ack.server == old && began.is_some_and(|began| ack.at > began);
    let usual = || acks.iter().filter(|a| a.usual && a.at > fault);
    let mut good: Vec<Moment> = usual().map(|a| a.at).chain([fault, end]).collect();
    good.sort_unstable();
    let gaps = good.windows(2).filter_map(|pair| Some(pair.last()?.since(*pair.first()?)));
    Takeover {
        new_after: usual().filter(new).map(|a| a.at.since(fault)).min(),
        outage: gaps.max().unwrap_or_default(),
        old_after_new: acks.iter().filter(late).count().try_into().unwrap_or(u64::MAX),
        lost: acks.iter().filter(|a| !rows.contains(&a.id)).count().try_into().unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn ack(id: i64, server: IpAddr, ms: u64) -> ServerAck {
        ServerAck { id, server, usual: true, at: at(ms) }
    }

    #[test]
    fn a_clean_takeover() {
        let acks = [ack(1, OLD, 990), ack(2, NEW, 6_000), ack(3, NEW, 6_010)];
        let told = takeover(&acks, OLD, (at(1_000), at(6_500)), &BTreeSet::from([1, 2, 3]));
        assert_eq!(told.new_after, Some(Duration::from_secs(5)));
        assert_eq!((told.outage, told.old_after_new, told.lost), (Duration::from_secs(5), 0, 0));
    }

    #[test]
    fn an_old_server_that_goes_on_is_counted_and_so_is_what_it_loses() {
        let acks = [ack(1, OLD, 1_100), ack(2, NEW, 3_000), ack(3, OLD, 3_100), ack(4, OLD, 3_200)];
        let told = takeover(&acks, OLD, (at(1_000), at(3_300)), &BTreeSet::from([1, 2]));
        assert_eq!((told.old_after_new, told.lost), (2, 2));
        assert_eq!(told.outage, Duration::from_millis(1_900), "between the two");
    }

    #[test]
    fn what_does_not_come_on_the_usual_way_ends_no_outage() {
        let past = ServerAck { usual: false, ..ack(2, NEW, 2_000) };
        let told = takeover(&[past, ack(3, OLD, 2_500)], OLD, (at(1_000), at(9_000)), &BTreeSet::new());
        assert_eq!((told.new_after, told.old_after_new), (None, 1));
        assert_eq!(told.outage, Duration::from_millis(6_500), "it lasts to the end");
    }
}
