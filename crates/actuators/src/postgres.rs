//! One member's PostgreSQL, operated as a child of the node.
//!
//! The parts, in the order of a member's life: [`layout`] (whose files), `create` (initialise, clone),
//! `server` (the process), `start` (start, follow, seal), `handover`, `promote`, `rejoin`, `status`. One command runs
//! at a time; an immediate stop and the fence overtake all others.

mod binaries;
mod cluster;
mod config;
mod control;
mod create;
mod decode;
mod enough;
mod handover;
mod inspect;
mod keep;
mod layout;
mod ledger;
mod link;
mod promote;
mod quorum;
mod rehearse;
mod rejoin;
mod server;
mod settings;
mod start;
mod status;
mod stuck;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use meridian_model::facts::MemberFacts;
use meridian_model::group::{DatabaseStatus, WalPosition};
use meridian_model::{Database, Epoch, Moment, RegionName, System};
use meridian_telemetry::clock;
use tokio::sync::{Mutex, watch};

use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::execute::{BoxFuture, DatabaseActuator, Rejoined, StopMode, UnexpectedExit};
use crate::guard::{Door, Guard, Post};
use crate::process::{Spawner, User};
use crate::rehearsal::{Rehearsal, Stage};
use crate::watchdog::Watchdog;

pub use binaries::Binaries;
pub(crate) use cluster::kill_all as kill_cluster;
pub use config::PostgresConfig;
pub(crate) use link::reason;

use layout::{DataDir, Layout};
use link::Link;
use server::Server;
use settings::Changed;

/// One member's PostgreSQL. When it is dropped, the server is killed.
pub struct Postgres {
    member: Arc<Member>,
}

/// What all commands share.
pub(crate) struct Member {
    config: PostgresConfig,
    binaries: Binaries,
    layout: Layout,
    spawner: Spawner,
    password: String,
    server: Arc<Server>,
    watchdog: Watchdog,
    guard: Option<Guard>,
    /// For [`DatabaseActuator::status`]; apart from `work`, so that a long command does not hold it up.
    watching: Link,
    work: Link,
    /// To the application's database, where the slot of the ledger is.
    ledger: Link,
    ledger_work: Mutex<()>,
    ledger_seen: StdMutex<ledger::Ledger>,
    commands: Mutex<()>,
    seen: StdMutex<status::Seen>,
    /// Whose acknowledgements count, if somebody has changed that since this was last a standby.
    names: StdMutex<Option<String>>,
    /// Processes of the server may still go by an old number of acknowledgers.
    forgetting: AtomicBool,
    /// Transactions are for reading only unless they ask for more, until the next start.
    read_only: AtomicBool,
    /// Whom the settings name.
    upstream: StdMutex<Option<SocketAddr>>,
    /// A rehearsal is under way.
    rehearsing: Arc<AtomicBool>,
    /// Who caught up last: the shutdown in order is for this one.
    successor: StdMutex<Option<RegionName>>,
}

impl Postgres {
    /// The member of `database` in region `here`, without a guard process: see [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`], and a region without a member.
    pub fn new(system: &System, database: &Database, here: &RegionName) -> Result<Self, ActuatorError> {
        Self::open(PostgresConfig::of(system, database, here)?)
    }

    /// Finds the programs, checks the folders and passwords, and kills a server of this data directory that
    /// an earlier life left running: nobody fences that one.
    ///
    /// # Errors
    /// Missing programs or files, a user that does not exist, a data directory that is not ours.
    pub fn open(config: PostgresConfig) -> Result<Self, ActuatorError> {
        let spawner = Spawner::start()?;
        let binaries = Binaries::find(config.postgres.bin_dir.as_deref())?;
        let user = User::to_drop_to(&config.postgres.run_as)?;
        let password = read_password(&config.postgres.password_file)?;
        let layout = Layout::prepare(&config, user, binaries.major)?;
        let server = Server::new(layout.data_dir.clone(), layout.log(), spawner.clone());
        server.halt(false)?;
        layout.finish_removing();
        layout.look()?;
        let fenced = Arc::clone(&server);
        let watchdog = Watchdog::start(move |_| fenced.fence())?;
        let guard = start_guard(&config, &layout, &spawner, &password)?;
        let link = |dbname: &str| Link::new(config.address, &config.postgres.superuser, &password, dbname);
        let (watching, work, ledger) = (link("postgres"), link("postgres"), link(&config.dbname));
        let member = Member {
            config,
            binaries,
            layout,
            spawner,
            password,
            server,
            watchdog,
            guard,
            watching,
            work,
            ledger,
            ledger_work: Mutex::new(()),
            ledger_seen: StdMutex::default(),
            commands: Mutex::new(()),
            seen: StdMutex::default(),
            names: StdMutex::default(),
            forgetting: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            upstream: StdMutex::default(),
            rehearsing: Arc::default(),
            successor: StdMutex::default(),
        };
        member.finish_rehearsals();
        Ok(Self { member: Arc::new(member) })
    }

