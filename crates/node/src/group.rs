//! The loop of one data group: events in, one step of the machine, commands out.
//!
//! It owns no rule: what is decided, [`Machine`] decides. What it guarantees is the order in which
//! commands are carried out (see `meridian_failover::command`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian_actuators::{DatabaseActuator, StopMode};
use meridian_coordination::keys::Keys;
use meridian_coordination::{Store, encode};
use meridian_failover::{At, Command, Config, DatabaseAction, Event, Level, Machine, Purpose};
use meridian_gateway::Fence;
use meridian_model::snapshot::GroupState;
use meridian_model::{Moment, RegionName};
use meridian_telemetry::{Metrics, clock};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::board::GroupFacts;
use crate::control::{ANNOUNCE, PromiseAnswer, PromiseAsked};
use crate::database::DatabaseQueue;
use crate::losses::Losses;
use crate::memory::{Memory, MemoryError};
use crate::peer::Line;
use crate::secret::Secret;
use crate::steps::{Doing, Steps};
use hold::{Asked, Hold};
use tell::Teller;

mod effects;
mod hold;
mod tell;

/// Events that may wait for the loop; senders wait beyond it.
pub(crate) const INBOX: usize = 1_024;
/// How often the state of the local database is read.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// How long PostgreSQL may take for an orderly stop when the node ends; then it is killed.
const ORDERLY_STOP: Duration = Duration::from_secs(3);

/// What the loop of a group works with.
pub(crate) struct Tools {
    /// Etcd.
    pub(crate) store: Arc<dyn Store>,
    /// Where things are in it.
    pub(crate) keys: Keys,
    /// The local database; none on a witness.
    pub(crate) database: Option<Arc<dyn DatabaseActuator>>,
    /// The databases of the members, as seen from here.
    pub(crate) members: HashMap<RegionName, SocketAddr>,
    /// The control interfaces of the other nodes, as seen from here.
    pub(crate) peers: HashMap<RegionName, SocketAddr>,
    /// What peers are shown.
    pub(crate) secret: Secret,
    /// What closes the local gateway.
    pub(crate) fence: Arc<Fence>,
    /// What must survive a restart.
    pub(crate) memory: Memory,
    /// What the local database had lost.
    pub(crate) losses: Losses,
    /// Where everything that happens is counted.
    pub(crate) metrics: Metrics,
    /// Scale, shift, verify.
    pub(crate) steps: Arc<Steps>,
}

/// The loop of one data group.
pub(crate) struct Group {
    config: Config,
    machine: Machine,
    tools: Arc<Tools>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    promises: mpsc::Receiver<PromiseAsked>,
    asked: HashMap<u64, oneshot::Sender<PromiseAnswer>>,
    asks: u64,
    database: Option<DatabaseQueue>,
    /// The steps that are being carried out.
    doing: Doing,
    /// Those who ask the gateways to hold; dropped, they ask no more.
    holding: JoinSet<()>,
    /// Ready to ask them, while a switchover is prepared.
    warm: hold::Warm,
    /// To every other member, for announcements.
    lines: Vec<Line>,
    teller: Teller,
    facts: watch::Sender<GroupFacts>,
    state: watch::Sender<GroupState>,
    nudge: Arc<Notify>,
}

/// The ends of a group's channels that others hold.
pub(crate) struct GroupEnds {
    /// Where events go in.
    pub(crate) events: mpsc::Sender<Event>,
    /// Where promises are asked for.
    pub(crate) promises: mpsc::Sender<PromiseAsked>,
    /// For status.
    pub(crate) facts: watch::Receiver<GroupFacts>,
    /// For the snapshot.
    pub(crate) state: watch::Receiver<GroupState>,
    /// To be looked at and rehearsed with; commands are the loop's alone.
    pub(crate) database: Option<Arc<dyn DatabaseActuator>>,
}

impl Group {
    /// Makes the loop and the ends of its channels; nothing runs yet.
    pub(crate) fn new(config: Config, tools: Tools, nudge: Arc<Notify>) -> (Self, GroupEnds) {
        let machine = Machine::new(config.clone());
        let now = clock::now();
        let (events, inbox) = mpsc::channel(INBOX);
        let (promises_in, promises) = mpsc::channel(16);
        let (facts, facts_out) = watch::channel(GroupFacts::of(&machine, None, now));
        let (state, state_out) = watch::channel(machine.group_state(now));
        let tools = Arc::new(tools);
        let database = tools
            .database
            .clone()
            .map(|actuator| DatabaseQueue::new(actuator, config.group.clone(), &tools, events.clone()));
        let ends = GroupEnds {
            events: events.clone(),
            promises: promises_in,
            facts: facts_out,
            state: state_out,
            database: tools.database.clone(),
        };
        let asked = HashMap::new();
        let asks = 0;
        let (name, me, members) = (config.group.clone(), config.me.clone(), config.members.clone());
        let teller = Teller::new(name, me, members, tools.metrics.clone());
        let group = Self {
            config,
            machine,
            tools,
            events,
            inbox,
            promises,
            asked,
            asks,
            database,
            doing: Doing::default(),
            holding: JoinSet::new(),
            warm: hold::Warm::default(),
            lines: Vec::new(),
            teller,
            facts,
            state,
            nudge,
        };
        (group, ends)
    }

