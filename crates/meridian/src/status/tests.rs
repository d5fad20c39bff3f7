//! What `meridian status` shows.

use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, MemberReport, WalPosition};
use meridian_model::health::{Part, Target, Verdict};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};
use meridian_model::{Epoch, Lsn, Name, Timestamp};
use meridian_node::status::{CoordinationStatus, RuleStatus, TrafficShare};

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn node(region: &str, reachable: bool, epoch: u64, writer: Option<&str>) -> NodeStatus {
    let rule = RuleStatus { rule: "HolderDown".to_owned(), allows: false, evidence: region.to_owned() };
    let group = GroupStatus {
        group: name("orders"),
        epoch: Epoch(epoch),
        writer: writer.map(name),
        reason: "its lease is over".to_owned(),
        state: "following".to_owned(),
        doing: "waits".to_owned(),
        database: None,
        record: None,
        members: Vec::new(),
        rules: vec![rule],
        runs: Vec::new(),
        order: None,
        words: Vec::new(),
        losses: Vec::new(),
    };
    NodeStatus {
        region: name(region),
        version: String::new(),
        at: Timestamp(0),
        generation: 1,
        coordination: CoordinationStatus { reachable, detail: String::new() },
        verdicts: Vec::new(),
        groups: vec![group],
        maintenance: None,
        compute: Vec::new(),
        traffic: vec![TrafficShare { service: name("shop"), region: name(region), share: 1.0 }],
        dials: Vec::new(),
    }
}

#[test]
fn an_isolated_node_is_not_believed_and_the_writer_has_no_rules() {
    let nodes =
        [node("us", false, 1, None), node("eu", true, 2, Some("eu")), node("ap", true, 1, Some("us"))];
    let answers = nodes.map(|n| Answer { region: n.region.clone(), node: Some(n), problem: None });
    let words_of = [(name("orders"), " --lab 2".to_owned())].into();
    let held_back = vec!["held back".to_owned()];
    let told = Told { words_of, words: " --lab 2".to_owned(), held_back, ..told(answers.into()) };
    let text = table(&told, true);
    assert!(text.contains("GROUP orders  epoch 2  writer eu\n"), "{text}");
    assert!(
        text.contains("TRAFFIC  eu 100 %")
            && text.contains("\nheld back; a person can agree to it now: meridian failover --lab 2\n"),
        "{text}"
    );
    assert!(text.contains("blocks  HolderDown             us"), "{text}");
    assert!(!text.contains("HolderDown             eu"), "{text}");
}

#[test]
fn an_active_maintenance_stands_at_the_top_and_a_past_one_nowhere() {
    let shown = |at| {
        let word = meridian_model::order::Word {
            by: "ana".to_owned(),
            at: Timestamp(0),
            reason: "new disks".to_owned(),
        };
        let maintenance = Some(meridian_model::order::Maintenance { until: Timestamp(60_000), word });
        let node = NodeStatus { maintenance, at: Timestamp(at), ..node("eu", true, 2, Some("eu")) };
        let answers = vec![Answer { region: name("eu"), node: Some(node), problem: None }];
        table(&told(answers), false)
    };
    let top = "AUTOMATIC FAILOVER IS OFF: maintenance until 1970-01-01T00:01:00Z (ana: new disks): nothing begins by \
               itself; end it: meridian maintenance end\n";
    assert!(shown(59_000).starts_with(top), "{}", shown(59_000));
    assert!(shown(60_000).starts_with("REGION"), "{}", shown(60_000));
}

fn shown(nodes: Vec<NodeStatus>) -> String {
    let answers =
        nodes.into_iter().map(|n| Answer { region: n.region.clone(), node: Some(n), problem: None });
    table(&told(answers.collect()), false)
}

fn told(answers: Vec<Answer>) -> Told {
    Told {
        answers,
        held_back: Vec::new(),
        timers: Timers::default(),
        words: String::new(),
        words_of: BTreeMap::new(),
    }
}

