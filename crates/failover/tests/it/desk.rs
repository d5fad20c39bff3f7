//! One machine on a desk: events by hand, and what it answers.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_failover::{
    At, Command, Completed, Config, DatabaseAction, Event, Machine, Memory, Outcome, Rule, RuleState, State,
    Swap,
};
use meridian_model::database::Replication;
use meridian_model::group::{
    DatabaseRole, DatabaseStatus, GroupRecord, HoldId, MemberReport, StandbyStatus, WalPosition,
};
use meridian_model::health::{Health, RegionHealth};
use meridian_model::order::Wish;
use meridian_model::run::Run;
use meridian_model::{Epoch, Lsn, Moment, Name, RegionName, Timestamp};

use super::names::{config, order, region};

pub(crate) struct Desk {
    pub(crate) machine: Machine,
    pub(crate) now: Moment,
    pub(crate) wall: Timestamp,
    /// The commands of the last step.
    pub(crate) out: Vec<Command>,
    /// The moves that were made.
    pub(crate) moves: BTreeSet<String>,
    /// The database action that was asked for last.
    pub(crate) asked: Option<(u64, DatabaseAction)>,
    revision: i64,
}

pub(crate) fn status(role: DatabaseRole, lsn: u64) -> DatabaseStatus {
    let received = WalPosition { timeline: u32::from(lsn > 0), lsn: Lsn(lsn) };
    let streaming = role == DatabaseRole::Standby;
    DatabaseStatus {
        received,
        replayed: Lsn(lsn),
        streaming,
        replay_lag_ms: Some(0),
        ..DatabaseStatus::stopped(role)
    }
}

pub(crate) fn record(holder: usize, epoch: u64, renewal: u64) -> GroupRecord {
    GroupRecord {
        renewal,
        wal: WalPosition { timeline: 1, lsn: Lsn(100) },
        ..GroupRecord::begin(Name::new("shop").unwrap(), Epoch(epoch), region(holder), Timestamp(0))
    }
}

/// What the runtime answers to a journal entry or a step that succeeds.
fn answer(command: &Command) -> Option<Event> {
    match command {
        Command::Journal { attempt, .. } => {
            Some(Event::Journalled { attempt: *attempt, outcome: Outcome::Done(1) })
        }
        Command::Step { step, run } => {
            Some(Event::StepDone { run: run.id.clone(), step: step.clone(), detail: "done".to_owned() })
        }
        _ => None,
    }
}

impl Desk {
    /// A machine of the third of three regions (or another), started with that database and memory.
    pub(crate) fn new(me: usize, role: DatabaseRole, memory: Option<Memory>) -> Self {
        Self::with(me, role, memory, Replication::Quorum { acknowledgers: 1 })
    }

    pub(crate) fn with(
        me: usize,
        role: DatabaseRole,
        memory: Option<Memory>,
        replication: Replication,
    ) -> Self {
        Self::of(config(me, 3, replication), role, memory)
    }

    /// A machine that was told this.
    pub(crate) fn of(config: Config, role: DatabaseRole, memory: Option<Memory>) -> Self {
        let machine = Machine::new(config);
        let now = Moment::from_millis(1_000_000);
        let (out, moves) = (Vec::new(), BTreeSet::new());
        let mut desk = Self { machine, now, wall: Timestamp(0), out, moves, asked: None, revision: 10 };
        desk.say(Event::Started { database: DatabaseStatus::stopped(role), memory });
        desk.say(Event::Coordination { reachable: true });
        desk
    }

    pub(crate) fn say(&mut self, event: Event) -> &mut Self {
        self.out = self.machine.step(event, At { now: self.now, wall: self.wall });
        for command in &self.out {
            if let Command::Log { text, .. } = command
                && let Some((from, rest)) = text.split_once(" -> ")
            {
                self.moves.insert(format!("{from} -> {}", rest.split(';').next().unwrap()));
            }
        }
        assert!(self.machine.wake_at().is_none_or(|(at, _)| at > self.now));
        self.asked = self.action().or(self.asked.take());
        self
    }