    /// Runs until `shutdown`, then stops the database in good order.
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        if let Err(reason) = self.start().await {
            self.stay_passive(&reason, &mut shutdown).await;
            return self.stop().await;
        }
        loop {
            let wake = self.machine.wake_at().map(|(at, _)| at);
            let event = tokio::select! {
                biased;
                () = crate::stopped(&mut shutdown) => break,
                () = until(wake) => Event::Tick,
                Some(asked) = self.promises.recv() => self.ask(asked),
                Some(event) = self.inbox.recv() => event,
            };
            self.turn(event).await;
        }
        self.stop().await;
    }

    /// # Errors
    /// Its memory cannot be read: without it a member could break a promise or go back to an old epoch.
    async fn start(&mut self) -> Result<(), MemoryError> {
        let line =
            |member| Some(Line::new(*self.tools.peers.get(member)?, self.tools.secret.clone(), ANNOUNCE));
        self.lines = self.config.members.iter().filter_map(line).collect();
        let kept = self.tools.memory.read(&self.memory_file())?;
        let database = match &self.tools.database {
            Some(database) => {
                let status = database.status().await;
                tokio::spawn(effects::watch_database(Arc::clone(database), self.events.clone()));
                status
            }
            None => crate::database::absent(),
        };
        self.turn(Event::Started { database, memory: kept }).await;
        Ok(())
    }

    /// Takes no part until `shutdown`: whoever asks for a promise is told no, and nobody who has news is
    /// made to wait.
    async fn stay_passive(&mut self, error: &MemoryError, shutdown: &mut watch::Receiver<bool>) {
        tracing::error!(%error, group = %self.config.group, "this member stays passive");
        let reason = format!("this member stays passive: {error}");
        self.facts.send_modify(|facts| facts.explanation.doing.clone_from(&reason));
        loop {
            tokio::select! {
                biased;
                () = crate::stopped(shutdown) => return,
                Some(asked) = self.promises.recv() => {
                    let _ = asked.answer.send(PromiseAnswer { granted: false, reason: reason.clone() });
                }
                Some(_) = self.inbox.recv() => {}
            }
        }
    }

    async fn turn(&mut self, event: Event) {
        if let Event::Database(status) = &event {
            self.facts.send_modify(|facts| facts.database = Some(status.clone()));
        }
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let at = At { now: clock::now(), wall: clock::wall() };
            let commands = self.machine.step(event.clone(), at);
            self.teller.turn(&event, &commands, &self.machine, at.now);
            next = self.carry_out(commands).await;
        }
        self.tell();
    }

    /// Starts every command, in order. Gives an event back when the rest must not happen.
    async fn carry_out(&mut self, commands: Vec<Command>) -> Option<Event> {
        for command in commands {
            match command {
                Command::Remember(memory) => {
                    let (tools, file) = (Arc::clone(&self.tools), self.memory_file());
                    let kept = tokio::task::spawn_blocking(move || tools.memory.write(&file, &memory)).await;
                    let failed = match kept {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => error.to_string(),
                        Err(error) => error.to_string(),
                    };
                    tracing::error!(group = %self.config.group, reason = %failed, "memory cannot be kept");
                    return Some(Event::NotRemembered { reason: failed });
                }
                Command::AnswerPromise { ask, granted, reason } => {
                    if let Some(answer) = self.asked.remove(&ask) {
                        let _ = answer.send(PromiseAnswer { granted, reason });
                    }
                }
                Command::Announce(announcement) => {
                    let body = encode(&announcement);
                    self.lines.iter().for_each(|line| line.say(body.clone()));
                }
                Command::OpenWrites { until, .. } => self.tools.fence.allow_until(&self.config.group, until),
                Command::CloseWrites { reason } => self.tools.fence.close(&self.config.group, &reason),
                Command::Step { step, run } => {
                    self.doing.begin(step, run, &self.tools.steps, self.events.clone());
                }
                Command::EndStep { run, step } => self.doing.end(run, step),
                Command::Hold { hold, until, to, reason } => {
                    let asked = Asked { hold, until, to, reason };
                    let hold = Hold::new(&self.tools, &self.config, &self.events, asked);
                    self.holding = hold.begin(std::mem::take(&mut self.warm));
                }
                Command::Unhold { hold } => {
                    self.holding = JoinSet::new();
                    hold::end(&self.tools, &self.config, hold);
                }
                Command::CutSessions => {
                    let cut = self.tools.fence.cut(&self.config.group);
                    tracing::warn!(group = %self.config.group, cut, "sessions inside a transaction were cut");
                }
                Command::DatabaseFence { at } => {
                    if let Some(database) = &self.tools.database {
                        database.fence_at(at);
                    }
                }
                Command::Database { id, action } => self.act(id, action),
                Command::Log { level: Level::Info, text } => {
                    tracing::info!(group = %self.config.group, "{text}")
                }
                Command::Log { level: Level::Warn, text } => {
                    tracing::warn!(group = %self.config.group, "{text}")
                }
                other => {
                    // Soon it will be said that clients can write here.
                    if matches!(&other, Command::Swap(swap) if swap.purpose == Purpose::Claim) {
                        self.lines.iter().for_each(Line::open);
                    }
                    effects::spawn(other, Arc::clone(&self.tools), self.config.clone(), self.events.clone())
                }
            }
        }
        None
    }

    fn act(&mut self, id: u64, action: DatabaseAction) {
        if matches!(action, DatabaseAction::PrepareHandover { .. }) {
            self.warm = hold::Warm::up(&self.tools, &self.config);
        }
        match &mut self.database {
            Some(queue) => queue.push(id, action),
            None => tracing::error!(group = %self.config.group, ?action, "a witness has no database"),
        }
    }

    fn ask(&mut self, asked: PromiseAsked) -> Event {
        self.asks = self.asks.wrapping_add(1);
        self.asked.retain(|_, answer| !answer.is_closed());
        self.asked.insert(self.asks, asked.answer);
        Event::PromiseAsked { ask: self.asks, promise: asked.promise }
    }

    fn tell(&self) {
        let now = clock::now();
        let state = self.machine.group_state(now);
        let old = self.state.borrow().clone();
        if old != state {
            self.state.send_replace(state);
            self.nudge.notify_one();
        }
        self.facts.send_modify(|facts| *facts = GroupFacts::of(&self.machine, facts.database.take(), now));
    }

    async fn stop(mut self) {
        self.teller.shutdown(&self.machine);
        self.tools.fence.close(&self.config.group, "the node of this region is shutting down");
        let Some(database) = &self.tools.database else { return };
        drop(self.database);
        let orderly = tokio::time::timeout(ORDERLY_STOP, database.stop(StopMode::Fast)).await;
        if !matches!(orderly, Ok(Ok(())))
            && let Err(error) = database.stop(StopMode::Immediate).await
        {
            tracing::error!(%error, "PostgreSQL could not be stopped");
        }
    }

    fn memory_file(&self) -> String {
        format!("group-{}.json", self.config.group)
    }
}