fn record(holder: &str, renewed_at: i64) -> GroupRecord {
    GroupRecord {
        group: name("orders"),
        epoch: Epoch(2),
        holder: name(holder),
        renewal: 1,
        released: false,
        wal: WalPosition::default(),
        wal_age_ms: 0,
        terms: None,
        quorum: None,
        renewed_at: Timestamp(renewed_at),
        made: true,
        run: None,
        last_failover_at: None,
        handover: None,
    }
}

#[test]
fn that_nobody_can_write_stands_first_with_since_when_and_what_is_done() {
    let mut eu = NodeStatus { at: Timestamp(12_000), ..node("eu", true, 2, None) };
    eu.groups[0].record = Some(record("us", 0));
    let waits = "NO WRITER of orders for 12 s: its lease is over. eu does not take over: HolderDown: eu; see `meridian \
                 explain`\n";
    assert!(shown(vec![eu.clone()]).starts_with(waits), "{}", shown(vec![eu.clone()]));

    // The next reign has begun: its record is new, and nobody could write since the last sign of the one before.
    let promote = Step::plain(StepKind::Promote, StepState::Running { since: Timestamp(11_500) }).unwrap();
    let mut run = Run {
        from: Some(name("us")),
        steps: vec![promote],
        ..Run::begin(
            name("orders-2"),
            name("orders"),
            RunKind::Failover,
            Epoch(2),
            name("eu"),
            Timestamp(11_000),
        )
    };
    run.evidence.last_renewal_at = Some(Timestamp(5_000));
    eu.groups[0].record = Some(record("eu", 11_900));
    eu.groups[0].runs = vec![run.clone()];
    let begins = "NO WRITER of orders for 7 s: its lease is over. Run orders-2 makes eu the writer (now: promote): meridian \
                  run watch orders-2\n";
    assert!(shown(vec![eu.clone()]).starts_with(begins), "{}", shown(vec![eu.clone()]));
    run.paused = Some("bob".to_owned());
    eu.groups[0].runs = vec![run];
    assert!(shown(vec![eu.clone()]).contains("is paused (bob): meridian run resume orders-2\n"));
    // Its promotion is long done, or its region is gone: it makes nobody the writer.
    let blocked = "eu does not take over: ProofOfData: 9 s may be missing. A person agrees with: meridian failover \
                   --accept-data-loss\n";
    let proof = RuleStatus {
        rule: "ProofOfData".to_owned(),
        allows: false,
        evidence: "9 s may be missing".to_owned(),
    };
    eu.groups[0].rules = vec![proof];
    eu.groups[0].record = Some(record("us", 0));
    for to in ["eu", "us"] {
        let mut old = Run { to: name(to), ..eu.groups[0].runs[0].clone() };
        if to == "eu" {
            let (since, at) = (Timestamp(0), Timestamp(1));
            old.steps[0].state = StepState::Done { since, at, detail: String::new() };
            old.steps.push(Step::plain(StepKind::Protect, StepState::Pending).unwrap());
        }
        eu.groups[0].runs = vec![old];
        let text = shown(vec![eu.clone()]);
        assert!(text.lines().next().is_some_and(|l| format!("{l}\n").ends_with(blocked)), "{text}");
        eu.groups[0].runs[0].steps.truncate(1);
        eu.groups[0].runs[0].steps[0].state = StepState::Pending;
    }
    eu.groups[0].writer = Some(name("eu"));
    assert!(shown(vec![eu]).starts_with("REGION"));

    assert!(shown(vec![node("eu", false, 1, Some("us"))]).starts_with("NO ETCD: no node that answers"));
    assert!(shown(Vec::new()).starts_with("NO NODE ANSWERS"));
}

#[test]
fn a_part_that_is_down_is_shown_in_a_region_that_is_up() {
    let part = |part, health| Verdict {
        target: Target { region: name("us"), part },
        health,
        reason: String::new(),
        evidence: Vec::new(),
    };
    let parts = vec![part(Part::Node, Health::Up), part(Part::Database, Health::Down)];
    let region =
        |health| RegionHealth { region: name("us"), health, reason: String::new(), parts: parts.clone() };
    assert_eq!(judged(&region(Health::Up)), "us up (database down)");
    assert_eq!(judged(&region(Health::Down)), "us down");
    assert_eq!(judged(&RegionHealth { parts: Vec::new(), ..region(Health::Up) }), "us up");
}

