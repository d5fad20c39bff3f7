//! A whole drill, made up, with known answers.

use std::collections::{BTreeMap, HashSet};

use meridian_model::run::{Step, StepKind};
use meridian_model::topology::{Coordination, Location, Objectives as Objective, Pattern, Population};
use meridian_model::{Epoch, Name, Share, Topology};

use super::super::file::{Expect, LoadSpec, Timed, Until, What, When};
use super::super::observe::{DnsSeen, EpochSeen, Seen};
use super::super::rows::Rows;
use super::super::witness::Witnessed;
use super::*;
use crate::ledger::{Ack, Ledger, MemberRows};
use crate::load::{Outcome, Recorded};
use crate::measure::{ClockPair, WitnessAck};
use crate::plan::LabOptions;

const START: u64 = 100_000;
const FAULT: u64 = START + 10_000;
const END: u64 = START + 60_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

/// Wall-clock time is boot time plus this.
const WALL: i64 = 1_700_000_000_000;

fn wall(ms: u64) -> Timestamp {
    Timestamp(WALL + i64::try_from(ms).unwrap())
}

fn system() -> System {
    let people = |n: &str| Population {
        name: name(n),
        share: Share::from_percent(50.0).unwrap(),
        location: Location { latitude: 0.0, longitude: 0.0 },
        networks: Vec::new(),
    };
    System {
        topology: Topology {
            name: name("shop"),
            pattern: Pattern::ActivePassive,
            schedule: Vec::new(),
            objectives: Objective { rto: Duration::from_secs(60), rpo: Duration::from_secs(5) },
            regions: ["us", "eu"].map(region).to_vec(),
            users: vec![people("north-america"), people("europe")],
            coordination: Coordination { endpoints: Vec::new(), control_secret_file: "x".into() },
            timers: meridian_model::Timers::default(),
            otlp_endpoint: None,
        },
        services: Vec::new(),
        databases: Vec::new(),
        policies: Vec::new(),
        plans: Vec::new(),
    }
}

fn region(n: &str) -> meridian_model::topology::Region {
    use meridian_model::topology::{Dial, NodeAddresses, Provider, Region, Role};
    let nowhere = "127.0.0.1:1".parse().unwrap();
    Region {
        name: name(n),
        provider: Provider::Other,
        role: Role::Primary,
        jurisdiction: name("us"),
        location: Location { latitude: 0.0, longitude: 0.0 },
        cidr: None,
        dial: Dial::Share(Share::ONE),
        node: NodeAddresses {
            control: nowhere,
            dns: nowhere,
            edge_http: nowhere,
            edge_https: nowhere,
            gateway_write: nowhere,
            gateway_read: nowhere,
            public: Vec::new(),
            data_dir: "x".into(),
        },
    }
}

fn drill() -> Drill {
    let fault = Fault::Kill { region: name("us"), part: None };
    let kill = Timed { when: When::At(Duration::from_secs(10)), what: What::Fault(fault) };
    Drill {
        name: "made-up".to_owned(),
        description: String::new(),
        system: "x.yaml".into(),
        load: LoadSpec::default(),
        timeline: vec![kill],
        until: Until::Redundant,
        timeout: Duration::from_secs(60),
        expect: Expect {
            rto_write: Some(Duration::from_secs(12)),
            lost_writes: Some(2),
            failovers: Some(1),
            ..Expect::default()
        },
    }
}

fn played() -> Played {
    let record = FaultRecord {
        fault: Fault::Kill { region: name("us"), part: None },
        at: at(FAULT),
        done_at: at(FAULT + 5),
        wall: wall(FAULT),
        detail: "killed 9 processes".to_owned(),
    };
    Played { faults: vec![record], moves: Vec::new(), killed: None, reached: true }
}

/// The steps of a failover, one after the other.
const STEPS: [StepKind; 7] = [
    StepKind::Fence,
    StepKind::Promote,
    StepKind::Repoint,
    StepKind::Scale,
    StepKind::Shift,
    StepKind::Verify,
    StepKind::Protect,
];

