//! What a stopped data directory says about itself: the control file, and histories of timelines.

use std::str::FromStr as _;

use meridian_model::Lsn;
use meridian_model::group::WalPosition;

use super::enough::{NEEDED, Needs};

/// The lines of `pg_controldata` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlData {
    pub(crate) system: String,
    pub(crate) state: String,
    /// Where the latest checkpoint begins.
    pub(crate) checkpoint: WalPosition,
    /// The newest that it knows of; segment files may show a newer one.
    pub(crate) timeline: u32,
    pub(crate) segment_bytes: u64,
    /// What its primary had of what a standby needs as much of.
    pub(crate) needs: Needs,
    /// The whole output.
    pub(crate) text: String,
}

impl ControlData {
    /// From the output of `pg_controldata` in the C locale.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field =
            |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let checkpoint = WalPosition {
            timeline: field("Latest checkpoint's TimeLineID")?.parse().ok()?,
            lsn: field("Latest checkpoint location")?.parse().ok()?,
        };
        let recovery = field("Min recovery ending loc's timeline").and_then(|t| t.parse().ok());
        Some(Self {
            system: field("Database system identifier")?.to_owned(),
            state: field("Database cluster state")?.to_owned(),
            timeline: checkpoint.timeline.max(recovery.unwrap_or(0)),
            checkpoint,
            segment_bytes: field("Bytes per WAL segment")?.parse().ok().filter(|bytes| *bytes > 0)?,
            needs: NEEDED
                .iter()
                .filter_map(|(said, name, _)| Some((*name, field(said)?.parse().ok()?)))
                .collect(),
            text: text.to_owned(),
        })
    }

    /// It last ran as a primary, not as a standby.
    pub(crate) fn was_primary(&self) -> bool {
        !matches!(self.state.as_str(), "shut down in recovery" | "in archive recovery")
    }
}

/// One timeline of a history: where it ended, i.e. where the next one began. The last has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) timeline: u32,
    pub(crate) end: Option<Lsn>,
}

/// The history of `timeline`: the lines of its history file, and itself.
pub(crate) fn history(timeline: u32, file: &str) -> Vec<Reign> {
    let line = |text: &str| {
        let mut words = text.split_whitespace();
        let timeline = words.next()?.parse().ok()?;
        Some(Reign { timeline, end: Some(Lsn::from_str(words.next()?).ok()?) })
    };
    let mut reigns: Vec<_> = file.lines().filter_map(line).collect();
    reigns.push(Reign { timeline, end: None });
    reigns
}

/// The last timeline and place that both have in common; `None`: the histories are the same. A timeline is
/// the same only if it also began at the same place. Nothing in common: all of it diverged.
pub(crate) fn divergence(ours: &[Reign], theirs: &[Reign]) -> Option<(u32, Lsn)> {
    let (mut common, mut began) = (None, (None, None));
    for (a, b) in ours.iter().zip(theirs) {
        if a.timeline != b.timeline || began.0 != began.1 {
            break;
        }
        (common, began) = (Some((a, b)), (a.end, b.end));
    }
    let Some((ours, theirs)) = common else { return Some((0, Lsn(0))) };
    let end = match (ours.end, theirs.end) {
        (None, None) => return None,
        (Some(end), None) | (None, Some(end)) => end,
        (Some(a), Some(b)) => a.min(b),
    };
    Some((ours.timeline, end))
}

/// The last timeline of a history and where it began.
pub(crate) fn last_beginning(reigns: &[Reign]) -> (u32, Lsn) {
    let timeline = reigns.last().map_or(0, |last| last.timeline);
    (timeline, reigns.iter().rev().find_map(|reign| reign.end).unwrap_or_default())
}

/// The name of the segment file that holds a place of a timeline.
pub(crate) fn segment_name(timeline: u32, lsn: Lsn, segment_bytes: u64) -> Option<String> {
    let number = lsn.0.checked_div(segment_bytes)?;
    let per_high = 0x1_0000_0000_u64.checked_div(segment_bytes)?;
    Some(format!("{timeline:08X}{:08X}{:08X}", number.checked_div(per_high)?, number.checked_rem(per_high)?))
}

