//! Verdicts: majorities, expiry, and that unknown is never rounded.

use super::*;
use meridian_model::Name;
use proptest::prelude::*;

const NOW: Moment = Moment::from_millis(100_000);

fn names(n: usize) -> Vec<RegionName> {
    (0..n).map(|i| Name::new(&format!("r{i}")).unwrap()).collect()
}

/// What vantage `from` says of the node and edge of each region: one of `u`, `d`, `?` or `-` (not looked).
fn received(names: &[RegionName], from: usize, says: &str, age_ms: u64) -> Received {
    let health = |c| match c {
        'u' => Health::Up,
        'd' => Health::Down,
        _ => Health::Unknown,
    };
    let observations = says
        .chars()
        .zip(names)
        .filter(|(c, _)| *c != '-')
        .flat_map(|(c, region)| {
            [Part::Node, Part::Edge].map(|part| Observation {
                target: Target { region: region.clone(), part },
                health: health(c),
                in_a_row: 3,
                rtt_us: None,
                detail: "probe".to_owned(),
            })
        })
        .collect();
    Received {
        report: Report { vantage: names[from].clone(), round: 1, observations },
        observed_at: NOW - Duration::from_millis(age_ms),
    }
}

/// What the second region (of as many as there are words) concludes; a word `ddu@700` is a vantage's view
/// and its age in ms, `` is a vantage that never reported.
fn judged(words: &[&str], alive: bool) -> String {
    let names = names(words.len());
    let reports: Vec<Received> = words
        .iter()
        .enumerate()
        .filter(|(_, word)| !word.is_empty())
        .map(|(i, word)| {
            let (says, age) = word.split_once('@').unwrap_or((word, "100"));
            received(&names, i, says, age.parse().unwrap())
        })
        .collect();
    let all = verdicts(&names, &names[words.len().min(2) - 1], &reports, alive, NOW, &Timers::default());
    all.iter()
        .map(|r| match r.health {
            Health::Up => 'u',
            Health::Down => 'd',
            Health::Unknown => '?',
        })
        .collect()
}

#[test]
fn regions_are_judged_by_majority_and_their_own_silence() {
    for (words, held, why) in [
        (vec!["uuu", "uuu", "uuu"], "uuu", "all is well"),
        (vec!["uuu@4001", "duu", "duu"], "duu", "2 of 3 and silence: down"),
        (vec!["", "duu", "duu"], "duu", "never reported counts as silent"),
        (vec!["uuu@3900", "duu", "duu"], "?uu", "its own report still lives: not down"),
        (vec!["uuu@9000", "duu", "uuu"], "?uu", "one of two others still sees it"),
        (vec!["uuu@9000", "duu", "?uu"], "?uu", "unknown is not rounded to down"),
        (vec!["uuu@9000", "duu", "uuu@9000"], "???", "one vantage is no majority of three"),
        (vec!["uuu", "dud", "uuu"], "uuu", "a vantage that sees nobody is itself cut off"),
        (vec!["uuu@9000", "dud", "duu"], "?u?", "a cut-off vantage does not make a majority"),
        (vec!["uu", "uu"], "uu", "two regions"),
        (vec!["uu@9000", "du"], "??", "two regions, one dead: nobody can tell"),
        (vec!["u"], "u", "one region"),
        (vec!["uuuuu@9000", "ddddu@9000", "dduuu", "dduuu", "dduuu"], "dduuu", "two of five dead"),
        (vec!["", "", ""], "???", "nothing was ever seen"),
    ] {
        assert_eq!(judged(&words, true), held, "{why}: {words:?}");
    }
}

#[test]
fn without_etcd_the_own_view_counts_for_others_but_not_against_them() {
    assert_eq!(judged(&["uuu@9000", "duu", "duu"], false), "?uu");
    assert_eq!(judged(&["uuu@9000", "uuu", "uuu"], false), "uuu");
}

