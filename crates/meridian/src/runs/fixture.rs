//! Runs as the nodes might tell of them, for the tests of what is shown.

use meridian_model::run::{Evidence, Missing, RuleSaid, Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Name, System, Timestamp};
use meridian_node::status::{CoordinationStatus, GroupStatus, Loss, NodeStatus};
use meridian_spec::SourceFile;

use super::seen::{Seen, seen};

/// When the epoch of every run here was won.
pub(super) const DECIDED: i64 = 1_764_000_000_000;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn system() -> System {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/three-regions.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    meridian_spec::read(&[SourceFile { name: file.to_owned(), text }]).unwrap()
}

/// A region was lost: noticed after 4 s, decided after 5.6 s, writes again 0.4 s later, and protected again.
pub(super) fn failover(system: &System) -> Run {
    let rule = |rule: &str, evidence: &str| RuleSaid {
        rule: rule.to_owned(),
        allows: true,
        evidence: evidence.to_owned(),
    };
    let mut run = run(system, RunKind::Failover);
    run.detected_at = Some(Timestamp(DECIDED - 1_600));
    *run.evidence = Evidence {
        rules: vec![
            rule("LeaseExpired", "us-east-1 has not renewed for 5.1 s"),
            rule("HolderDown", "<script>alert('down')</script>"),
        ],
        detected: "1 of 2 vantage points says down".to_owned(),
        last_renewal_at: Some(Timestamp(DECIDED - 5_600)),
        missing: Missing::Last { ms: 3_000 },
        order: None,
        handover: None,
    };
    run
}

/// All steps are done, each in 400 ms, one after the other; the fence at once.
pub(super) fn run(system: &System, kind: RunKind) -> Run {
    let plan = meridian_planner::derive(system, &system.databases[0]);
    let works = meridian_planner::freeze(&plan, kind == RunKind::Switchover);
    let mut at = DECIDED;
    let steps = works.into_iter().map(|work| {
        let mut step = Step::pending(work);
        let since = Timestamp(at);
        at += if step.kind() == StepKind::Fence { 0 } else { 400 };
        step.state = StepState::Done { since, at: Timestamp(at), detail: format!("{} & seen", step.kind()) };
        step
    });
    let steps = steps.collect();
    Run {
        from: Some(name("us-east-1")),
        cause: "us-east-1 is lost: 2 of 2 vantage points say \"down\"".to_owned(),
        proof: "its own fence had stopped its database 4.4 s after its last renewal at the latest".to_owned(),
        plan: Some(plan.name),
        steps,
        ..Run::begin(
            name("orders-2-failover"),
            plan.group.clone(),
            kind,
            Epoch(2),
            name("eu-central-1"),
            Timestamp(DECIDED),
        )
    }
}

pub(super) fn loss(transactions: Option<u64>) -> Loss {
    Loss {
        epoch: Epoch(2),
        at: Timestamp(DECIDED + 60_000),
        method: "rewound".to_owned(),
        transactions,
        complete: transactions.is_some(),
        by_table: [("public.<orders>".to_owned(), 4)].into(),
        kept_wal: Some("/data/kept-wal/orders-1".into()),
        list: Some("/data/kept-wal/orders-1/lost-transactions.jsonl".into()),
        detail: if transactions.is_some() { "decoded from the slot" } else { "no slot" }.to_owned(),
    }
}

pub(crate) fn group(runs: Vec<Run>, losses: Vec<Loss>) -> GroupStatus {
    GroupStatus {
        group: name("orders"),
        epoch: Epoch(2),
        writer: None,
        reason: String::new(),
        state: String::new(),
        doing: String::new(),
        database: None,
        record: None,
        members: Vec::new(),
        rules: Vec::new(),
        runs,
        order: None,
        words: Vec::new(),
        losses,
    }
}

/// A node that reaches etcd and knows nothing but these groups.
pub(crate) fn node(region: &str, groups: Vec<GroupStatus>) -> NodeStatus {
    NodeStatus {
        region: name(region),
        version: String::new(),
        at: Timestamp(0),
        generation: 1,
        coordination: CoordinationStatus { reachable: true, detail: String::new() },
        verdicts: Vec::new(),
        groups,
        maintenance: None,
        compute: Vec::new(),
        traffic: Vec::new(),
        dials: Vec::new(),
    }
}

/// As it is told `after_ms` after the decision. `losses`: what the old writer's node says; none: it does not
/// answer.
pub(super) fn told(system: &System, runs: &[Run], losses: Option<Vec<Loss>>, after_ms: i64) -> Seen {
    let told = group(runs.to_vec(), Vec::new());
    let old = losses.map(|losses| group(Vec::new(), losses));
    seen(system, &runs[0], &told, old.as_ref(), Timestamp(DECIDED + after_ms))
}
