//! Puts the answer of `GET /v1/status` together, when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use meridian_failover::{Explanation, Machine};
use meridian_model::group::DatabaseStatus;
use meridian_model::health::RegionHealth;
use meridian_model::rehearsal::Rehearsal;
use meridian_model::run::Run;
use meridian_model::service::Service;
use meridian_model::snapshot::GroupState;
use meridian_model::{GroupName, Moment, RegionName};
use meridian_steering::View;
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::compute::Compute;
use crate::knowledge::Knowledge;
use crate::losses::Losses;
use crate::status::{CoordinationStatus, GroupStatus, NodeStatus, RuleStatus, TrafficShare};

/// What a group's loop tells after each turn.
#[derive(Debug, Clone)]
pub(crate) struct GroupFacts {
    /// Who writes.
    pub(crate) state: GroupState,
    /// Why the machine acts or does not.
    pub(crate) explanation: Explanation,
    /// The local database.
    pub(crate) database: Option<DatabaseStatus>,
}

impl GroupFacts {
    /// The facts of now.
    #[must_use]
    pub(crate) fn of(machine: &Machine, database: Option<DatabaseStatus>, now: Moment) -> Self {
        Self { state: machine.group_state(now), explanation: machine.explain(now), database }
    }
}

/// All that a status is made from.
pub(crate) struct Board {
    pub(crate) here: RegionName,
    pub(crate) verdicts: watch::Receiver<Arc<Vec<RegionHealth>>>,
    pub(crate) coordination: watch::Receiver<CoordinationStatus>,
    pub(crate) groups: Vec<watch::Receiver<GroupFacts>>,
    pub(crate) knowledge: Arc<Mutex<Knowledge>>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    pub(crate) compute: Arc<Compute>,
    pub(crate) losses: Losses,
}

impl Board {
    /// The status of now.
    #[must_use]
    pub(crate) fn status(&self) -> NodeStatus {
        let view = Arc::clone(&self.views.borrow());
        NodeStatus {
            region: self.here.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: clock::wall(),
            generation: view.snapshot.generation,
            coordination: self.coordination.borrow().clone(),
            verdicts: self.verdicts.borrow().to_vec(),
            groups: self.groups.iter().map(|facts| self.group(&facts.borrow())).collect(),
            maintenance: self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).maintenance(),
            compute: self.compute.status(),
            traffic: traffic(&view),
            dials: view.snapshot.dials.clone(),
        }
    }

    /// The last rehearsal of each group.
    #[must_use]
    pub(crate) fn rehearsals(&self) -> Vec<Rehearsal> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).rehearsals()
    }

    /// Who could take the writer of a group best: up, streaming, and the least behind.
    pub(crate) fn successor(&self, group: &GroupName) -> Option<RegionName> {
        let members = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner).members(group);
        let verdicts = self.verdicts.borrow();
        let up = |region: &RegionName| {
            verdicts.iter().any(|v| v.region == *region && v.health == meridian_model::health::Health::Up)
        };
        let able = members.into_iter().filter(|m| m.database.streaming && up(&m.region));
        able.min_by_key(|m| m.database.replay_lag_ms.unwrap_or(u64::MAX)).map(|m| m.region)
    }

    fn group(&self, facts: &GroupFacts) -> GroupStatus {
        let group = &facts.state.group;
        let knowledge = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = |rule: &meridian_failover::RuleState| RuleStatus {
            rule: format!("{:?}", rule.rule),
            allows: rule.allows,
            evidence: rule.evidence.clone(),
        };
        let runs = knowledge.runs(group);
        GroupStatus {
            group: group.clone(),
            epoch: facts.state.epoch,
            writer: facts.state.writer.clone(),
            reason: facts.state.reason.clone(),
            state: format!("{:?}", facts.explanation.state),
            doing: facts.explanation.doing.clone(),
            database: facts.database.clone(),
            record: knowledge.record(group),
            members: knowledge.members(group),
            rules: facts.explanation.rules.iter().map(rule).collect(),
            words: knowledge.words(&runs),
            // From here on they are for people.
            runs: runs.iter().map(Run::shown).collect(),
            order: knowledge.order(group),
            losses: self.losses.of(group),
        }
    }
}

/// Where steering sends the users of each service, as shares of all of them.
fn traffic(view: &View) -> Vec<TrafficShare> {
    let of = |service: &Service| {
        let name = service.name.clone();
        let share = move |(region, share)| TrafficShare { service: name.clone(), region, share };
        view.shares(service).into_iter().map(share).collect::<Vec<_>>()
    };
    view.system.services.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_coordination::store::Change;
    use meridian_coordination::{Keys, Versioned, encode};
    use meridian_failover::State;
    use meridian_model::plan::{Notify, Secretive, Task, Work};
    use meridian_model::run::{RunKind, Step};
    use meridian_model::{Epoch, Timestamp};

    use super::*;
    use crate::memory::Memory;
    use crate::testing::{here, name, view};

    fn run(url: &str) -> Run {
        let to = Notify::Webhook { url: Secretive::Open(url.to_owned()) };
        let work = Work::new(name("tell"), Task::Notify { to, text: String::new() }, Duration::from_secs(1));
        let begun = Run::begin(
            name("orders-2-failover"),
            name("orders"),
            RunKind::Failover,
            Epoch(2),
            here(),
            Timestamp(0),
        );
        Run { steps: vec![Step::pending(work)], ..begun }
    }

    #[test]
    fn no_status_gives_an_address_away_and_the_node_keeps_it_to_act() {
        let (run, keys) = (run("https://hooks.example/planted-secret"), Keys::new(&name("shop")));
        let mut knowledge = Knowledge::new(&name("shop"), vec![name("orders")]);
        let put = Versioned { key: keys.run(&run.id), value: encode(&run), revision: 1 };
        knowledge.apply(Change::Put(put), Moment::ZERO);
        let state = GroupState {
            group: name("orders"),
            epoch: Epoch(2),
            writer: None,
            reason: String::new(),
            readers: Vec::new(),
        };
        let (state_of, doing) = (State::Following, String::new());
        let explanation = Explanation { state: state_of, doing, would_act: false, rules: Vec::new() };
        let folder = tempfile::tempdir().unwrap();
        let board = Board {
            here: here(),
            verdicts: watch::channel(Arc::default()).1,
            coordination: watch::channel(CoordinationStatus::default()).1,
            groups: vec![watch::channel(GroupFacts { state, explanation, database: None }).1],
            knowledge: Arc::new(Mutex::new(knowledge)),
            views: watch::channel(view()).1,
            compute: Arc::new(Compute::new(here(), Vec::new())),
            losses: Losses::open(Memory::open(folder.path()).unwrap(), []),
        };
        let told = serde_json::to_string(&board.status()).unwrap();
        assert!(told.contains("https://hooks.example") && !told.contains("planted-secret"), "{told}");
        assert_eq!(board.knowledge.lock().unwrap().runs(&name("orders")), [run]);
    }
}
