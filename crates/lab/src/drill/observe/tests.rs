//! What the observers make of what nodes say.

use meridian_model::Timestamp;
use meridian_model::group::{DatabaseStatus, StandbyStatus};
use meridian_model::run::{Step, StepKind};
use meridian_model::{Lsn, Name};
use meridian_node::status::{CoordinationStatus, GroupStatus};

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn status(region: &str, role: DatabaseRole, standbys: &[&str]) -> NodeStatus {
    let standby = |r: &&str| StandbyStatus { region: name(r), flushed: Lsn(0), synchronous: false };
    let database = DatabaseStatus {
        streaming: role == DatabaseRole::Standby,
        standbys: standbys.iter().map(standby).collect(),
        ..DatabaseStatus::stopped(role)
    };
    let group = GroupStatus {
        group: name("orders"),
        epoch: Epoch(1),
        writer: None,
        reason: String::new(),
        state: String::new(),
        doing: String::new(),
        database: Some(database),
        record: None,
        members: Vec::new(),
        rules: Vec::new(),
        runs: Vec::new(),
        order: None,
        words: Vec::new(),
        losses: Vec::new(),
    };
    NodeStatus {
        region: name(region),
        version: "0.1.0".to_owned(),
        at: Timestamp(0),
        generation: 0,
        coordination: CoordinationStatus::default(),
        verdicts: Vec::new(),
        groups: vec![group],
        maintenance: None,
        compute: Vec::new(),
        traffic: Vec::new(),
        dials: Vec::new(),
    }
}

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

#[test]
fn redundant_means_that_everybody_is_there_and_was_heard_lately() {
    let mut seen = Seen::default();
    seen.take_in(status("us", DatabaseRole::Primary, &["eu"]), at(0), 2);
    assert!(!seen.redundant_now());
    seen.take_in(status("eu", DatabaseRole::Standby, &[]), at(100), 2);
    assert!(seen.redundant_now());
    seen.take_in(status("eu", DatabaseRole::Standby, &[]), at(2000), 2);
    assert!(!seen.redundant_now(), "the primary was not heard of for two seconds");
    seen.take_in(status("us", DatabaseRole::Primary, &[]), at(2100), 2);
    assert!(!seen.redundant_now(), "the primary counts no standby");
    seen.take_in(status("us", DatabaseRole::Primary, &["eu"]), at(2200), 2);
    assert_eq!(seen.redundant, [(at(100), Some(at(2000))), (at(2200), None)]);
}

#[test]
fn two_primaries_are_not_redundant() {
    let mut seen = Seen::default();
    seen.take_in(status("us", DatabaseRole::Primary, &[]), at(0), 2);
    seen.take_in(status("eu", DatabaseRole::Primary, &[]), at(10), 2);
    assert!(!seen.redundant_now());
}

#[test]
fn a_late_node_does_not_take_a_run_back() {
    let done = StepState::Done { since: Timestamp(0), at: Timestamp(1), detail: String::new() };
    let mut seen = Seen::default();
    seen.note_run(run(2, RunKind::Failover, done));
    seen.note_run(run(2, RunKind::Failover, StepState::Pending));
    assert!(seen.run_since_failover().unwrap().finished());
}

#[test]
fn a_step_that_is_done_twice_in_a_run_is_told() {
    let done = |at| StepState::Done { since: Timestamp(0), at: Timestamp(at), detail: String::new() };
    let mut seen = Seen::default();
    seen.note_run(run(2, RunKind::Failover, done(5)));
    seen.note_run(run(2, RunKind::Failover, StepState::Pending));
    seen.note_run(run(2, RunKind::Failover, done(5)));
    seen.note_run(run(3, RunKind::Resume, done(9)));
    assert!(seen.done_again.is_empty(), "another run does it anew: {:?}", seen.done_again);
    seen.note_run(run(2, RunKind::Failover, done(7)));
    assert_eq!(seen.done_again.len(), 1);
}

#[test]
fn a_later_run_takes_the_place_of_a_failover_that_did_not_end() {
    let done = StepState::Done { since: Timestamp(0), at: Timestamp(1), detail: String::new() };
    let mut seen = Seen::default();
    seen.note_run(run(1, RunKind::Start, done.clone()));
    assert!(seen.run_since_failover().is_none());
    seen.note_run(run(2, RunKind::Failover, StepState::Running { since: Timestamp(0) }));
    assert!(!seen.run_since_failover().unwrap().finished());
    seen.note_run(run(3, RunKind::Resume, done));
    assert!(seen.run_since_failover().unwrap().finished());
}

fn run(epoch: u64, kind: RunKind, state: StepState) -> Run {
    Run {
        steps: vec![Step::plain(StepKind::Fence, state).unwrap()],
        ..Run::begin(
            name(&format!("orders-{epoch}")),
            name("orders"),
            kind,
            Epoch(epoch),
            name("eu"),
            Timestamp(0),
        )
    }
}

#[test]
fn reads_the_method_from_the_counters() {
    let metrics = "# TYPE meridian_rejoins counter\n\
        meridian_rejoins_total{group=\"orders\",method=\"rewound\"} 1\n\
        meridian_rejoins_total{group=\"orders\",method=\"recloned\"} 0\n";
    assert_eq!(rejoin_methods(metrics), ["rewound"]);
    assert!(rejoin_methods("").is_empty());
}
