//! What a drill file wants against what was measured.

use std::time::Duration;

use meridian_model::RegionName;

use super::acting::Killed;
use super::file::{Expect, Rejoined, Until};
use crate::report::{ExpectationFact, Facts};

/// Judges every expectation of the file, and those that hold for every drill.
#[must_use]
pub fn check(expect: &Expect, until: Until, reached: bool, facts: &Facts) -> Vec<ExpectationFact> {
    let mut list = vec![end(until, reached), writers(expect, facts)];
    let optional = [
        expect.rto_read.map(|limit| within("rtoRead", limit, facts.rto_read_seconds)),
        expect.rto_write.map(|limit| within("rtoWrite", limit, facts.rto_write_seconds)),
        expect.reads_go_on.map(|limit| within("readsGoOn", limit, Some(facts.longest_read_outage_seconds))),
        expect
            .writes_go_on
            .map(|limit| within("writesGoOn", limit, Some(facts.longest_write_outage_seconds))),
        expect.rpo.map(|limit| within("rpo", limit, Some(facts.rpo_seconds))),
        expect.lost_writes.map(|limit| at_most("lostWrites", limit, facts.lost_writes)),
        expect
            .failed_requests
            .map(|limit| at_most("failedRequests", limit, facts.failed_reads + facts.failed_writes)),
        expect.failovers.map(|wanted| exactly("failovers", wanted, facts.failovers)),
        expect.switchovers.map(|wanted| exactly("switchovers", wanted, facts.switchovers)),
        expect.held_back.then(|| held_back(facts.held_back)),
        expect.writer.as_ref().map(|wanted| writer(wanted, facts.writer_at_end.as_deref())),
        expect.rejoined.map(|wanted| rejoined(wanted, facts.rejoined.as_deref())),
    ];
    list.extend(optional.into_iter().flatten());
    list
}

/// The acting node was killed in every gap of the run.
pub(super) fn kills(killed: &Killed) -> ExpectationFact {
    fact("killActing", "between all steps", killed, killed.missed.is_empty() && !killed.after.is_empty())
}

/// The drill came to its end by itself.
fn end(until: Until, reached: bool) -> ExpectationFact {
    let wanted = match until {
        Until::Protected => "protected".to_owned(),
        Until::Redundant => "redundant".to_owned(),
        Until::After(time) => show(time),
    };
    fact("until", wanted, if reached { "reached" } else { "not within the timeout" }, reached)
}

fn writers(expect: &Expect, facts: &Facts) -> ExpectationFact {
    let limit = expect.max_concurrent_writers.unwrap_or(1);
    at_most("maxConcurrentWriters", limit, u64::from(facts.max_concurrent_writers))
}

fn exactly(name: &str, wanted: u64, measured: u64) -> ExpectationFact {
    fact(name, wanted, measured, measured == wanted)
}

fn held_back(held: bool) -> ExpectationFact {
    fact("heldBack", "flap-window", if held { "flap-window" } else { "nothing was" }, held)
}

fn writer(wanted: &RegionName, measured: Option<&str>) -> ExpectationFact {
    fact("writer", wanted, measured.unwrap_or("not one"), measured == Some(wanted.as_str()))
}

fn within(name: &str, limit: Duration, measured: Option<f64>) -> ExpectationFact {
    let held = measured.is_some_and(|seconds| seconds <= limit.as_secs_f64());
    let shown = measured.map_or_else(|| "never good again".to_owned(), |s| format!("{s:.3} s"));
    fact(name, format!("<= {}", show(limit)), shown, held)
}

fn at_most(name: &str, limit: u64, measured: u64) -> ExpectationFact {
    let wanted = if limit == 0 { "0".to_owned() } else { format!("<= {limit}") };
    fact(name, wanted, measured, measured <= limit)
}

