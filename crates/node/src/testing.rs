//! For the unit tests of this crate: a small spec of three regions and two databases, and a database that
//! only says things.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_actuators::{
    ActuatorError, BoxFuture, DatabaseActuator, Rehearsal, Rejoined, Stage, StopMode, UnexpectedExit,
};
use meridian_coordination::{Keys, Memory as Twin, Store};
use meridian_model::facts::{DiskFacts, MemberFacts};
use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, WalPosition};
use meridian_model::{Database, Epoch, GroupName, Moment, Name, RegionName, Snapshot, System, Timestamp};
use meridian_spec::SourceFile;
use meridian_steering::View;
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::knowledge::Knowledge;
use crate::rehearse::Rehearser;
use crate::secret::Secret;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The region whose node is under test.
pub(crate) fn here() -> RegionName {
    name("us-east-1")
}

pub(crate) fn system() -> System {
    let file = SourceFile { name: "test.yaml".to_owned(), text: SPEC.to_owned() };
    let mut system = meridian_spec::read(&[file]).unwrap();
    let users = Database { name: name("users"), ..system.databases[0].clone() };
    system.databases.push(users);
    system
}

/// A view that knows nothing.
pub(crate) fn view() -> Arc<View> {
    let system = Arc::new(system());
    let unknown = Snapshot::unknown(here(), system.region_names().cloned());
    View::new(system, here(), Arc::new(unknown))
}

/// A record of the first group, by which this region has held that epoch for ever.
pub(crate) fn record(epoch: Epoch) -> GroupRecord {
    GroupRecord::begin(name("orders"), epoch, here(), Timestamp(0))
}

pub(crate) fn secret() -> Secret {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret of the tests").unwrap();
    Secret::read(file.path()).unwrap()
}

/// A node that can rehearse with these databases; and what ends it.
pub(crate) fn rehearser(
    store: &Twin,
    databases: Vec<(GroupName, Arc<dyn DatabaseActuator>)>,
    workspace: &Path,
) -> (Arc<Rehearser>, watch::Sender<bool>) {
    let (end, stop) = watch::channel(false);
    let rehearser = Rehearser {
        system: Arc::new(system()),
        here: here(),
        databases,
        knowledge: Arc::new(Mutex::new(Knowledge::new(&name("shop"), vec![name("orders"), name("users")]))),
        store: Arc::new(store.clone()) as Arc<dyn Store>,
        keys: Keys::new(&name("shop")),
        workspace: workspace.join("rehearsals"),
        stop,
    };
    (Arc::new(rehearser), end)
}

/// A database that does nothing: it says what a test wants to hear.
pub(crate) struct Says {
    pub(crate) status: Mutex<DatabaseStatus>,
    pub(crate) facts: Mutex<Result<MemberFacts, String>>,
    /// A rehearsal goes on until it is dropped; else it fails after its first stage.
    pub(crate) rehearses: bool,
    /// True while a rehearsal is under way.
    pub(crate) rehearsing: watch::Sender<bool>,
}

impl Says {
    /// A standby that streams.
    pub(crate) fn standby() -> Self {
        let status = DatabaseStatus { streaming: true, ..DatabaseStatus::stopped(DatabaseRole::Standby) };
        Self {
            status: Mutex::new(status),
            facts: Mutex::new(Ok(facts())),
            rehearses: false,
            rehearsing: watch::Sender::new(false),
        }
    }
}

/// What is true of a small standby that is well.
pub(crate) fn facts() -> MemberFacts {
    MemberFacts {
        region: here(),
        at: clock::wall(),
        standby: true,
        streaming: true,
        version: 150_018,
        settings: std::collections::BTreeMap::new(),
        data_checksums: true,
        databases: Vec::new(),
        roles: Vec::new(),
        tls: false,
        certificates: Vec::new(),
        disk: DiskFacts { total_bytes: 2 << 30, free_bytes: 1 << 30 },
        slots: Vec::new(),
        missing: Vec::new(),
    }
}

fn no<T: Send + 'static>() -> BoxFuture<'static, Result<T, ActuatorError>> {
    Box::pin(async { Err(ActuatorError::NotFenced) })
}

impl DatabaseActuator for Says {
    fn status(&self) -> BoxFuture<'_, DatabaseStatus> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { status })
    }
    fn exits(&self) -> watch::Receiver<Option<UnexpectedExit>> {
        watch::channel(None).1
    }
    fn initialise(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn start_primary(&self, _: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn stop(&self, _: StopMode) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn promote(&self, _: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn follow(&self, _: SocketAddr, _: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn seal(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn rejoin(&self, _: SocketAddr, _: Epoch) -> BoxFuture<'_, Result<Rejoined, ActuatorError>> {
        no()
    }
    fn copy_from(&self, _: SocketAddr) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn prepare_handover<'a>(&'a self, _: &'a RegionName) -> BoxFuture<'a, Result<(), ActuatorError>> {
        no()
    }
    fn catch_up<'a>(&'a self, _: &'a RegionName, _: Duration) -> BoxFuture<'a, Result<(), ActuatorError>> {
        no()
    }
    fn stop_in_order(&self, _: Duration) -> BoxFuture<'_, Result<WalPosition, ActuatorError>> {
        no()
    }
    fn replay_beyond(
        &self,
        _: WalPosition,
        _: Duration,
    ) -> BoxFuture<'_, Result<WalPosition, ActuatorError>> {
        no()
    }
    fn advance_ledger_slot(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }
    fn set_read_only(&self, _: bool) -> BoxFuture<'_, Result<(), ActuatorError>> {
        no()
    }

    fn set_acknowledgers<'a>(
        &'a self,
        _: u32,
        _: &'a [RegionName],
    ) -> BoxFuture<'a, Result<(), ActuatorError>> {
        no()
    }
    fn rehearse<'a>(
        &'a self,
        _: &'a Path,
        told: &'a (dyn Fn(Stage) + Send + Sync),
    ) -> BoxFuture<'a, Result<Rehearsal, ActuatorError>> {
        Box::pin(async move {
            told(Stage::Cloning);
            let _ends = UnderWay::begin(&self.rehearsing);
            if self.rehearses {
                std::future::pending::<()>().await;
            }
            let problem = "there is no room".to_owned();
            Err(ActuatorError::WrongState { command: "rehearse", problem })
        })
    }
    fn inspect(&self) -> BoxFuture<'_, Result<MemberFacts, ActuatorError>> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(
            async move { facts.map_err(|problem| ActuatorError::WrongState { command: "inspect", problem }) },
        )
    }
    fn fence_at(&self, _: Option<Moment>) {}
}

/// True as long as this lives.
struct UnderWay<'a>(&'a watch::Sender<bool>);

impl<'a> UnderWay<'a> {
    fn begin(told: &'a watch::Sender<bool>) -> Self {
        told.send_replace(true);
        Self(told)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

const SPEC: &str = "
apiVersion: meridian.dev/v1alpha1
kind: Topology
metadata:
  name: shop
spec:
  pattern: active-passive
  objectives:
    rto: 60s
    rpo: 5s
  regions:
    - name: us-east-1
      provider: aws
      role: primary
    - name: eu-central-1
      provider: aws
      role: secondary
    - name: ap-southeast-1
      provider: aws
      role: secondary
  users:
    - continent: europe
      share: 100%

---
apiVersion: meridian.dev/v1alpha1
kind: Database
metadata:
  name: orders
spec:
  replication: async
";
