//! The report of a run: its figures, and a page that is whole, offline and safe.

use meridian_model::group::WalPosition;
use meridian_model::order::{Handover, Order, OrderState, RunWords, Wish, Word};
use meridian_model::plan::{Check, Exec, Form, Notify, PlannedStep, Secretive, Task, Work};
use meridian_model::run::{Missing, RuleSaid, RunKind, StepKind, StepState};
use meridian_model::{Lsn, Timestamp};
use meridian_page::html::well_formed;

use super::html::html;
use super::*;
use crate::runs::fixture::{DECIDED, failover, loss, name, run, system, told};

/// The report for programs, for other tests.
pub(in crate::runs) fn facts(
    system: &meridian_model::System,
    seen: &crate::runs::seen::Seen,
) -> serde_json::Value {
    serde_json::to_value(Facts::of(system, seen)).unwrap()
}

fn page(facts: &Facts) -> String {
    let page = html(facts);
    well_formed(&page).unwrap();
    for word in ["http://", "https://", "src=", "href=", "<script", "<link", "<iframe"] {
        assert!(!page.contains(word), "the page holds {word}");
    }
    page
}

#[test]
fn a_failover_is_measured_from_the_last_renewal_against_the_objectives() {
    let system = system();
    let seen = told(&system, &[failover(&system)], Some(vec![loss(Some(3))]), 60_000);
    let facts = Facts::of(&system, &seen);
    let writes = facts.writes.unwrap();
    assert_eq!((writes.seconds, writes.held), (6.0, true));
    let after = |name: &str| facts.phases.iter().find(|p| p.name == name).unwrap().after_seconds;
    assert_eq!(after("last renewal"), Some(0.0));
    assert_eq!(after("loss detected"), Some(4.0));
    assert_eq!(after("decided"), Some(5.6));
    assert_eq!(after("writes again"), Some(6.0));
    assert!(after("protected again") > after("verified"));
    let promote = facts.steps.iter().find(|s| s.name == "promote").unwrap();
    assert_eq!(
        (promote.began_after_seconds, promote.took_seconds, promote.attempts),
        (Some(5.6), Some(0.4), 1)
    );
    assert_eq!((promote.expected_after_seconds, promote.expected_seconds), (Some(5.6), Some(0.5)));
    assert_eq!((facts.loss.transactions, facts.loss.at_most_seconds), (Some(3), Some(3.0)));
    assert_eq!((facts.loss.held, facts.good), (Some(true), true));
    assert!(facts.warnings.is_empty(), "{:?}", facts.warnings);

    let page = page(&facts);
    for told in [
        "orders-2-failover",
        "protected again",
        "6.0 s",
        "objective 60.0 s",
        "within 60.0 s",
        "us-east-1 has not renewed for 5.1 s",
        "&lt;script&gt;alert",
        "public.&lt;orders&gt;",
        "promote &amp; seen",
        "kept in /data/kept-wal/orders-1",
        "No person took part",
        "<svg",
    ] {
        assert!(page.contains(told), "the page does not hold {told}");
    }
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!((&json["writes"]["seconds"], &json["loss"]["transactions"]), (&6.0.into(), &3.into()));
    assert_eq!(json["run"]["rules"][0]["rule"], "LeaseExpired");
    let detected = facts.phases.iter().find(|p| p.name == "loss detected").unwrap();
    assert_eq!(detected.detail, "1 of 2 vantage points says down");
    assert!(!json.to_string().contains("_ms\""), "one unit of time: {json}");
    assert_eq!(json["loss"]["losses"][0]["by_table"][0]["rows"], 4);
    assert_eq!(json["definitions"][0]["word"], "writes again");
}

