//! Changes of etcd become things learnt; rubbish is passed over.

use meridian_coordination::encode;
use meridian_model::Epoch;
use meridian_model::health::Report;
use meridian_model::order::Word;
use meridian_model::traffic::Turn;

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn knowledge() -> Knowledge {
    Knowledge::new(&name("shop"), vec![name("orders")])
}

fn entry(key: String, value: Vec<u8>, revision: i64) -> Versioned {
    Versioned { key, value, revision }
}

fn report(round: u64) -> Report {
    Report { vantage: name("eu"), round, observations: Vec::new() }
}

#[test]
fn a_reset_without_a_record_says_that_there_is_none() {
    let mut known = knowledge();
    let learned = known.apply(Change::Reset(Listing { revision: 5, items: Vec::new() }), Moment::ZERO);
    let nothing_asked = [Learned::Dials, Learned::Maintenance(None), Learned::Order(name("orders"), None)];
    let there = [Learned::Record(name("orders"), None, 5), Learned::Alive];
    assert_eq!(learned, nothing_asked.into_iter().chain(there).collect::<Vec<_>>());
}

#[test]
fn the_same_report_again_is_no_newer() {
    let mut known = knowledge();
    let key = Keys::new(&name("shop")).report(&name("eu"));
    let at = Moment::from_millis;
    known.apply(Change::Put(entry(key.clone(), encode(&report(1)), 1)), at(10));
    known.apply(Change::Put(entry(key.clone(), encode(&report(1)), 2)), at(20));
    assert_eq!(known.reports().first().unwrap().observed_at, at(10));
    known.apply(Change::Put(entry(key, encode(&report(2)), 3)), at(30));
    assert_eq!(known.reports().first().unwrap().observed_at, at(30));
}

#[test]
fn rubbish_and_foreign_keys_teach_nothing() {
    let mut known = knowledge();
    let keys = Keys::new(&name("shop"));
    let rubbish = entry(keys.record(&name("orders")), b"{".to_vec(), 1);
    let foreign = entry("/elsewhere".to_owned(), encode(&Epoch(1)), 2);
    assert_eq!(known.apply(Change::Put(rubbish), Moment::ZERO), []);
    assert_eq!(known.apply(Change::Put(foreign), Moment::ZERO), []);
}

fn run(epoch: u64) -> Run {
    Run::begin(
        name(&format!("orders-{epoch}-failover")),
        name("orders"),
        meridian_model::run::RunKind::Failover,
        Epoch(epoch),
        name("eu"),
        meridian_model::Timestamp(0),
    )
}

#[test]
fn only_the_newest_runs_are_kept_and_none_that_a_reset_does_not_show() {
    let mut known = knowledge();
    let keys = Keys::new(&name("shop"));
    let written = |run: Run| entry(keys.run(&run.id), encode(&run), 1);
    let newest = RUNS_KEPT as u64 + 40;
    for epoch in 1..=newest {
        known.apply(Change::Put(written(run(epoch))), Moment::ZERO);
    }
    let kept: Vec<u64> = known.runs.values().map(|r| r.epoch.0).collect();
    assert_eq!((kept.len(), kept.iter().min(), kept.iter().max()), (RUNS_KEPT, Some(&41), Some(&newest)));
    let listing = Listing { revision: 2, items: vec![written(run(newest))] };
    known.apply(Change::Reset(listing), Moment::ZERO);
    assert_eq!(known.runs.len(), 1);
    let absent = Learned::Record(name("orders"), None, 2);
    let people = [Learned::Order(name("orders"), None), Learned::Maintenance(None)];
    let all: Vec<Learned> = [absent, Learned::Run(run(newest))].into_iter().chain(people).collect();
    assert_eq!(known.relearn(&name("orders")), all);
}

fn turned(region: &str, run: Option<&str>) -> TurnedDial {
    let word = Word { by: "ana".to_owned(), at: meridian_model::Timestamp(0), reason: String::new() };
    TurnedDial { region: name(region), turn: Turn::Drain, run: run.map(name), word }
}

#[test]
fn nobody_knows_of_dials_before_etcd_has_told_everything() {
    let mut known = knowledge();
    let keys = Keys::new(&name("shop"));
    let of_run = entry(keys.group_dials(&name("orders")), encode(&[turned("us", Some("a"))]), 1);
    let of_person = entry(keys.dials(), encode(&[turned("eu", None)]), 2);
    assert_eq!((known.apply(Change::Put(of_run.clone()), Moment::ZERO), known.dials()), (Vec::new(), None));
    known.apply(Change::Reset(Listing { revision: 1, items: vec![of_run] }), Moment::ZERO);
    assert_eq!(known.dials(), Some(vec![turned("us", Some("a"))]));
    assert_eq!(known.apply(Change::Put(of_person), Moment::ZERO), [Learned::Dials]);
    assert_eq!(known.dials(), Some(vec![turned("eu", None), turned("us", Some("a"))]));
    // A claim ends what the last run has turned.
    let ended = Change::Delete { key: keys.group_dials(&name("orders")), revision: 3 };
    assert_eq!(known.apply(ended, Moment::ZERO), [Learned::Dials]);
    assert_eq!(known.dials(), Some(vec![turned("eu", None)]));
    known.apply(Change::Reset(Listing { revision: 4, items: Vec::new() }), Moment::ZERO);
    assert_eq!(known.dials(), Some(Vec::new()));
}
