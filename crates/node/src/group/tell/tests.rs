//! What is told of a machine that a test leads from state to state.

use meridian_failover::{At, Completed, Config};
use meridian_model::group::{MemberReport, StandbyStatus, WalPosition};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::plan::{Task, Work};
use meridian_model::{Lsn, Timers, Timestamp};

use super::*;
use crate::testing::{here, name, system};

fn there() -> RegionName {
    name("eu-central-1")
}

fn config() -> Config {
    let system = system();
    let database = system.databases.first().cloned().unwrap();
    let mut plan = crate::assemble::plan_of(&system, &database);
    let settle = Work::new(name("settle"), Task::Wait { for_ms: 0 }, Duration::from_secs(1));
    let demote = plan.graceful.iter_mut().find(|w| w.task == Task::Demote).unwrap();
    demote.after.push(settle.name.clone());
    plan.graceful.insert(0, settle);
    Config {
        group: name("orders"),
        me: here(),
        members: vec![here(), there()],
        initial_primary: here(),
        replication: database.replication,
        rpo: Duration::from_secs(5),
        max_read_lag: database.max_read_lag,
        candidate_gone: meridian_failover::config::CANDIDATE_GONE,
        on_rpo_breach: database.on_rpo_breach,
        timers: Timers::default(),
        gateways: vec![here(), there()],
        switchover: database.switchover,
        plan,
    }
}

fn status(role: DatabaseRole) -> DatabaseStatus {
    let lsn = Lsn(50);
    let standbys = match role {
        DatabaseRole::Primary => vec![StandbyStatus { region: there(), flushed: lsn, synchronous: false }],
        _ => Vec::new(),
    };
    let (received, streaming) = (WalPosition { timeline: 1, lsn }, role == DatabaseRole::Standby);
    let replay_lag_ms = Some(0);
    DatabaseStatus { received, streaming, replay_lag_ms, standbys, ..DatabaseStatus::stopped(role) }
}

/// What the world answers when all goes well.
fn answer(command: &Command) -> Option<Event> {
    match command {
        Command::Swap(swap) => Some(Event::Swapped { attempt: swap.attempt, outcome: Outcome::Done(20) }),
        Command::Journal { attempt, .. } => {
            Some(Event::Journalled { attempt: *attempt, outcome: Outcome::Done(1) })
        }
        Command::Step { step, run } => {
            Some(Event::StepDone { run: run.id.clone(), step: step.clone(), detail: "done".to_owned() })
        }
        Command::Database { id, action } => {
            let role = match action {
                DatabaseAction::Initialise => DatabaseRole::Stopped,
                _ => DatabaseRole::Primary,
            };
            let completed = Completed { status: status(role), detail: String::new() };
            Some(Event::Finished { id: *id, result: Ok(completed) })
        }
        _ => None,
    }
}

struct Led {
    machine: Machine,
    teller: Teller,
    metrics: Metrics,
    revision: i64,
}

impl Led {
    /// Says that, and whatever is answered to what follows from it.
    fn say(&mut self, event: Event) {
        let at = At { now: Moment::from_millis(1_000_000), wall: Timestamp(0) };
        let mut open = std::collections::VecDeque::from([event]);
        while let Some(event) = open.pop_front() {
            let commands = self.machine.step(event.clone(), at);
            self.teller.turn(&event, &commands, &self.machine, at.now);
            for mut answered in commands.iter().filter_map(answer) {
                if let Event::Swapped { outcome: Outcome::Done(revision), .. } = &mut answered {
                    self.revision += 1;
                    *revision = self.revision;
                }
                open.push_back(answered);
            }
        }
    }

    /// The writer, whose first run is finished.
    fn writer() -> Self {
        let (machine, metrics) = (Machine::new(config()), Metrics::new(None));
        let regions = vec![here(), there()];
        let teller = Teller::new(name("orders"), here(), regions.clone(), metrics.clone());
        let mut led = Self { machine, teller, metrics, revision: 20 };
        led.say(Event::Started { database: DatabaseStatus::stopped(DatabaseRole::Absent), memory: None });
        led.say(Event::Coordination { reachable: true });
        led.say(Event::Record { record: None, revision: 10, asked: None });
        let up = |region: &RegionName| RegionHealth {
            region: region.clone(),
            health: Health::Up,
            reason: "all say so".to_owned(),
            parts: Vec::new(),
        };
        led.say(Event::Regions(std::sync::Arc::new(regions.iter().map(up).collect())));
        led.say(Event::Member(MemberReport {
            region: there(),
            sequence: 1,
            epoch: Epoch(1),
            sealed: None,
            database: status(DatabaseRole::Standby),
            reported_at: Timestamp(0),
        }));
        led.say(Event::Database(status(DatabaseRole::Primary)));
        assert!(led.machine.run().is_some_and(Run::finished), "{:?}", led.machine.run());
        led
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|l| l == line)
    }
}

/// Nothing was told of what the old writer does before its demotion.
#[test]
fn the_steps_that_prepare_a_switchover_are_told_too() {
    let mut led = Led::writer();
    let finished = r#"meridian_runs_finished_total{group="orders",kind="start"} 1"#;
    assert!(led.counts(finished), "{}", led.metrics.render());
    let order = Order {
        id: name("order-1"),
        group: name("orders"),
        wish: Wish::Switchover { to: there() },
        epoch: Epoch(1),
        by: "ada".to_owned(),
        at: Timestamp(0),
        expires_at: Timestamp(i64::MAX),
        state: OrderState::Open,
    };
    led.say(Event::Ordered(Some(order)));
    let prepared = led.machine.preparation().expect("its run").clone();
    assert!(prepared.finished() && prepared.aborted.is_none() && prepared.to == there(), "{prepared:?}");
    for outcome in ["started", "done"] {
        let line = format!(r#"meridian_run_steps_total{{group="orders",step="wait",outcome="{outcome}"}} 1"#);
        assert!(led.counts(&line), "{line}\n{}", led.metrics.render());
    }
    assert!(led.counts(finished), "{}", led.metrics.render());
    let switchover = r#"kind="switchover""#;
    assert!(!led.metrics.render().contains(switchover), "it made nothing protected");
}