fn run() -> Run {
    let done = |kind, ms| {
        let state = StepState::Done { since: wall(ms - 10), at: wall(ms), detail: String::new() };
        Step::plain(kind, state).unwrap()
    };
    Run {
        from: Some(name("us")),
        cause: "us is down".to_owned(),
        detected_at: Some(wall(FAULT + 4_000)),
        steps: STEPS
            .into_iter()
            .zip([5_100, 5_500].map(Some).into_iter().chain(std::iter::repeat(None)))
            .map(|(kind, ms)| {
                let pending = Step::plain(kind, StepState::Pending).unwrap();
                ms.map_or(pending, |ms| done(kind, FAULT + ms))
            })
            .collect(),
        evidence: Box::new(meridian_model::run::Evidence {
            detected: "1 of 2 vantage points says down".to_owned(),
            ..Default::default()
        }),
        ..Run::begin(
            name("orders-2"),
            name("orders"),
            RunKind::Failover,
            Epoch(2),
            name("eu"),
            wall(FAULT + 5_000),
        )
    }
}

/// Both populations ask ten times a second; during the outage everything waits for its end.
fn samples() -> Vec<Sample> {
    let mut list = Vec::new();
    for (population, home) in [(0_u16, 0_u16), (1, 1)] {
        for due in (START..END).step_by(100) {
            let kind = if due % 300 == 0 { Kind::Write } else { Kind::Read };
            let back = FAULT + if kind == Kind::Write { 6_000 } else { 1_500 };
            let waits = kind == Kind::Write || population == 0;
            let ended = if (FAULT..back).contains(&due) && waits { back } else { due + 20 };
            list.push(Sample {
                population,
                region: Some(if due < FAULT { home } else { 1 }),
                kind,
                outcome: Outcome::Ok,
                attempts: 1,
                intended: at(due),
                started: at(due),
                ended: at(ended),
            });
        }
    }
    list
}

fn ack(id: &str, ms: u64) -> Ack {
    let (sent_at, acknowledged_at) = (at(ms - 5), at(ms));
    Ack { id: id.to_owned(), population: 1, sent_at, acknowledged_at, by: None }
}

fn seen(last_ack_of_us: u64) -> SeenAll {
    let acknowledged =
        vec![ack("a", FAULT - 500), ack("b", FAULT - 200), ack("c", FAULT - 100), ack("d", FAULT + 7_000)];
    let ids: HashSet<String> = ["a", "d", "x-europe-first"].map(str::to_owned).into();
    let mut witnessed = Witnessed::default();
    for (region, timeline, ms) in
        [("us", 1, START), ("us", 1, last_ack_of_us), ("eu", 2, FAULT + 5_600), ("eu", 2, END)]
    {
        let (sent, received) = (at(ms - 1), at(ms));
        witnessed.reigns.note(WitnessAck { region: name(region), timeline, sent, received });
    }
    let dns = |ms, server: &str, answer: &str| DnsSeen {
        at: at(ms),
        population: 0,
        server: name(server),
        answer: Name::new(answer).ok(),
    };
    let mut seen = Seen::default();
    seen.runs = BTreeMap::from([(run().id, run())]);
    seen.dns = vec![dns(START, "eu", "us"), dns(FAULT + 10, "us", "eu"), dns(FAULT + 4_200, "eu", "eu")];
    seen.redundant = vec![(at(START), Some(at(FAULT + 100))), (at(FAULT + 30_000), None)];
    SeenAll {
        clock: ClockPair { at: at(START), wall: wall(START) },
        ended_at: at(END),
        recorded: Recorded {
            samples: samples(),
            samples_dropped: 0,
            failures: BTreeMap::new(),
            ledger: Ledger { acknowledged, unacknowledged: Vec::new() },
        },
        witnessed,
        seen,
        rows: Rows {
            writer: MemberRows { region: Some(name("eu")), ids },
            others: vec![MemberRows { region: Some(name("us")), ids: HashSet::from(["b".to_owned()]) }],
            ..Rows::default()
        },
        events: Vec::new(),
        rejoined: Some("rewound".to_owned()),
        members: vec![
            (name("us"), "127.9.1.1:5432".parse().unwrap()),
            (name("eu"), "127.9.2.1:5432".parse().unwrap()),
        ],
    }
}

fn conclude(seen: &SeenAll) -> Facts {
    conclude_of(seen, &played())
}

fn conclude_of(seen: &SeenAll, played: &Played) -> Facts {
    let (drill, system) = (drill(), system());
    let options = Options { lab: LabOptions::default(), keep: false };
    let moved = Moved { system: system.clone(), begin: None, told: Vec::new() };
    let (drill, system, moved) = (&drill, &system, &moved);
    facts(&Evidence { drill, system, moved, played, seen, options: &options })
}

