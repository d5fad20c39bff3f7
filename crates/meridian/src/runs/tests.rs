//! What `run show` and `run watch` print.

use super::fixture::{DECIDED, failover, loss, name, system, told};
use meridian_model::run::{RunKind, StepState};
use meridian_model::{Epoch, Timestamp};

use super::tell::list;
use super::watch::{Eyes, Next, awaited};
use super::*;

/// Four runs in which each step took as long as in the fixture.
fn earlier(run: &Run) -> Vec<Run> {
    let before = |epoch| Run { id: name(&format!("orders-{epoch}")), epoch: Epoch(epoch), ..run.clone() };
    (2..6).map(before).collect()
}

#[test]
fn a_step_that_takes_longer_than_usual_is_shown_as_stuck() {
    let system = system();
    let past = earlier(&failover(&system));
    let mut run = failover(&system);
    run.epoch = Epoch(6);
    let scale = run.steps.iter_mut().find(|s| s.work.name.as_str() == "scale").unwrap();
    scale.state = StepState::Running { since: Timestamp(DECIDED) };
    let runs = [vec![run], past].concat();
    let at = |ms| whole(&told(&system, &runs, None, ms));
    assert!(!at(400).contains("stuck"), "{}", at(400));
    assert!(at(9_000).contains("stuck: usually 0.4 s, now 9.0 s"), "{}", at(9_000));
    let json = serde_json::to_value(told(&system, &runs, None, 9_000)).unwrap();
    let stuck = json["progress"].as_array().unwrap().iter().filter(|step| step["stuck"].is_string());
    assert_eq!(stuck.map(|step| step["step"].clone()).collect::<Vec<_>>(), ["scale"], "{json}");
    assert_eq!(json["id"], "orders-2-failover", "the run's own fields are where they were");
}

#[test]
fn a_first_start_says_nothing_about_recoveries() {
    let system = system();
    let runs = [failover(&system), Run { kind: RunKind::Start, epoch: Epoch(1), ..failover(&system) }];
    let seen = told(&system, &runs, None, 0);
    let promote = seen.progress.iter().find(|step| step.step == "promote").unwrap();
    assert!(promote.why.contains("measured"), "{}", promote.why);
}

#[test]
fn what_was_expected_stands_beside_what_was() {
    let system = system();
    let run = failover(&system);
    let text = whole(&told(&system, std::slice::from_ref(&run), None, 9_000));
    let promote = text.lines().find(|line| line.trim_start().starts_with("promote")).unwrap();
    let cells: Vec<&str> = promote.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        cells,
        ["promote", "+5.60 s", "+5.60 s", "0.40 s", "0.50 s", "done", "promote & seen"],
        "{text}"
    );
}

/// The list counted from the decision, and the report from the last sign of life of the lost writer.
#[test]
fn times_count_from_the_last_sign_of_life_in_the_list_the_run_and_its_report() {
    let system = system();
    let run = failover(&system);
    let listed = list(std::slice::from_ref(&run), Epoch(2));
    let seen = told(&system, std::slice::from_ref(&run), None, 9_000);
    let (writes, protected) = (seen.writes_again_seconds.unwrap(), seen.protected_again_seconds.unwrap());
    assert_eq!(writes, 6.0);
    assert!(protected > writes, "{protected}");
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split("  ").filter(|cell| !cell.is_empty()).collect();
    let told_of = [format!("{writes:.1} s"), format!("{protected:.1} s")];
    assert!(told_of.iter().all(|time| row.iter().any(|cell| cell.trim() == time)), "{listed}");
    let facts = report::tests::facts(&system, &seen);
    assert_eq!(facts["writes"]["seconds"], writes);
    let last = facts["phases"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["name"], last["after_seconds"].as_f64()), (&"protected again".into(), Some(protected)));
    let text = whole(&seen);
    let times = format!("times      count from {} (", facts["origin"].as_str().unwrap());
    assert!(text.contains(&times) && text.contains("; writes again after 6.0 s; protected again"), "{text}");
    let begins: Vec<_> = seen.progress.iter().map(|step| step.begins_seconds).collect();
    let expected = facts["steps"].as_array().unwrap().iter().map(|s| s["expected_after_seconds"].as_f64());
    assert_eq!(begins, expected.collect::<Option<Vec<_>>>().unwrap());
}