    /// The programs in use.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.member.binaries
    }

    /// The postmaster's process number, while it runs.
    #[must_use]
    pub fn postmaster(&self) -> Option<u32> {
        self.member.server.child().map(|child| child.pid())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.member.server.halt(true) {
            tracing::error!(%error, "PostgreSQL was not stopped");
        }
    }
}

impl DatabaseActuator for Postgres {
    fn status(&self) -> BoxFuture<'_, DatabaseStatus> {
        Box::pin(self.member.status())
    }

    fn exits(&self) -> watch::Receiver<Option<UnexpectedExit>> {
        self.member.server.exits()
    }

    fn initialise(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.initialise())
    }

    fn start_primary(&self, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.start_primary(epoch))
    }

    fn stop(&self, mode: StopMode) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.stop(mode))
    }

    fn promote(&self, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.promote(epoch))
    }

    fn follow(&self, upstream: SocketAddr, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.follow(upstream, epoch))
    }

    fn seal(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.seal())
    }

    fn rejoin(&self, source: SocketAddr, epoch: Epoch) -> BoxFuture<'_, Result<Rejoined, ActuatorError>> {
        Box::pin(self.member.rejoin(source, epoch))
    }

    fn copy_from(&self, source: SocketAddr) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.copy_from(source))
    }

    fn prepare_handover<'a>(&'a self, to: &'a RegionName) -> BoxFuture<'a, Result<(), ActuatorError>> {
        Box::pin(self.member.prepare_handover(to))
    }

    fn catch_up<'a>(
        &'a self,
        to: &'a RegionName,
        within: Duration,
    ) -> BoxFuture<'a, Result<(), ActuatorError>> {
        Box::pin(self.member.catch_up(to, within))
    }

    fn stop_in_order(&self, within: Duration) -> BoxFuture<'_, Result<WalPosition, ActuatorError>> {
        Box::pin(self.member.stop_in_order(within))
    }

    fn replay_beyond(
        &self,
        place: WalPosition,
        within: Duration,
    ) -> BoxFuture<'_, Result<WalPosition, ActuatorError>> {
        Box::pin(self.member.replay_beyond(place, within))
    }

    fn advance_ledger_slot(&self) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.advance_ledger_slot())
    }

    fn set_acknowledgers<'a>(
        &'a self,
        acknowledgers: u32,
        candidates: &'a [RegionName],
    ) -> BoxFuture<'a, Result<(), ActuatorError>> {
        Box::pin(self.member.set_acknowledgers(acknowledgers, candidates))
    }

    fn set_read_only(&self, on: bool) -> BoxFuture<'_, Result<(), ActuatorError>> {
        Box::pin(self.member.set_read_only(on))
    }

    fn rehearse<'a>(
        &'a self,
        workspace: &'a Path,
        told: &'a (dyn Fn(Stage) + Send + Sync),
    ) -> BoxFuture<'a, Result<Rehearsal, ActuatorError>> {
        Box::pin(self.member.rehearse(workspace, told))
    }

    fn inspect(&self) -> BoxFuture<'_, Result<MemberFacts, ActuatorError>> {
        Box::pin(self.member.inspect())
    }

    fn fence_at(&self, at: Option<Moment>) {
        match at {
            Some(at) => self.member.watchdog.arm(at),
            None => self.member.watchdog.disarm(),
        }
        if let Some(guard) = &self.member.guard {
            guard.fence_at(at);
        }
    }
}