#[test]
fn a_member_whose_node_is_silent_is_told_by_when_it_was_seen_last() {
    let database = |lag| DatabaseStatus {
        received: WalPosition { timeline: 1, lsn: Lsn(0x300_0148) },
        replayed: Lsn(0x300_0148),
        streaming: true,
        replay_lag_ms: Some(lag),
        ..DatabaseStatus::stopped(DatabaseRole::Standby)
    };
    let mut eu = NodeStatus { at: Timestamp(12_000), ..node("eu", true, 2, Some("us")) };
    eu.groups[0].database = Some(database(40_000));
    let report = |region: &str| MemberReport {
        region: name(region),
        sequence: 1,
        epoch: Epoch(1),
        sealed: None,
        database: database(0),
        reported_at: Timestamp(0),
    };
    eu.groups[0].members = vec![report("ap"), report("eu")];
    let text = shown(vec![eu]);
    let cells = |region: &str| {
        let line = text.lines().rfind(|line| line.starts_with(region)).unwrap();
        line.split("  ").map(|cell| cell.trim().to_owned()).filter(|c| !c.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        cells("eu"),
        ["eu", "following", "standby", "2", "1:0/3000148", "nothing heard for 40 s", "yes"]
    );
    assert_eq!(cells("ap"), ["ap", "silent", "standby?", "1", "1:0/3000148", "not seen for 12 s", "-"]);
}

#[test]
fn a_lost_region_stays_in_its_place_among_the_members() {
    let mut eu = node("eu", true, 2, Some("eu"));
    eu.groups[0].members = vec![MemberReport {
        region: name("us"),
        sequence: 1,
        epoch: Epoch(1),
        sealed: None,
        database: DatabaseStatus::stopped(DatabaseRole::Standby),
        reported_at: Timestamp(0),
    }];
    let lost = Answer { region: name("us"), node: None, problem: Some("no answer".to_owned()) };
    let there = Answer { region: name("eu"), node: Some(eu), problem: None };
    for verbose in [false, true] {
        let answers = vec![
            Answer { region: lost.region.clone(), node: None, problem: lost.problem.clone() },
            Answer { region: there.region.clone(), node: there.node.clone(), problem: None },
        ];
        let text = table(&told(answers), verbose);
        let members = text.split_once("GROUP").unwrap().1;
        let place = |row: &str| members.find(row).unwrap_or_else(|| panic!("{row}: {text}"));
        assert!(place("\nus  ") < place("\neu  "), "{text}");
    }
}

/// For the 5 s of a lost writer's lease nothing was said.
#[test]
fn a_writer_that_is_silent_is_told_with_the_end_of_its_lease() {
    let seen = |at, health: Health, answers: &[&str]| {
        let of = |region: &&str| {
            let mut node = NodeStatus { at: Timestamp(at), ..node(region, true, 2, Some("us")) };
            let (region, reason, parts) = (name("us"), String::new(), Vec::new());
            node.verdicts = vec![RegionHealth { region, health, reason, parts }];
            node.groups[0].record = Some(record("us", 0));
            node
        };
        shown(answers.iter().map(of).collect())
    };
    let told = "WRITER us is silent: its lease ends in 3.0 s; nobody else may write before\n";
    assert!(seen(2_000, Health::Up, &["eu", "ap"]).starts_with(told), "its node does not answer");
    assert!(seen(2_000, Health::Down, &["us", "eu", "ap"]).starts_with(told), "both others judge it down");
    for (at, health, answers) in [
        (1_500, Health::Down, &["eu", "ap"][..]),
        (2_000, Health::Up, &["us", "eu", "ap"]),
        (2_000, Health::Down, &["us"]),
    ] {
        assert!(seen(at, health, answers).starts_with("REGION"), "{at} {health} {answers:?}");
    }
}