#[test]
fn a_switchover_is_measured_from_the_hold_and_tells_who_ordered_it() {
    let system = system();
    let mut moved = run(&system, RunKind::Switchover);
    moved.evidence.missing = Missing::Nothing;
    moved.evidence.handover = Some(Handover {
        order: name("order-1"),
        by: "ada <ada@example.com>".to_owned(),
        to: name("eu-central-1"),
        end: WalPosition { timeline: 1, lsn: Lsn(0x10) },
        held_at: Timestamp(DECIDED - 700),
        stopped_at: Timestamp(DECIDED - 200),
        cut: 2,
        prepared: None,
    });
    let promote = moved.steps.iter_mut().find(|s| s.kind() == StepKind::Promote).unwrap();
    promote.state =
        StepState::Done { since: Timestamp(DECIDED), at: Timestamp(DECIDED + 100), detail: String::new() };
    let facts = Facts::of(&system, &told(&system, &[moved], Some(vec![]), 9_000));
    assert_eq!(facts.writes.map(|w| w.seconds), Some(0.8));
    assert_eq!(facts.phases[0].name, "transactions held");
    assert_eq!((facts.loss.held, facts.loss.at_most_seconds), (Some(true), Some(0.0)));
    assert!(facts.warnings.iter().any(|w| w.contains("2 sessions were cut")), "{:?}", facts.warnings);
    let page = page(&facts);
    assert!(page.contains("ada &lt;ada@example.com&gt;") && page.contains("How the writer was handed over"));
}

#[test]
fn what_went_wrong_and_what_persons_did_is_told() {
    let system = system();
    let mut failed = failover(&system);
    failed.evidence.missing = Missing::Unknown;
    failed.evidence.last_renewal_at = Some(Timestamp(DECIDED - 90_000));
    let verify = failed.steps.iter_mut().find(|s| s.work.name.as_str() == "verify").unwrap();
    (verify.failures, verify.state) = (
        3,
        StepState::Failed {
            since: Timestamp(DECIDED),
            at: Timestamp(DECIDED + 9),
            reason: "<b>no route</b>".to_owned(),
        },
    );
    failed.aborted = Some("bob ended it: enough".to_owned());
    let mut seen = told(&system, &[failed], None, 9_000);
    let word =
        |by: &str| Word { by: by.to_owned(), at: Timestamp(DECIDED), reason: "because <i>".to_owned() };
    let id = seen.run.id.clone();
    let approved = vec![(name("ask"), word("ada"))];
    seen.words = Some(RunWords { aborted: Some(word("bob")), approved, resumed: 1, ..RunWords::none(id) });
    let facts = Facts::of(&system, &seen);
    assert!(!facts.good && facts.state.starts_with("aborted"), "{}", facts.state);
    assert_eq!(facts.writes.map(|w| w.held), Some(false));
    assert_eq!((facts.loss.transactions, facts.loss.held), (None, None));
    for told in ["objective was over", "not known yet", "bob ended it", "Step verify failed"] {
        assert!(facts.warnings.iter().any(|w| w.contains(told)), "{told}: {:?}", facts.warnings);
    }
    assert_eq!(facts.steps.iter().find(|s| s.name == "verify").map(|s| s.attempts), Some(3));
    let people: Vec<_> = facts.people.iter().map(|p| (p.who.as_str(), p.what.as_str())).collect();
    assert!(people.contains(&("ada", "agreed to step ask: because <i>")), "{people:?}");
    assert!(people.contains(&("bob", "ended it: because <i>")), "{people:?}");
    let page = page(&facts);
    assert!(page.contains("class=\"verdict bad\"") && page.contains("&lt;b&gt;no route&lt;/b&gt;"));
    assert!(page.contains("not counted") && page.contains("because &lt;i&gt;"));
}

#[test]
fn a_failover_that_was_held_back_says_by_what_and_how_long() {
    let system = system();
    let mut held = failover(&system);
    let said = RuleSaid {
        rule: "FlapWindow".to_owned(),
        allows: true,
        evidence: "the last failover was 258.7 s ago, but bob agrees".to_owned(),
    };
    held.evidence.rules.push(said);
    let decided = |run: &meridian_model::run::Run| {
        let facts = Facts::of(&system, &told(&system, std::slice::from_ref(run), None, 60_000));
        facts.phases.iter().find(|p| p.name == "decided").unwrap().detail.clone()
    };
    assert_eq!(decided(&held), "epoch 2 was won", "it was decided at once");
    held.detected_at = Some(Timestamp(DECIDED - 87_000));
    assert_eq!(
        decided(&held),
        "epoch 2 was won, 87.0 s after the loss was detected; flap window of 300 s: the last failover was 258.7 s \
         ago, but bob agrees"
    );
    held.evidence.order = Some(Order {
        id: name("order-1"),
        group: held.group.clone(),
        wish: Wish::Failover { accept_data_loss: false },
        epoch: held.epoch,
        by: "bob".to_owned(),
        at: Timestamp(DECIDED - 1_400),
        expires_at: Timestamp(DECIDED),
        state: OrderState::Open,
    });
    assert!(
        decided(&held).contains("; bob ordered it 85.6 s after the detection; flap"),
        "{}",
        decided(&held)
    );
}