#[test]
fn a_part_can_be_down_in_a_living_region() {
    let names = names(3);
    let mut reports: Vec<Received> = (0..3).map(|i| received(&names, i, "uuu", 100)).collect();
    for report in &mut reports {
        report.report.observations[1].health = Health::Down;
        report.report.observations[1].detail = "connection refused".to_owned();
    }
    let all = verdicts(&names, &names[0], &reports, true, NOW, &Timers::default());
    assert_eq!((all[0].health, all[0].part(Part::Edge)), (Health::Up, Health::Down));
    assert_eq!(all[0].parts[1].reason, "3 of 3 vantage points say down");
    assert_eq!(all[0].parts[1].evidence[2].detail, "connection refused");
    assert_eq!(all[0].part(Part::Database), Health::Unknown, "nobody has looked");
}

#[test]
fn the_reason_names_both_kinds_of_evidence() {
    let names = names(3);
    let reports =
        [received(&names, 0, "uuu", 6_200), received(&names, 1, "duu", 9), received(&names, 2, "duu", 9)];
    let all = verdicts(&names, &names[1], &reports, true, NOW, &Timers::default());
    assert_eq!(all[0].reason, "2 of 3 vantage points say down, its own report is silent for 6.2 s");
    assert_eq!(all[0].parts[0].evidence[0].detail, "its last report is 6.2 s old");
}

#[test]
fn the_newest_report_of_a_vantage_counts() {
    let names = names(1);
    let reports = [received(&names, 0, "d", 50), received(&names, 0, "u", 10)];
    let all = verdicts(&names, &names[0], &reports, true, NOW, &Timers::default());
    assert_eq!(all[0].part(Part::Node), Health::Up);
}

fn rank(health: Health) -> u8 {
    match health {
        Health::Down => 0,
        Health::Unknown => 1,
        Health::Up => 2,
    }
}

/// Views of five vantages on five regions, each with an age.
fn worlds() -> impl Strategy<Value = Vec<(String, u64)>> {
    proptest::collection::vec(("[ud?-]{5}", 0_u64..8_000), 5)
}

fn judge(world: &[(String, u64)], now: Moment) -> Vec<RegionHealth> {
    let names = names(5);
    let reports: Vec<Received> =
        world.iter().enumerate().map(|(i, (says, age))| received(&names, i, says, *age)).collect();
    verdicts(&names, &names[0], &reports, true, now, &Timers::default())
}

proptest! {
    /// Without a majority of fresh voices nothing is up or down, and with it the region's silence decides.
    #[test]
    fn unknown_is_never_rounded(world in worlds()) {
        let fresh = world.iter().filter(|(_, age)| *age <= 4_000).count();
        for (i, region) in judge(&world, NOW).iter().enumerate() {
            if fresh < 3 {
                prop_assert_eq!(region.health, Health::Unknown);
                prop_assert!(region.parts.iter().all(|p| p.health == Health::Unknown));
            }
            if region.health == Health::Down {
                prop_assert!(world[i].1 > 4_000, "down although it reports");
                let say_down = world.iter().filter(|(w, age)| *age <= 4_000 && w.as_bytes()[i] == b'd').count();
                prop_assert!(say_down >= 3);
            }
        }
    }

    /// One vantage that turns from up to down never makes a region look better.
    #[test]
    fn more_bad_news_never_help(world in worlds(), vantage in 0_usize..5, region in 0_usize..5) {
        let mut good = world.clone();
        good[vantage].0.replace_range(region..=region, "u");
        let mut bad = world;
        bad[vantage].0.replace_range(region..=region, "d");
        let (good, bad) = (judge(&good, NOW), judge(&bad, NOW));
        prop_assert!(rank(bad[region].health) <= rank(good[region].health));
    }

    /// After the time to live nothing is known any more, whatever was said.
    #[test]
    fn everything_expires(world in worlds()) {
        for region in judge(&world, NOW + Duration::from_millis(4_001)) {
            prop_assert_eq!(region.health, Health::Unknown);
        }
    }
}