impl Member {
    async fn stop(&self, mode: StopMode) -> Result<(), ActuatorError> {
        let stopped = match mode {
            StopMode::Immediate => self.server.halt_aside(true).await,
            StopMode::Fast => {
                let _one_at_a_time = self.commands.lock().await;
                self.server.stop_fast(STOP_FAST).await.map(drop)
            }
        };
        // Last: a status that is being asked for holds the connection.
        self.watching.close().await;
        stopped
    }

    /// Returns when commits are acknowledged: when the guard has confirmed one, if they wait for that.
    async fn first_commit(&self) -> Result<(), ActuatorError> {
        let Some(guard) = self.guard.as_ref().filter(|_| self.config.leased()) else { return Ok(()) };
        guard.look();
        self.work.rows(COMMITTING, FIRST_COMMIT, LEASED).await.map(drop)
    }

    /// Writes the settings for a member that follows `upstream`, or nobody.
    fn configure(&self, upstream: Option<SocketAddr>) -> Result<(), ActuatorError> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read_only = self.server.child().is_some() && self.read_only.load(Ordering::SeqCst);
        let changed = Changed { names: names.as_deref(), read_only };
        self.layout.configure(&self.config, upstream, changed, &self.password)?;
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
        Ok(())
    }

    /// Whose acknowledgements count is again as the spec says.
    fn forget_names(&self) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A primary may run only while its end is already decided unless it is put off.
    fn require_fence(&self) -> Result<(), ActuatorError> {
        match self.watchdog.armed() {
            Some(at) if at > clock::now() => Ok(()),
            _ => Err(ActuatorError::NotFenced),
        }
    }

    /// The same, and the guard process will see to it too, whatever becomes of us.
    async fn require_guarded_fence(&self) -> Result<(), ActuatorError> {
        if let Some(guard) = &self.guard {
            guard.informed().await?;
        }
        self.require_fence()
    }

    fn require_data(&self, command: &'static str) -> Result<(), ActuatorError> {
        match self.layout.look()? {
            DataDir::Ours => Ok(()),
            DataDir::Absent => {
                let dir = self.layout.data_dir.display();
                let problem = format!("{dir} is empty; initialise it or clone it from another member first");
                Err(ActuatorError::WrongState { command, problem })
            }
        }
    }
}

fn start_guard(
    config: &PostgresConfig,
    layout: &Layout,
    spawner: &Spawner,
    password: &str,
) -> Result<Option<Guard>, ActuatorError> {
    if config.guard.is_empty() {
        return Ok(None);
    }
    let (user, password) = (config.postgres.superuser.clone(), password.to_owned());
    let post = Post {
        command: config.guard.clone(),
        data_dir: layout.data_dir.clone(),
        door: config.leased().then_some(Door { address: config.address, user, password }),
        log: layout.work_dir.join("guard.log"),
    };
    Guard::start(spawner.clone(), post).map(Some)
}

/// A password, without the line's end. Never in an error.
fn read_password(file: &Path) -> Result<String, ActuatorError> {
    let reading = |e| ActuatorError::file("reading the password file", file, e);
    let text = std::fs::read_to_string(file).map_err(reading)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains(['\n', '\0']) {
        let problem = "it must hold the password on one line";
        return Err(reading(std::io::Error::new(std::io::ErrorKind::InvalidData, problem)));
    }
    Ok(password.to_owned())
}

const STOP_FAST: Deadline = Deadline::new(
    Duration::from_secs(10),
    "standbys are sent the rest first, and a dead one is noticed after 3 s",
);
const FIRST_COMMIT: &str = "select pg_logical_emit_message(true, 'meridian', 'first commit') \
                            from set_config('synchronous_commit', 'on', true)";
const COMMITTING: &str = "the first commit, which the guard process confirms (its guard.log says more)";
/// It takes milliseconds, unless the machine has nothing to spare.
const LEASED: Duration = Duration::from_secs(5);
/// A statement that only looks at memory.
const QUICK: Duration = Duration::from_secs(2);