/// The tile said `not yet` for ever, and `not counted` was green.
#[test]
fn an_aborted_run_and_a_loss_that_nobody_counted_do_not_look_well() {
    let system = system();
    let mut run = failover(&system);
    let protect = run.steps.iter_mut().find(|s| s.kind() == StepKind::Protect).unwrap();
    protect.state = StepState::Pending;
    let of = |run: &meridian_model::run::Run, losses| {
        page(&Facts::of(&system, &told(&system, std::slice::from_ref(run), losses, 60_000)))
    };
    assert!(of(&run, None).contains("<b>not yet</b>"));
    run.aborted = Some("bob ended it".to_owned());
    assert!(of(&run, None).contains("<b>not: the run was aborted</b>"));
    let lost = "<span>Transactions lost</span>";
    assert!(of(&run, None).contains(&format!("<div class=\"tile plain\">{lost}<b>not counted</b>")));
    assert!(of(&run, Some(vec![loss(Some(3))])).contains(&format!("<div class=\"tile\">{lost}<b>3</b>")));
}

#[test]
fn a_run_that_is_under_way_has_a_page_too() {
    let system = system();
    let mut begun = failover(&system);
    for step in begun.steps.iter_mut().skip(2) {
        step.state = StepState::Pending;
    }
    begun.steps[1].state = StepState::Running { since: Timestamp(DECIDED) };
    let facts = Facts::of(&system, &told(&system, &[begun], Some(vec![]), 900_000));
    assert_eq!((facts.writes.is_none(), facts.good), (true, false));
    assert!(facts.steps[1].stuck.as_ref().is_some_and(|s| s.contains("stuck")), "{:?}", facts.steps[1]);
    let page = page(&facts);
    assert!(page.contains("not yet") && page.contains("stuck: one attempt may take"), "{page}");
    // To look at the page: MERIDIAN_REPORT_SAMPLE=/tmp/run.html cargo test -p meridian under_way
    if let Some(file) = option_env!("MERIDIAN_REPORT_SAMPLE") {
        std::fs::write(file, page).unwrap();
    }
}

/// What a plan holds that lets one in: in no table, no JSON and no page.
#[test]
fn a_planted_secret_is_in_nothing_that_is_printed() {
    const PLANTED: &str = "planted-secret";
    let mut system = system();
    let mut plan = meridian_planner::derive(&system, &system.databases[0]);
    let url = format!("https://hooks.example/{PLANTED}?token={PLANTED}");
    let page_check = Check::Http { url: url.clone(), status: 200, contains: None };
    let exec = Exec {
        command: vec!["/bin/warm".to_owned(), format!("--token={PLANTED}")],
        env: vec![("TOKEN".to_owned(), PLANTED.to_owned())],
        env_files: Vec::new(),
        directory: None,
        output_max: 1,
    };
    let notify = Notify::Slack { url: Secretive::Open(url) };
    let tasks = [
        ("tell", Task::Notify { to: notify, text: "moved".to_owned() }),
        ("warm", Task::Exec(exec)),
        ("ask", Task::Verify { checks: vec![page_check] }),
    ];
    for (step, task) in tasks {
        let work = Work::new(name(step), task, std::time::Duration::from_secs(1));
        plan.steps.push(PlannedStep { work, form: Form::Always });
    }
    let planned = crate::plan::tests::printed(&system, &plan);
    system.plans = vec![plan];
    // As a node tells of it.
    let mut run = run(&system, RunKind::Failover);
    let works = meridian_planner::freeze(&system.plans[0], false);
    run.steps = works.into_iter().map(meridian_model::run::Step::pending).collect();
    assert!(format!("{run:?}").contains(PLANTED));
    let seen = told(&system, &[run.shown()], None, 60_000);
    let facts = Facts::of(&system, &seen);
    let shown = [
        planned,
        crate::runs::whole(&seen),
        serde_json::to_string(&seen).unwrap(),
        serde_json::to_string(&facts).unwrap(),
        html(&facts),
    ];
    for text in shown {
        assert!(text.contains("warm") && !text.contains(PLANTED), "{text}");
    }
}
