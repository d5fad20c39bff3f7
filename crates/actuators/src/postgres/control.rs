//! What a stopped data directory says about itself: the control file, and histories of timelines.

use std::str::FromStr as _;

use meridian_model::Lsn;

/// The lines of `pg_controldata` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlData {
    pub(crate) system: String,
    pub(crate) state: String,
    pub(crate) timeline: u32,
    pub(crate) segment_bytes: u64,
    /// The whole output.
    pub(crate) text: String,
}

impl ControlData {
    /// From the output of `pg_controldata` in the C locale.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field =
            |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        Some(Self {
            system: field("Database system identifier")?.to_owned(),
            state: field("Database cluster state")?.to_owned(),
            timeline: field("Latest checkpoint's TimeLineID")?.parse().ok()?,
            segment_bytes: field("Bytes per WAL segment")?.parse().ok().filter(|bytes| *bytes > 0)?,
            text: text.to_owned(),
        })
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

/// The last timeline and place that both have in common; `None`: nothing in common, or no divergence
/// that histories could show (one is the other's beginning without an end).
pub(crate) fn divergence(ours: &[Reign], theirs: &[Reign]) -> Option<(u32, Lsn)> {
    let common = ours.iter().zip(theirs).take_while(|(a, b)| a.timeline == b.timeline).last()?;
    let end = match (common.0.end, common.1.end) {
        (None, None) => return None,
        (Some(end), None) | (None, Some(end)) => end,
        (Some(a), Some(b)) => a.min(b),
    };
    Some((common.0.timeline, end))
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
            (reigns(&[(4, None)]), reigns(&[(1, None)]), None),
        ] {
            assert_eq!(divergence(&ours, &theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn segment_names_are_told_from_other_files() {
        let bytes = 16 << 20;
        assert_eq!(segment("000000020000000100000003", bytes), Some((2, 0x103)));
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
                    Latest checkpoint's TimeLineID:       2\n\
                    Latest checkpoint's PrevTimeLineID:   2\n\
                    Bytes per WAL segment:                16777216\n";
        let control = ControlData::parse(text).unwrap();
        assert_eq!((control.timeline, control.segment_bytes), (2, 16 << 20));
        assert_eq!(
            (control.system.as_str(), control.state.as_str()),
            ("7391234567890123456", "in production")
        );
        assert_eq!(ControlData::parse("nothing"), None);
    }
}