/// The timeline and number of a segment file's name; `None` for any other file.
pub(crate) fn segment(name: &str, segment_bytes: u64) -> Option<(u32, u64)> {
    if name.len() != 24 || !name.is_ascii() {
        return None;
    }
    let part = |from: usize| u32::from_str_radix(name.get(from..from + 8)?, 16).ok();
    let per_high = 0x1_0000_0000_u64.checked_div(segment_bytes)?;
    Some((part(0)?, u64::from(part(8)?) * per_high + u64::from(part(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reigns(ends: &[(u32, Option<u64>)]) -> Vec<Reign> {
        ends.iter().map(|(timeline, end)| Reign { timeline: *timeline, end: end.map(Lsn) }).collect()
    }

    #[test]
    fn histories_are_read_with_their_reasons_ignored() {
        let file =
            "1\t0/3000148\tno recovery target specified\n\n2\t0/50001F8\tno recovery target specified\n";
        assert_eq!(history(3, file), reigns(&[(1, Some(0x300_0148)), (2, Some(0x500_01F8)), (3, None)]));
        assert_eq!(history(1, ""), reigns(&[(1, None)]));
    }

    #[test]
    fn the_place_of_divergence_is_the_end_of_the_last_common_reign() {
        for (ours, theirs, expected) in [
            (reigns(&[(1, None)]), reigns(&[(1, Some(10)), (2, None)]), Some((1, Lsn(10)))),
            (reigns(&[(1, None)]), reigns(&[(1, None)]), None),
            (
                reigns(&[(1, Some(10)), (2, None)]),
                reigns(&[(1, Some(10)), (2, Some(20)), (3, None)]),
                Some((2, Lsn(20))),
            ),
            (reigns(&[(1, Some(30)), (2, None)]), reigns(&[(1, Some(10)), (3, None)]), Some((1, Lsn(10)))),
            (reigns(&[(4, None)]), reigns(&[(1, None)]), Some((0, Lsn(0)))),
            (reigns(&[(4, None)]), reigns(&[(1, Some(10)), (4, None)]), Some((0, Lsn(0)))),
            // The same number, another beginning.
            (reigns(&[(1, Some(30)), (2, None)]), reigns(&[(1, Some(10)), (2, None)]), Some((1, Lsn(10)))),
            (
                reigns(&[(1, Some(30)), (2, Some(40)), (3, None)]),
                reigns(&[(1, Some(10)), (2, None)]),
                Some((1, Lsn(10))),
            ),
            (reigns(&[(1, Some(30)), (2, None)]), reigns(&[(1, None)]), Some((1, Lsn(30)))),
            (reigns(&[(1, Some(10)), (2, None)]), reigns(&[(1, Some(10)), (2, None)]), None),
        ] {
            assert_eq!(divergence(&ours, &theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn what_was_written_on_the_last_timeline_begins_where_the_one_before_ended() {
        assert_eq!(last_beginning(&reigns(&[(1, Some(10)), (2, Some(20)), (3, None)])), (3, Lsn(20)));
        assert_eq!(last_beginning(&reigns(&[(1, None)])), (1, Lsn(0)));
    }

    #[test]
    fn segment_names_are_told_from_other_files() {
        let bytes = 16 << 20;
        assert_eq!(segment("000000020000000100000003", bytes), Some((2, 0x103)));
        let named = segment_name(2, Lsn(0x1_0300_0148), bytes);
        assert_eq!(named.as_deref(), Some("000000020000000100000003"));
        for other in [
            "00000002.history",
            "000000010000000000000004.partial",
            "archive_status",
            "zz0000020000000100000003",
        ] {
            assert_eq!(segment(other, bytes), None, "{other}");
        }
    }

    #[test]
    fn the_control_file_s_lines_are_found() {
        let text = "pg_control version number:            1300\n\
                    Database system identifier:           7391234567890123456\n\
                    Database cluster state:               in production\n\
                    Latest checkpoint location:           0/1500028\n\
                    Latest checkpoint's TimeLineID:       2\n\
                    Latest checkpoint's PrevTimeLineID:   2\n\
                    max_connections setting:              200\n\
                    max_locks_per_xact setting:           64\n\
                    Bytes per WAL segment:                16777216\n";
        let control = ControlData::parse(text).unwrap();
        assert_eq!((control.timeline, control.segment_bytes), (2, 16 << 20));
        assert_eq!(
            (control.system.as_str(), control.state.as_str()),
            ("7391234567890123456", "in production")
        );
        assert_eq!(control.checkpoint, WalPosition { timeline: 2, lsn: Lsn(0x150_0028) });
        assert_eq!(control.needs, [("max_connections", 200), ("max_locks_per_transaction", 64)]);
        assert!(control.was_primary());
        let standby = text.replace("in production", "in archive recovery")
            + "Min recovery ending loc's timeline:   3\n";
        let standby = ControlData::parse(&standby).unwrap();
        assert!(standby.timeline == 3 && !standby.was_primary());
        assert_eq!(ControlData::parse("nothing"), None);
    }
}