#[test]
fn the_figures_of_a_region_loss() {
    let facts = conclude(&seen(FAULT - 3));
    assert_eq!(facts.violations, Vec::<String>::new());
    assert_eq!(facts.rto_read_seconds, Some(1.5));
    assert_eq!(facts.rto_write_seconds, Some(6.0));
    assert_eq!((facts.acknowledged_writes, facts.lost_writes), (4, 2));
    assert_eq!(facts.rpo_seconds, 0.2);
    // The samples are of every write, the ledger of this test has four of them. The one by which the load waited
    // until it was served is in the writer's table and in no ledger.
    let WritesFact { before, during, after, rows_at_writer } = facts.writes;
    assert_eq!((before + during + after, rows_at_writer), (400, 2));
    assert_eq!((facts.runs[0].detected_seconds, facts.runs[0].decided_seconds), (Some(14.0), 15.0));
    assert_eq!(facts.lost[0].still_on, ["us"]);
    assert_eq!((facts.max_concurrent_writers, facts.failovers), (1, 1));
    assert!(facts.passed, "{:?}", facts.expectations);
}

#[test]
fn the_phases_of_a_region_loss() {
    let facts = conclude(&seen(FAULT - 3));
    let after = |phase: &str| facts.phases.iter().find(|p| p.name == phase).unwrap().after_fault_seconds;
    assert_eq!(after("fault"), Some(0.0));
    assert_eq!(after("detected"), Some(4.0));
    assert_eq!(after("decided"), Some(5.0));
    assert_eq!(after("promoted"), Some(5.5));
    assert_eq!(after("DNS changed"), Some(4.2), "only a surviving server counts");
    assert_eq!(after("first good read"), Some(1.5));
    assert_eq!(after("first good write"), Some(6.0));
    assert_eq!(after("redundant again"), Some(30.0));
    assert_eq!(after("compute scaled"), None);
    let detail = |phase: &str| facts.phases.iter().find(|p| p.name == phase).unwrap().detail.clone();
    assert_eq!(detail("detected"), "us: 1 of 2 vantage points says down");
    assert_eq!(detail("decided"), "epoch 2 for eu, run orders-2: us is down");
    let times: Vec<f64> = facts.phases.iter().filter_map(|p| p.at_seconds).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(facts.phases.last().unwrap().at_seconds, None, "what was not seen comes last");
}

#[test]
fn without_a_failover_only_what_was_seen_is_a_phase() {
    let mut seen = seen(FAULT - 3);
    seen.seen.runs.clear();
    let facts = conclude(&seen);
    assert!(facts.phases.iter().all(|p| p.at_seconds.is_some()), "{:?}", facts.phases);
    assert!(facts.phases.iter().any(|p| p.name == "first good write"));
}

#[test]
fn a_step_that_a_later_run_ended_is_a_phase_of_the_recovery() {
    let mut seen = seen(FAULT - 3);
    let done = |kind| {
        let (since, at) = (wall(FAULT), wall(FAULT + 20_000));
        Step::plain(kind, StepState::Done { since, at, detail: String::new() }).unwrap()
    };
    let steps = STEPS.map(done).to_vec();
    let decided_at = wall(FAULT + 19_000);
    let later =
        Run { id: name("orders-3"), kind: RunKind::Resume, epoch: Epoch(3), decided_at, steps, ..run() };
    seen.seen.runs.insert(later.id.clone(), later);
    let facts = conclude(&seen);
    let after = |phase: &str| facts.phases.iter().find(|p| p.name == phase).unwrap().after_fault_seconds;
    assert_eq!((after("promoted"), after("protected again")), (Some(5.5), Some(20.0)));
}

#[test]
fn each_population_has_its_own_story() {
    let facts = conclude(&seen(FAULT - 3));
    let [hit, other] = facts.populations.as_slice() else { panic!("two populations") };
    assert_eq!((hit.home.as_deref(), hit.home_after.as_deref()), (Some("us"), Some("eu")));
    assert_eq!((hit.rto_read_seconds, other.rto_read_seconds), (Some(1.5), Some(0.02)));
    let figure = |stretch| {
        hit.latencies.iter().find(|l| l.stretch == stretch && l.kind == "writes").unwrap().p50_seconds
    };
    assert_eq!((figure("before"), figure("after")), (0.02, 0.02));
    assert!(figure("during") > 1.0);
    let slowest = |stretch| hit.latencies.iter().find(|l| l.stretch == stretch).unwrap().p99_seconds;
    assert!(slowest("before") < 1.0, "what waited for the recovery was not answered before the fault");
    assert_eq!(hit.series.len(), 61);
}