    /// Lets time pass and says so.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(ms);
        self.say(Event::Tick)
    }

    /// A record from the watch.
    pub(crate) fn record(&mut self, record: Option<GroupRecord>) -> &mut Self {
        self.revision += 1;
        self.say(Event::Record { record, revision: self.revision, asked: None })
    }

    /// The record is read, unchanged, whenever the machine asks.
    pub(crate) fn confirm(&mut self, record: &GroupRecord) -> &mut Self {
        let asked = self.out.iter().find_map(|c| match c {
            Command::ReadRecord { asked } => Some(*asked),
            _ => None,
        });
        let (record, revision) = (Some(record.clone()), self.revision);
        self.say(Event::Record { record, revision, asked: Some(asked.expect("it asks for the record")) })
    }

    /// How a rule stands now.
    pub(crate) fn explain(&self, rule: Rule) -> RuleState {
        let rules = self.machine.explain(self.now).rules;
        rules.into_iter().find(|r| r.rule == rule).expect("the rule is explained")
    }

    pub(crate) fn swap(&self) -> Option<Swap> {
        self.out.iter().find_map(|c| match c {
            Command::Swap(swap) => Some((**swap).clone()),
            _ => None,
        })
    }

    pub(crate) fn swapped(&mut self, outcome: Outcome) -> &mut Self {
        let attempt = self.swap().expect("a compare-and-set").attempt;
        self.say(Event::Swapped { attempt, outcome })
    }

    /// The last compare-and-set succeeds.
    pub(crate) fn win(&mut self) -> &mut Self {
        self.revision += 1;
        self.swapped(Outcome::Done(self.revision))
    }

    pub(crate) fn action(&self) -> Option<(u64, DatabaseAction)> {
        self.out.iter().find_map(|c| match c {
            Command::Database { id, action } => Some((*id, action.clone())),
            _ => None,
        })
    }

    /// The database action that was asked for last ends like this.
    pub(crate) fn done(&mut self, status: DatabaseStatus) -> &mut Self {
        let (id, _) = self.asked.clone().expect("a database action");
        self.say(Event::Finished { id, result: Ok(Completed { status, detail: String::new() }) })
    }

    pub(crate) fn fail(&mut self) -> &mut Self {
        let (id, _) = self.asked.clone().expect("a database action");
        self.say(Event::Finished { id, result: Err("bad luck".to_owned()) })
    }

    pub(crate) fn regions(&mut self, down: usize) -> &mut Self {
        let regions = (0..3).map(|i| RegionHealth {
            region: region(i),
            health: if i == down { Health::Down } else { Health::Up },
            reason: "2 of 3 vantage points say so".to_owned(),
            parts: Vec::new(),
        });
        let regions = std::sync::Arc::new(regions.collect());
        self.say(Event::Regions(regions))
    }

    pub(crate) fn member(
        &mut self,
        i: usize,
        epoch: u64,
        sealed: Option<u64>,
        database: DatabaseStatus,
    ) -> &mut Self {
        self.say(Event::Member(MemberReport {
            region: region(i),
            sequence: 1,
            epoch: Epoch(epoch),
            sealed: sealed.map(Epoch),
            database,
            reported_at: Timestamp(0),
        }))
    }

    /// Journal entries and steps succeed until nothing more is asked.
    pub(crate) fn obey(&mut self) {
        let mut open: Vec<Event> = self.out.iter().filter_map(answer).collect();
        while let Some(event) = open.pop() {
            self.say(event);
            open.extend(self.out.iter().filter_map(answer));
        }
    }

    pub(crate) fn state(&self) -> State {
        self.machine.state()
    }

    /// To whom clients are led.
    pub(crate) fn writer(&self) -> Option<RegionName> {
        self.machine.group_state(self.now).writer
    }

    // === the ways to a state ===

    /// The first region in its first reign.
    pub(crate) fn promoting() -> Self {
        Self::new(0, DatabaseRole::Absent, None).begins()
    }

    fn begins(self) -> Self {
        let mut desk = self;
        desk.record(None);
        assert_eq!(desk.state(), State::Bootstrapping);
        desk.win();
        assert_eq!(desk.state(), State::Promoting);
        desk
    }

    /// The writer.
    pub(crate) fn leading() -> Self {
        Self::promoting().leads()
    }

    fn leads(self) -> Self {
        let mut desk = self;
        desk.makes().done(status(DatabaseRole::Primary, 50));
        assert_eq!(desk.state(), State::Leading);
        desk
    }

    /// The first database is made, and the record says so.
    pub(crate) fn makes(&mut self) -> &mut Self {
        self.done(status(DatabaseRole::Stopped, 0)).win()
    }

    /// The writer, whose first run is finished: both others stream from it.
    pub(crate) fn protected() -> Self {
        Self::leading().settles()
    }

    /// The same with another plan, say.
    pub(crate) fn protected_by(config: Config) -> Self {
        Self::of(config, DatabaseRole::Absent, None).begins().leads().settles()
    }

    fn settles(self) -> Self {
        let mut desk = self;
        desk.obey();
        desk.regions(9).obey();
        for i in [1, 2] {
            desk.member(i, 1, None, status(DatabaseRole::Standby, 50)).obey();
        }
        let standby = |i| StandbyStatus { region: region(i), flushed: Lsn(50), synchronous: true };
        let primary =
            DatabaseStatus { standbys: vec![standby(1), standby(2)], ..status(DatabaseRole::Primary, 50) };
        desk.say(Event::Database(primary)).obey();
        assert!(desk.machine.run().is_some_and(Run::finished), "{:?}", desk.machine.run());
        desk
    }

    /// The writer, ordered to move to the second region.
    pub(crate) fn preparing() -> Self {
        let mut desk = Self::protected();
        desk.say(Event::Ordered(Some(order(Wish::Switchover { to: region(1) }, Epoch(1)))));
        assert_eq!(desk.state(), State::Preparing, "{:?}", desk.out);
        desk
    }

    /// New transactions are held.
    pub(crate) fn draining() -> Self {
        let mut desk = Self::preparing();
        desk.done(status(DatabaseRole::Primary, 50));
        assert_eq!(desk.state(), State::Draining);
        desk
    }

    /// The hold that the gateways were asked for in the last step.
    pub(crate) fn hold(&self) -> Option<HoldId> {
        self.out.iter().find_map(|c| match c {
            Command::Hold { hold, .. } => Some(*hold),
            _ => None,
        })
    }

    /// All gateways answer to that hold that nothing is under way.
    pub(crate) fn held(&mut self, hold: HoldId) -> &mut Self {
        for i in 0..3 {
            self.say(Event::Held { from: region(i), hold, busy: 0 });
        }
        self
    }

    /// The database is being stopped in order.
    pub(crate) fn handing_over() -> Self {
        let mut desk = Self::draining();
        let hold = desk.hold().expect("a hold");
        desk.done(status(DatabaseRole::Primary, 50)).held(hold);
        assert_eq!(desk.state(), State::HandingOver);
        desk
    }

    /// The writer, three seconds after its last renewal.
    pub(crate) fn writes_closed() -> Self {
        let mut desk = Self::leading();
        desk.wait(3_100);
        assert_eq!(desk.state(), State::WritesClosed);
        desk
    }

    pub(crate) fn restarting() -> Self {
        let mut desk = Self::leading();
        desk.say(Event::Database(status(DatabaseRole::Stopped, 0)));
        assert_eq!(desk.state(), State::Restarting);
        desk
    }

    /// The second region, a standby of the first.
    pub(crate) fn following() -> Self {
        Self::following_by(Replication::Quorum { acknowledgers: 1 })
    }

    pub(crate) fn following_by(replication: Replication) -> Self {
        let memory = Memory { epoch: Epoch(1), holder: Some(region(0)), ..Memory::default() };
        let mut desk = Self::with(1, DatabaseRole::Stopped, Some(memory), replication);
        desk.record(Some(record(0, 1, 1_024))).done(status(DatabaseRole::Standby, 100));
        assert_eq!(desk.state(), State::Following);
        desk
    }

    /// The second region, about to be sealed after the loss of the first.
    pub(crate) fn sealing() -> Self {
        Self::following().sealing_after(record(0, 1, 1_024))
    }

    /// The holder of this last record is lost.
    pub(crate) fn sealing_after(mut self, last: GroupRecord) -> Self {
        self.wait(4_100).confirm(&last);
        self.wait(1_000).regions(0);
        assert_eq!(self.state(), State::Sealing);
        self
    }

    /// The second region, sealed after the loss of the first.
    pub(crate) fn sealed() -> Self {
        let mut desk = Self::sealing();
        desk.done(status(DatabaseRole::Standby, 120));
        assert_eq!(desk.state(), State::Sealed);
        desk
    }
}
