//! Orders to rehearse: what is refused, what is journalled, and what ends one.

use meridian_coordination::{Change, Faults, Memory as Twin, Versioned, decode, encode};
use meridian_model::Epoch;
use meridian_model::group::DatabaseStatus;
use meridian_model::order::{Order, OrderState, Wish};
use meridian_model::run::{Run, RunKind, Step, StepKind, StepState};

use super::*;
use crate::testing::{Says, here, name, rehearser, system};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    store: Twin,
    says: Arc<Says>,
    rehearser: Arc<Rehearser>,
    end: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new(says: Says) -> Self {
        let (store, says, folder) = (Twin::new(), Arc::new(says), tempfile::tempdir().unwrap());
        let databases = vec![(name("orders"), Arc::clone(&says) as Arc<dyn DatabaseActuator>)];
        let (rehearser, end) = rehearser(&store, databases, folder.path());
        Self { store, says, rehearser, end, _folder: folder }
    }

    fn hanging() -> Self {
        Self::new(Says { rehearses: true, ..Says::standby() })
    }

    async fn begin(&self, group: &str, within_ms: u64) -> Result<Rehearsal, String> {
        let (graceful, instances, by) = (false, true, "me".to_owned());
        let asked = RehearsalAsked { group: name(group), graceful, instances, within_ms, by };
        self.rehearser.begin(asked).await.map_err(|refusal| match refusal {
            Refusal::No(why) => why,
            Refusal::Unknown(why) => format!("unknown: {why}"),
        })
    }

    fn learn(&self, key: String, value: Vec<u8>) {
        let change = Change::Put(Versioned { key, value, revision: 1 });
        self.rehearser.knowledge.lock().unwrap().apply(change, Moment::ZERO);
    }

    /// The journal's record, once it is so.
    async fn journalled(&self, so: impl Fn(&Rehearsal) -> bool) -> Rehearsal {
        let mut changes = self.store.watch(&self.rehearser.keys.rehearsal(&name("orders")));
        let seen = async {
            loop {
                let entries = match changes.recv().await.unwrap() {
                    Change::Reset(listing) => listing.items,
                    Change::Put(entry) => vec![entry],
                    _ => Vec::new(),
                };
                let records = entries.iter().map(|entry| decode::<Rehearsal>(entry).unwrap());
                if let Some(found) = records.into_iter().find(|record| so(record)) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap()
    }

    /// Waits until the clone is being made, or is gone.
    async fn rehearsing(&self, wanted: bool) {
        let mut seen = self.says.rehearsing.subscribe();
        tokio::time::timeout(PATIENCE, seen.wait_for(|now| *now == wanted)).await.unwrap().unwrap();
    }
}

fn run(state: StepState) -> Run {
    Run {
        cause: "a test".to_owned(),
        steps: vec![Step::plain(StepKind::Fence, state).unwrap()],
        ..Run::begin(
            name("orders-1-failover"),
            name("orders"),
            RunKind::Failover,
            Epoch(1),
            here(),
            Timestamp(0),
        )
    }
}

fn order() -> Order {
    Order {
        id: name("1-1"),
        group: name("orders"),
        wish: Wish::Switchover { to: here() },
        epoch: Epoch(1),
        by: "somebody".to_owned(),
        at: clock::wall(),
        expires_at: Timestamp(clock::wall().0 + 60_000),
        state: OrderState::Open,
    }
}

fn state<'r>(record: &'r Rehearsal, step: &str) -> &'r StepState {
    &record.steps.iter().find(|s| s.name == name(step)).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_with_the_reason_while_something_real_goes_on() {
    let rig = Rig::new(Says::standby());
    assert!(rig.begin("users", 1_000).await.unwrap_err().contains("has no member of users"));
    *rig.says.status.lock().unwrap() = DatabaseStatus::stopped(DatabaseRole::Primary);
    assert!(rig.begin("orders", 1_000).await.unwrap_err().contains("only a standby that streams"));
    *rig.says.status.lock().unwrap() = DatabaseStatus::stopped(DatabaseRole::Standby);
    assert!(rig.begin("orders", 1_000).await.unwrap_err().contains("only a standby that streams"));
    rig.says.status.lock().unwrap().streaming = true;

    let keys = rig.rehearser.keys.clone();
    let under_way = run(StepState::Running { since: Timestamp(1) });
    rig.learn(keys.run(&under_way.id), encode(&under_way));
    let refused = rig.begin("orders", 1_000).await.unwrap_err();
    assert!(refused.contains("run orders-1-failover is not finished"), "{refused}");
    let paused = Run { paused: Some("step x failed".to_owned()), ..under_way };
    rig.learn(keys.run(&paused.id), encode(&paused));
    let refused = rig.begin("orders", 1_000).await.unwrap_err();
    assert!(
        refused.contains("is paused (step x failed): `meridian run resume orders-1-failover`"),
        "{refused}"
    );
    let finished = run(StepState::Done { since: Timestamp(1), at: Timestamp(2), detail: String::new() });
    rig.learn(keys.run(&finished.id), encode(&finished));
    rig.learn(keys.order(&name("orders")), encode(&order()));
    let refused = rig.begin("orders", 1_000).await.unwrap_err();
    assert!(refused.contains("order 1-1 of somebody is open"), "{refused}");
    let old = Order { expires_at: Timestamp(1), ..order() };
    rig.learn(keys.order(&name("orders")), encode(&old));

    rig.store.set_faults(Faults { unreachable: true, ..Faults::default() });
    assert!(rig.begin("orders", 1_000).await.unwrap_err().starts_with("unknown: "));
    assert!(!*rig.says.rehearsing.borrow(), "what cannot be journalled is not begun");
    rig.store.set_faults(Faults::default());
    rig.begin("orders", 1_000).await.unwrap();
    rig.journalled(|record| record.ended_at.is_some()).await;
}