#[test]
fn who_watches_no_certain_run_waits_for_the_next_when_none_is_under_way() {
    let system = system();
    let ended = told(&system, &[failover(&system)], None, 9_000);
    let mut begun = Run { id: name("orders-3-failover"), ..failover(&system) };
    begun.steps[1].state = StepState::Running { since: Timestamp(DECIDED) };
    let under_way = told(&system, &[begun.clone()], None, 9_000);
    let eyes = |named| Eyes { named, past: None, last: None };
    let over = |news| Next::Shows { news, ended: Some(true) };
    let goes = |news| Next::Shows { news, ended: None };

    assert_eq!(eyes(true).look(Some(&ended)), over(true), "a certain one is shown");
    let mut watching = eyes(false);
    assert_eq!(watching.look(Some(&ended)), Next::Waits { first: true });
    assert_eq!(watching.look(Some(&ended)), Next::Waits { first: false });
    assert_eq!((watching.look(Some(&under_way)), watching.look(Some(&under_way))), (goes(true), goes(false)));
    let next = Run { steps: failover(&system).steps, ..begun };
    assert_eq!(watching.look(Some(&told(&system, &[next], None, 9_000))), over(true));

    let mut watching = eyes(false);
    assert_eq!(watching.look(None), Next::Waits { first: true }, "there was none ever");
    assert_eq!(watching.look(Some(&ended)), over(true), "it began and ended between two looks");
    let mut watching = eyes(false);
    assert_eq!((watching.look(Some(&under_way)), watching.look(Some(&under_way))), (goes(true), goes(false)));

    let text = awaited(Some(&ended), "5m", " --lab 2");
    for told in [
        "the last one, orders-2-failover: protected again",
        "for 5m at most",
        "Ctrl-C ends",
        "explain --lab 2",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(awaited(None, "5m", "").contains("(there was none)"));
}

#[test]
fn the_cost_of_a_run_is_told_as_far_as_it_is_known() {
    let system = system();
    let run = [failover(&system)];
    let cost = |losses| told(&system, &run, losses, 9_000).cost().join("; ");
    assert!(cost(None).contains("does not answer: lost is at most what it acknowledged in its last 3.0 s"));
    assert!(cost(Some(vec![])).contains("us-east-1 has not come back with its log: lost is at most"));
    assert!(cost(Some(vec![loss(Some(3))])).starts_with("lost transactions: 3; its log is kept in /data/"));
    let unknown = cost(Some(vec![loss(None)]));
    assert!(
        unknown.contains("not known (no slot)") && unknown.contains("/data/kept-wal/orders-1"),
        "{unknown}"
    );
    let again = Run { to: name("us-east-1"), ..failover(&system) };
    assert_eq!(told(&system, &[again], None, 0).cost(), [""; 0], "the same writer again costs nothing");
}

#[test]
fn a_preparation_goes_on_while_its_order_is_open() {
    let system = system();
    let mut run = Run { kind: RunKind::Switchover, ..failover(&system) };
    run.steps.retain(|step| !step.kind().machines_own());
    let order = |state| meridian_model::order::Order {
        id: name("order-1"),
        group: run.group.clone(),
        wish: meridian_model::order::Wish::Switchover { to: run.to.clone() },
        epoch: Epoch(1),
        by: "ada".to_owned(),
        at: Timestamp(DECIDED),
        expires_at: Timestamp(DECIDED),
        state,
    };
    let goes_on = |run: &Run, state| {
        let mut told = fixture::group(vec![run.clone()], Vec::new());
        told.order = Some(order(state));
        seen::seen(&system, run, &told, None, Timestamp(DECIDED)).goes_on
    };
    use meridian_model::order::OrderState::{Done, Open};
    assert!(goes_on(&run, Open));
    assert!(!goes_on(&run, Done { ended_at: Timestamp(DECIDED) }));
    assert!(!goes_on(&failover(&system), Open));
}

#[test]
fn a_step_that_failed_and_was_passed_over_is_not_hidden_by_a_good_end() {
    let system = system();
    let mut run = failover(&system);
    let step = run.steps.iter_mut().find(|s| s.work.name.as_str() == "scale").unwrap();
    step.work.on_failure = meridian_model::plan::OnFailure::Continue;
    let at = Timestamp(DECIDED);
    step.state = StepState::Failed { since: at, at, reason: "exit 1:\nno cache\n".to_owned() };
    assert!(run.finished());
    let end = "protected again; step scale failed: exit 1: | no cache\n";
    let listed = list(std::slice::from_ref(&run), Epoch(2));
    assert!(listed.ends_with(end), "{listed}");
    let text = whole(&told(&system, std::slice::from_ref(&run), None, 9_000));
    assert!(text.lines().next().unwrap().ends_with(end.trim_end()), "{text}");
    assert!(text.lines().any(|l| l.starts_with("  scale") && l.ends_with("exit 1: | no cache")), "{text}");
}

/// It was told as expected 0.05 s before the hold with which the demotion begins.
#[test]
fn nothing_is_expected_before_times_begin_to_count() {
    let system = system();
    let run = fixture::run(&system, RunKind::Switchover);
    let first = run.steps[0].work.name.to_string();
    let seen = told(&system, &[run], None, 9_000);
    assert_eq!((first.as_str(), seen.expected("demote").unwrap().begins_seconds), ("demote", 0.0));
}

#[test]
fn an_unfinished_run_is_over_when_a_later_reign_has_begun() {
    let system = system();
    let mut run = failover(&system);
    let scale = run.steps.iter_mut().find(|s| s.work.name.as_str() == "scale").unwrap();
    scale.state = StepState::Running { since: Timestamp(DECIDED) };
    let at = |epoch, later: Vec<Run>| {
        let runs = [vec![run.clone()], later].concat();
        GroupStatus { epoch: Epoch(epoch), ..fixture::group(runs, Vec::new()) }
    };
    let shown =
        |group: &GroupStatus| whole(&seen::seen(&system, &run, group, None, Timestamp(DECIDED + 900_000)));
    let over = "ended: epoch 3 has begun";
    let now = at(3, Vec::new());
    assert!(list(&now.runs, now.epoch).contains(over) && shown(&now).contains(over));
    assert!(!shown(&now).contains("stuck"), "{}", shown(&now));
    assert_eq!(too_late(std::slice::from_ref(&now), &run.id).as_deref(), Some(over));

    let later = Run { id: name("orders-3"), epoch: Epoch(3), ..failover(&system) };
    let taken_over = Run { takes_over: Some(run.id.clone()), ..later };
    let group = at(3, vec![taken_over]);
    assert!(shown(&group).contains("ended: epoch 3 has begun; orders-3 takes it over"), "{}", shown(&group));

    let much_later = at(7, Vec::new());
    assert!(list(&much_later.runs, much_later.epoch).contains(over), "it ended when it ended");

    let group = at(2, Vec::new());
    assert!(list(&group.runs, group.epoch).contains("running: scale") && shown(&group).contains("stuck"));
    assert_eq!(too_late(&[group], &run.id), None, "it is of the present reign");
}

#[test]
fn a_preparation_that_its_switchover_takes_over_is_not_told_as_ended() {
    let system = system();
    let mut run = Run { kind: RunKind::Switchover, ..failover(&system) };
    run.steps.retain(|step| !step.kind().machines_own());
    run.paused = Some("not finished".to_owned());
    let lost =
        Run { id: name("orders-3"), epoch: Epoch(3), takes_over: Some(run.id.clone()), ..failover(&system) };
    let switchover = Run { kind: RunKind::Switchover, ..lost.clone() };
    assert!(run.prepares());
    assert!(ended(&run, Epoch(3), &[run.clone()]).is_some());
    assert_eq!(ended(&run, Epoch(3), &[run.clone(), switchover]), None);
    // A failover does nothing of it: who watched it waited for ever.
    let told = ended(&run, Epoch(3), &[run.clone(), lost]);
    assert_eq!(told.as_deref(), Some("ended: epoch 3 has begun; orders-3 takes it over"));
}