/// Sleeps until that moment of the boot-time clock; for ever when there is none. After a sleep of the
/// machine the timer is late, but the moment is compared again by the machine itself.
async fn until(at: Option<Moment>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use meridian_coordination::Memory as Twin;
    use meridian_coordination::asks::Asks;
    use meridian_model::group::Promise;
    use meridian_model::{Epoch, Timers};

    use super::*;
    use crate::compute::Compute;
    use crate::testing::{here, name, secret, system, view};

    fn group(memory: Memory) -> (Group, GroupEnds) {
        let database = system().databases.into_iter().next().unwrap();
        let config = Config {
            group: name("orders"),
            me: here(),
            members: vec![here()],
            initial_primary: here(),
            replication: database.replication,
            rpo: Duration::from_secs(5),
            max_read_lag: database.max_read_lag,
            candidate_gone: meridian_failover::config::CANDIDATE_GONE,
            on_rpo_breach: database.on_rpo_breach,
            timers: Timers::default(),
            gateways: vec![here()],
            switchover: database.switchover,
            plan: crate::assemble::plan_of(&system(), &database),
        };
        let (store, keys) = (Arc::new(Twin::new()), Keys::new(&name("shop")));
        let steps = Steps {
            here: here(),
            database,
            views: watch::channel(view()).1,
            compute: Arc::new(Compute::new(here(), Vec::new())),
            asks: Asks::new(Arc::clone(&store) as Arc<dyn Store>, keys.clone()),
            outside: meridian_actuators::Outside::new(std::env::temp_dir()).unwrap(),
        };
        let tools = Tools {
            store,
            keys,
            database: None,
            members: HashMap::new(),
            peers: HashMap::new(),
            secret: secret(),
            fence: Fence::new(),
            losses: Losses::open(memory.clone(), [name("orders")]),
            memory,
            metrics: Metrics::new(None),
            steps: Arc::new(steps),
        };
        Group::new(config, tools, Arc::default())
    }

    #[tokio::test]
    async fn a_member_without_its_memory_says_no_holds_nobody_up_and_hears_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("group-orders.json"), "{").unwrap();
        let (group, ends) = group(Memory::open(folder.path()).unwrap());
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(group.run(stopped));
        let all = async {
            for _ in 0..3 * INBOX {
                ends.events.send(Event::Coordination { reachable: true }).await.unwrap();
            }
            let (answer, answered) = oneshot::channel();
            let promise =
                Promise { group: name("orders"), epoch: Epoch(1), holder: name("eu"), for_ms: 1_000 };
            ends.promises.send(PromiseAsked { promise, answer }).await.unwrap();
            let answer = answered.await.unwrap();
            assert!(!answer.granted && answer.reason.contains("group-orders.json"), "{}", answer.reason);
            assert!(ends.facts.borrow().explanation.doing.contains("passive"));
            stop.send_replace(true);
            running.await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    }
}