/// It stood in the way until it expired.
#[test]
fn an_order_of_an_earlier_reign_stands_in_nobodys_way() {
    let rig = Rig::new(Says::standby());
    let (keys, group) = (rig.rehearser.keys.clone(), name("orders"));
    rig.learn(keys.order(&group), encode(&order()));
    for (epoch, hinders) in [(1, true), (2, false)] {
        rig.learn(keys.record(&group), encode(&crate::testing::record(Epoch(epoch))));
        assert_eq!(rig.rehearser.hindered(&group).is_some(), hinders, "epoch {epoch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_journalled_and_everything_is_removed() {
    let rig = Rig::new(Says::standby());
    let begun = rig.begin("orders", 60_000).await.unwrap();
    assert_eq!((begun.region, begun.ended_at), (here(), None));
    let names: Vec<String> = begun.steps.iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names[..2], ["clone", "start"]);
    assert_eq!(names.last().unwrap(), "remove");
    for step in ["fence", "repoint", "shift", "protect"] {
        let begun = rig.journalled(|_| true).await;
        let StepState::Skipped { reason, .. } = state(&begun, step) else { panic!("{step}: {begun:?}") };
        assert!(reason.contains("not carried out in a rehearsal"), "{reason}");
    }
    let ended = rig.journalled(|record| record.ended_at.is_some()).await;
    let StepState::Failed { reason, .. } = state(&ended, "clone") else { panic!("{ended:?}") };
    assert!(reason.contains("there is no room"), "{reason}");
    assert!(
        matches!(state(&ended, "verify"), StepState::Skipped { reason, .. } if reason.contains("before it failed"))
    );
    assert!(matches!(state(&ended, "remove"), StepState::Done { .. }));
    assert!(ended.left.as_ref().unwrap().nothing() && !ended.passed());
    assert!(rig.rehearser.workspace.is_dir(), "the workspace itself stays");
    // It has ended: another may begin.
    let second = rig.begin("orders", 60_000).await.unwrap().id;
    assert_ne!(second, ended.id);
    rig.journalled(|record| record.id == second && record.ended_at.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_is_under_way_and_it_makes_room_for_an_order() {
    let rig = Rig::hanging();
    rig.begin("orders", 60_000).await.unwrap();
    rig.rehearsing(true).await;
    let refused = rig.begin("orders", 60_000).await.unwrap_err();
    assert!(refused.contains("is under way"), "{refused}");
    rig.learn(rig.rehearser.keys.order(&name("orders")), encode(&order()));
    rig.rehearsing(false).await;
    let ended = rig.journalled(|record| record.ended_at.is_some()).await;
    let StepState::Failed { reason, .. } = state(&ended, "clone") else { panic!("{ended:?}") };
    assert!(reason.contains("makes room: order 1-1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_time_and_with_its_node() {
    let rig = Rig::hanging();
    rig.begin("orders", 1).await.unwrap();
    let ended = rig.journalled(|record| record.ended_at.is_some()).await;
    assert!(
        matches!(state(&ended, "clone"), StepState::Failed { reason, .. } if reason.contains("within its time"))
    );

    let rig = Rig::hanging();
    rig.begin("orders", 60_000).await.unwrap();
    rig.rehearsing(true).await;
    rig.end.send_replace(true);
    let ended = rig.journalled(|record| record.ended_at.is_some()).await;
    assert!(
        matches!(state(&ended, "clone"), StepState::Failed { reason, .. } if reason.contains("shutting down"))
    );
    assert!(!*rig.says.rehearsing.borrow(), "the clone went first");
}

#[test]
fn what_is_not_carried_out_is_named_with_its_reason() {
    let (rehearser, _end) = rehearser(&Twin::new(), Vec::new(), std::path::Path::new("/nowhere"));
    let asked = |group: &str, instances| RehearsalAsked {
        group: name(group),
        graceful: true,
        instances,
        within_ms: 1,
        by: String::new(),
    };
    let scale = Task::Scale { service: None, instances: None };
    let why = |task: &Task, asked: &RehearsalAsked| {
        let work = Work::new(name("s"), task.clone(), Duration::from_secs(1));
        rehearser.not_carried_out(&work, asked)
    };
    assert_eq!(why(&Task::Promote, &asked("orders", true)), None);
    assert_eq!(why(&Task::Verify { checks: Vec::new() }, &asked("orders", true)), None);
    for (task, asked, told) in [
        (&Task::Dns, asked("orders", true), "names stay"),
        (&Task::Approve { question: String::new() }, asked("orders", true), "nobody is asked"),
        (&scale, asked("orders", false), "no copies of instances were wanted"),
        (&scale, asked("users", true), "use another database"),
        (&scale, asked("orders", true), "somebody else runs"),
    ] {
        let reason = why(task, &asked).unwrap();
        assert!(reason.contains(told) && reason.contains("not carried out"), "{reason}");
    }
    assert!(system().services.is_empty(), "so there are no instances to copy");
}