fn rejoined(wanted: Rejoined, measured: Option<&str>) -> ExpectationFact {
    // A writer that moved on purpose has nothing to take back: it follows.
    let methods = || measured.into_iter().flat_map(|list| list.split(", ")).filter(|m| *m != "followed");
    let (word, held) = match wanted {
        Rejoined::Rewound => ("rewound", methods().eq(["rewound"])),
        Rejoined::Recloned => ("recloned", measured == Some("recloned")),
        Rejoined::Any => ("rewound or recloned", measured.is_some()),
    };
    fact("rejoined", word, measured.unwrap_or("not seen"), held)
}

fn fact(name: &str, wanted: impl ToString, measured: impl ToString, held: bool) -> ExpectationFact {
    ExpectationFact {
        name: name.to_owned(),
        wanted: wanted.to_string(),
        measured: measured.to_string(),
        held,
    }
}

fn show(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(expect: &Expect, facts: &Facts) -> Vec<(String, bool)> {
        let all = check(expect, Until::Redundant, true, facts);
        all.into_iter().map(|e| (e.name, e.held)).collect()
    }

    #[test]
    fn one_writer_and_an_end_are_always_expected() {
        let facts = Facts { max_concurrent_writers: 2, ..Facts::default() };
        let told = verdicts(&Expect::default(), &facts);
        assert_eq!(told, [("until".to_owned(), true), ("maxConcurrentWriters".to_owned(), false)]);
        let late = check(&Expect::default(), Until::Protected, false, &Facts::default());
        assert!(!late[0].held);
    }

    #[test]
    fn limits_include_their_own_value() {
        let second = Some(Duration::from_secs(2));
        let expect =
            Expect { rto_read: second, lost_writes: Some(0), failovers: Some(1), ..Expect::default() };
        let held = |rto, lost, failovers| {
            let facts = Facts { rto_read_seconds: rto, lost_writes: lost, failovers, ..Facts::default() };
            verdicts(&expect, &facts).into_iter().skip(2).map(|(_, held)| held).collect::<Vec<_>>()
        };
        assert_eq!(held(Some(2.0), 0, 1), [true, true, true]);
        assert_eq!(held(Some(2.001), 1, 2), [false, false, false]);
        assert_eq!(held(None, 0, 0), [false, true, false]);
    }

    #[test]
    fn moves_holds_and_the_last_writer_are_told_exactly() {
        let eu = RegionName::new("eu").unwrap();
        let expect = Expect { switchovers: Some(2), held_back: true, writer: Some(eu), ..Expect::default() };
        let held = |switchovers, held_back, writer: Option<&str>| {
            let writer_at_end = writer.map(str::to_owned);
            let facts = Facts { switchovers, held_back, writer_at_end, ..Facts::default() };
            verdicts(&expect, &facts).into_iter().skip(2).map(|(_, held)| held).collect::<Vec<_>>()
        };
        assert_eq!(held(2, true, Some("eu")), [true, true, true]);
        assert_eq!(held(1, false, Some("us")), [false, false, false]);
        assert_eq!(held(3, true, None), [false, true, false]);
    }

    #[test]
    fn kills_must_hit_every_gap() {
        let name = |text| meridian_model::Name::new(text).unwrap();
        assert!(!kills(&Killed::default()).held, "no run, no kill");
        let all = Killed { after: vec![name("fence"), name("promote")], ..Killed::default() };
        assert!(kills(&all).held);
        let told = kills(&Killed { missed: vec![name("scale")], ..all });
        assert!(!told.held && told.measured == "after fence, promote; not after scale", "{told:?}");
    }

    #[test]
    fn how_it_came_back_counts() {
        let cases = [
            (Rejoined::Rewound, Some("rewound"), true),
            (Rejoined::Rewound, Some("recloned, rewound"), false),
            (Rejoined::Rewound, Some("followed, rewound"), true),
            (Rejoined::Rewound, Some("followed"), false),
            (Rejoined::Recloned, Some("rewound"), false),
            (Rejoined::Any, Some("recloned"), true),
            (Rejoined::Any, None, false),
        ];
        for (wanted, measured, held) in cases {
            assert_eq!(rejoined(wanted, measured).held, held, "{wanted:?} {measured:?}");
        }
    }
}