#[test]
fn of_a_drill_without_a_fault_the_first_move_divides_the_times() {
    let wanted = Wanted { to: name("eu"), at: at(FAULT), by_schedule: true };
    let played = Played { faults: Vec::new(), moves: vec![wanted], ..played() };
    let facts = conclude_of(&seen(FAULT - 3), &played);
    assert_eq!((facts.rto_read_seconds, facts.rto_write_seconds), (Some(1.5), Some(6.0)));
    assert_eq!((facts.longest_read_wait_seconds, facts.longest_write_wait_seconds), (1.5, 5.9));
    let counted = facts.populations.iter().flat_map(|p| &p.latencies).filter(|l| l.stretch == "before");
    assert_eq!(counted.map(|l| l.count).sum::<usize>(), 200);
}

#[test]
fn an_acknowledgement_after_the_new_epoch_fails_the_drill() {
    let facts = conclude(&seen(FAULT + 5_200));
    assert_eq!(facts.max_concurrent_writers, 1, "the new writer had not written yet");
    assert_eq!(facts.violations.len(), 1);
    assert!(facts.violations[0].contains("0.200 s after epoch 2"), "{:?}", facts.violations);
    assert!(!facts.passed);
}

#[test]
fn two_writers_at_once_fail_the_drill() {
    let facts = conclude(&seen(FAULT + 9_000));
    assert_eq!(facts.max_concurrent_writers, 2);
    assert!(!facts.passed);
}

#[test]
fn a_write_that_the_old_side_took_after_the_new_one_is_told() {
    let mut seen = seen(FAULT - 3);
    let by = |address: &str| Some(crate::ledger::Server { address: address.parse().unwrap(), timeline: 1 });
    let told = |id, ms, address| Ack { by: by(address), ..ack(id, ms) };
    let (old, new) = ("127.9.1.1:5432", "127.9.2.1:5432");
    seen.recorded.ledger.acknowledged =
        vec![told("a", FAULT - 500, old), told("d", FAULT + 7_000, new), told("e", FAULT + 9_000, old)];
    seen.rows.writer.ids.insert("e".to_owned());
    let violations = conclude(&seen).violations;
    assert!(violations.iter().any(|v| v.starts_with("fence_before_promote")), "{violations:?}");
}

#[test]
fn a_failover_that_nothing_justifies_is_told() {
    let mut played = played();
    played.faults[0].fault = Fault::Kill { region: name("us"), part: Some(crate::faults::FaultPart::Etcd) };
    let facts = conclude_of(&seen(FAULT - 3), &played);
    assert!(
        facts.violations.iter().any(|v| v.starts_with("no_failover_while_healthy")),
        "{:?}",
        facts.violations
    );
}

#[test]
fn a_loss_beyond_the_objective_breaks_a_law() {
    let mut seen = seen(FAULT - 3);
    seen.recorded.ledger.acknowledged[0].acknowledged_at = at(FAULT - 9_000);
    seen.rows.writer.ids.clear();
    assert!(conclude(&seen).violations.iter().any(|v| v.starts_with("acknowledged_kept")));
}

#[test]
fn an_epoch_that_falls_is_told() {
    let mut seen = seen(FAULT - 3);
    let epoch = |epoch, ms, holder| EpochSeen {
        at: at(ms),
        vantage: name("eu"),
        group: name("orders"),
        epoch: Epoch(epoch),
        holder: name(holder),
    };
    seen.seen.epochs = vec![epoch(2, FAULT, "eu"), epoch(1, FAULT + 1, "us")];
    let violations = conclude(&seen).violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].starts_with("epochs_rise"), "{violations:?}");
}

#[test]
fn two_primaries_at_the_end_are_told() {
    let mut seen = seen(FAULT - 3);
    seen.rows.primaries = vec![name("us"), name("eu")];
    assert!(conclude(&seen).violations[0].contains("us and eu"));
}
