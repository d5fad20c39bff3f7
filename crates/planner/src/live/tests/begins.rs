//! What keeps a recovery from beginning is told, also when every member is well.

use std::time::Duration;

use meridian_model::facts::PlanFile;
use meridian_model::health::Health;
use meridian_model::order::Word;
use meridian_model::run::{RunKind, Step, StepKind, StepState};

use super::*;

fn run(paused: Option<&str>, minutes: i64) -> Run {
    let begun = Timestamp(NOW.0 - minutes * 60_000);
    let id = name("orders-1-start");
    let run = Run::begin(id, name("orders"), RunKind::Start, Epoch(1), name(WRITER), begun);
    let protect = Step::plain(StepKind::Protect, StepState::Running { since: begun }).unwrap();
    Run { steps: vec![protect], paused: paused.map(str::to_owned), ..run }
}

fn with_run(run: Run) -> impl FnOnce(&mut World) {
    |w| drop(w.runs.insert(name("orders"), run))
}

/// All etcd members but one were killed, and `doctor` said that all is well.
#[test]
fn without_etcd_nothing_can_be_decided() {
    error("no-etcd", "", |w| {
        w.unreachable = true;
        // Who writes is not known then, and not what fails.
        w.writers.clear();
    });
}

#[test]
fn a_run_that_refuses_switchovers_is_told_with_what_ends_it() {
    error("run-paused", "", with_run(run(Some("step `compute` failed"), 0)));
    error("run-unfinished", "", with_run(run(None, 10)));
    assert_eq!(found(with_run(run(None, 9))), [], "it is under way");
    let past = |w: &mut World| {
        with_run(run(Some("no more"), 20))(w);
        w.records.get_mut(&name("orders")).unwrap().epoch = Epoch(2);
    };
    assert_eq!(found(past), [], "nobody does anything for the run of an earlier reign");
    let mut world = World::sound();
    with_run(run(Some("step `compute` failed"), 0))(&mut world);
    let told = world.findings()[0].to_string();
    for part in ["step `compute` failed", "`protect` is not over", "run resume orders-1-start", "run abort"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn what_holds_a_failover_back_is_a_warning_until_its_end() {
    let until = |ms: i64| {
        move |w: &mut World| {
            let word = Word { by: "ann".to_owned(), at: NOW, reason: "disks".to_owned() };
            w.maintenance = Some(Maintenance { until: Timestamp(NOW.0 + ms), word });
        }
    };
    warning("maintenance", "", until(60_000));
    assert_eq!(found(until(0)), []);
    let mut world = World::sound();
    until(60_000)(&mut world);
    let told = world.findings()[0].to_string();
    assert!(told.contains("60 s more (until 2001-09-09 01:47:40 UTC, by ann: disks)"), "{told}");

    let last = |ago: i64| {
        move |w: &mut World| {
            w.system.topology.timers.flap_window = Duration::from_secs(300);
            let record = w.records.get_mut(&name("orders")).unwrap();
            record.last_failover_at = Some(Timestamp(NOW.0 - ago * 1_000));
        }
    };
    warning("flap-window", "", last(299));
    assert_eq!(found(last(300)), []);
}

#[test]
fn a_writer_that_is_away_is_told() {
    let held = |health| {
        move |w: &mut World| {
            let (region, reason) = (name(WRITER), "it says nothing".to_owned());
            w.regions = vec![RegionHealth { region, health, reason, parts: Vec::new() }];
        }
    };
    error("writer-down", WRITER, held(Health::Down));
    warning("writer-unknown", WRITER, held(Health::Unknown));
    assert_eq!(found(held(Health::Up)), []);
    error("no-writer", "", |w| w.writers.clear());
}

#[test]
fn a_file_that_a_step_lacks_fails_unless_the_plan_goes_on_without() {
    let lacks = |goes_on| {
        move |w: &mut World| {
            let (group, step) = (name("orders"), name("caches"));
            let (file, problem) = ("/usr/local/bin/warm".to_owned(), "does not exist".to_owned());
            w.region(STANDBY).plan_files = vec![PlanFile { group, step, goes_on, file, problem }];
        }
    };
    error("plan-file", STANDBY, lacks(false));
    warning("plan-file", STANDBY, lacks(true));
}

/// Beside a region that rejoined, its slot was to be dropped and its node's log to be read.
#[test]
fn a_member_that_is_made_a_standby_is_neither_unseen_nor_is_its_slot_idle() {
    let rejoins = |w: &mut World| {
        w.unseen(STANDBY, Some(DatabaseRole::Stopped));
        w.region(STANDBY).members[0].at_work = true;
        w.member(WRITER).slots[0].active = false;
    };
    warning("member-rejoins", STANDBY, rejoins);
    let streams = |after_ms| {
        move |w: &mut World| {
            w.member(WRITER).slots[0].active = false;
            w.says(STANDBY, DatabaseRole::Standby, true, after_ms);
        }
    };
    assert_eq!(found(streams(0)), []);
    warning("slot-inactive", WRITER, streams(-REPORT_LASTS_MS - 1));
}
