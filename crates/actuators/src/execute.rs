//! What can be commanded: one trait for databases, one for compute.
//!
//! The traits are dyn-compatible (boxed futures), so that the node holds `Arc<dyn DatabaseActuator>`
//! and a test can put a twin in its place. Every command is idempotent: commanding what is already so
//! succeeds without touching anything. A command that fails leaves nothing half done that repeating
//! it would not repair.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use meridian_model::facts::MemberFacts;
use meridian_model::group::{DatabaseStatus, WalPosition};
use meridian_model::{Epoch, Moment, RegionName};
use tokio::sync::watch;

use crate::error::ActuatorError;
use crate::lost::Lost;
use crate::rehearsal::{Rehearsal, Stage};

/// A future that can be boxed away behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a database is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, everything is written out, standbys get the rest. Takes up to seconds.
    Fast,
    /// Killed. When this returns no process of the server is alive; done well within 500 ms. Nothing
    /// committed is lost: the next start recovers from the log.
    Immediate,
}

/// How a member came back to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejoinMethod {
    /// Its log had not diverged: it only had to follow.
    Followed,
    /// `pg_rewind` took the diverged part back.
    Rewound,
    /// A new base backup; the old data directory is kept aside where there is room.
    Recloned,
}

/// What a rejoin did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejoined {
    /// How.
    pub method: RejoinMethod,
    /// Where the diverged part of the log is kept, with a README; none when nothing had diverged.
    pub kept_wal: Option<PathBuf>,
    /// Where the old data directory was put aside, if it was.
    pub kept_data: Option<PathBuf>,
    /// The transactions that nobody else has.
    pub lost: Lost,
    /// What happened, in a sentence for the journal.
    pub detail: String,
}

/// An end of the server that nobody commanded (a crash, a kill) or that the fence made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnexpectedExit {
    /// Rises with each, so that two equal ends can be told apart.
    pub count: u64,
    /// When, by the boot-time clock.
    pub at: Moment,
    /// The fence did it: its moment came without a renewal.
    pub fenced: bool,
    /// What is known: exit status and the last words of its log.
    pub detail: String,
}

/// The database of one member.
///
/// **The fence.** A primary may run only while a fence is armed: [`Self::fence_at`] says at which
/// boot-time moment the server is killed unless a later moment is set before. [`Self::start_primary`] and
/// [`Self::promote`] refuse without one in the future. The fence runs on its own thread and survives a
/// blocked runtime.
///
/// **The epoch.** Commands carry one; the highest is kept on disk and a lower one is refused.
pub trait DatabaseActuator: Send + Sync + 'static {
    /// What the database does now. Never fails: a server that does not answer in time is `Starting`,
    /// with zero positions. Takes at most two seconds; a few milliseconds as a rule.
    fn status(&self) -> BoxFuture<'_, DatabaseStatus>;

    /// The last end of the server that nobody commanded; changes the moment it is seen.
    fn exits(&self) -> watch::Receiver<Option<UnexpectedExit>>;

    /// Makes an empty database system with the roles and the database; does not start it. Idempotent.
    ///
    /// # Errors
    /// A data directory that is not empty and not ours, missing programs, a full disk.
    fn initialise(&self) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Starts as a primary, or leaves it when it is one already; returns when it takes writes.
    ///
    /// # Errors
    /// No armed fence, a stale epoch, a port in use, a start that does not end in time.
    fn start_primary(&self, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Stops it; returns when no process of it is left.
    ///
    /// # Errors
    /// A process that cannot be killed.
    fn stop(&self, mode: StopMode) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Makes the running standby the primary: slots for the others first, then promotes; returns when
    /// it takes writes. A checkpoint is started in the background. A primary stays as it is.
    ///
    /// # Errors
    /// No armed fence, a stale epoch, not running, not promoted in time.
    fn promote(&self, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Makes it a standby of `upstream` (starting it when it is stopped); by reload where possible.
    /// Returns when the server answers; [`Self::status`] tells when it streams. If it does not stream
    /// for several seconds although the upstream is well, its log has diverged: call [`Self::rejoin`].
    ///
    /// # Errors
    /// A running primary (stop it first), no data directory, a stale epoch, a start that fails.
    fn follow(&self, upstream: SocketAddr, epoch: Epoch) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Cuts the standby off from its upstream for good (starting it without one when it is stopped).
    /// When this returns nothing more is received and nothing more can be acknowledged upstream, and the
    /// server answers with its final position: the end of the log on its disk, which after a restart is
    /// replayed to its end first. Replay that somebody paused is resumed if that needs it.
    ///
    /// # Errors
    /// A running primary, no data directory, a receiver that cannot be stopped, no final position in time:
    /// then replay goes on, and sealing again is right.
    fn seal(&self) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Brings a member back whose log may have diverged: keeps the diverged log, decodes the transactions in
    /// it (see [`crate::lost`]; a failure of that, or too long a log, holds nothing up), rewinds it to the
    /// primary at `source` or clones it anew, and lets it follow. A timeline of the same number that began
    /// elsewhere is another one. A clone needs room for a copy of the source's database and for the log
    /// that diverged; if there is room for the old data directory besides, that one is kept too, else it
    /// is removed before the copy begins.
    ///
    /// # Errors
    /// A source that is no primary or not reachable, a full disk, a stale epoch. When a clone broke off,
    /// [`Self::status`] may say that there is no data directory: [`Self::copy_from`] is right then.
    fn rejoin(&self, source: SocketAddr, epoch: Epoch) -> BoxFuture<'_, Result<Rejoined, ActuatorError>>;

    /// (Not `clone_from`: on an `Arc` that would be `Clone`'s.) Makes the data directory by a base backup from `source`; does not start it. Only where there is
    /// no data directory yet (a base backup with our slot); otherwise it changes nothing and succeeds when the directory is of the
    /// same system.
    ///
    /// # Errors
    /// A source that is not reachable, a directory of another system, a full disk.
    fn copy_from(&self, source: SocketAddr) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// A primary, while writes go on: a checkpoint, so that the one of [`Self::stop_in_order`] is short. `to`
    /// must stream from here, before and after. Takes seconds under load; giving up on it costs nothing.
    ///
    /// # Errors
    /// No running primary, a successor that does not stream, a checkpoint that does not end.
    fn prepare_handover<'a>(&'a self, to: &'a RegionName) -> BoxFuture<'a, Result<(), ActuatorError>>;

    /// A primary: returns when `to` has flushed and replayed all that was written here when this was
    /// called, committed or not.
    ///
    /// # Errors
    /// No running primary, a successor that does not stream, or one that is late: with the bytes it lacks.
    fn catch_up<'a>(
        &'a self,
        to: &'a RegionName,
        within: Duration,
    ) -> BoxFuture<'a, Result<(), ActuatorError>>;

    /// A primary: ends its sessions and stops in good order; returns where its shutdown checkpoint begins,
    /// which [`Self::status`] goes on telling as `received` until the next start. The standby that caught up
    /// last gets the rest first; all others are sent away, so that a silent one does not hold it up. One
    /// that is stopped in order already answers the same again.
    ///
    /// # Errors
    /// A standby, or one that did not make it in time: it was killed then, and must be started as it was.
    fn stop_in_order(&self, within: Duration) -> BoxFuture<'_, Result<WalPosition, ActuatorError>>;

    /// A standby: returns how far it has replayed once that is beyond `place`.
    ///
    /// # Errors
    /// It does not answer, or has not replayed that far in time: with how far it is.
    fn replay_beyond(
        &self,
        place: WalPosition,
        within: Duration,
    ) -> BoxFuture<'_, Result<WalPosition, ActuatorError>>;

    /// A primary: keeps the slot from which lost transactions are decoded, and moves it up to what all standbys
    /// have. To be called about once a second; it acts only now and then, for tenths of a second, or
    /// does nothing: on a standby, on a server that does not run, while a long command needs it. It waits
    /// for no command and no command for it.
    ///
    /// # Errors
    /// A slot that cannot be made or moved: until then lost transactions could only be listed.
    fn advance_ledger_slot(&self) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// Sets how many of the candidates must have a commit before it is acknowledged (0: nobody), until the
    /// server follows somebody or starts as a standby: then it is again as the spec says. On a primary it returns
    /// when that holds for every commit that is acknowledged from now on; where more is asked for than
    /// before, commits wait some milliseconds longer meanwhile. On a standby it counts from its promotion, on a
    /// server that does not run from its start as a primary.
    ///
    /// # Errors
    /// More are asked for than there are candidates, a server that does not take it over in
    /// time: then the new number is set, but an old one may still count for some commits.
    fn set_acknowledgers<'a>(
        &'a self,
        acknowledgers: u32,
        candidates: &'a [RegionName],
    ) -> BoxFuture<'a, Result<(), ActuatorError>>;

    /// A primary: sets `default_transaction_read_only`, until the next start. Sessions that set it themselves, and
    /// transactions that ask to write, are not kept from it.
    ///
    /// # Errors
    /// It does not run, or does not take it over in time.
    fn set_read_only(&self, on: bool) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// A standby: clones it below `workspace`, promotes the clone and writes to it, with no effect on
    /// production: see [`crate::rehearsal`]. The clone runs until [`Rehearsal::end`] or until that value is
    /// dropped; what a crash leaves is removed by the next rehearsal, or when the member is opened again. It
    /// waits for no command and no command for it. Takes the time of a base backup. `told` hears of each stage
    /// when it begins. Dropping it removes the clone, which blocks the thread: drop it where that may be.
    ///
    /// # Errors
    /// No running standby, another rehearsal, not enough room, and whatever a real promotion could fail by.
    fn rehearse<'a>(
        &'a self,
        workspace: &'a Path,
        told: &'a (dyn Fn(Stage) + Send + Sync),
    ) -> BoxFuture<'a, Result<Rehearsal, ActuatorError>>;

    /// What is true of the running server, so far as a recovery could fail by it. Reads only, on connections of
    /// its own, and holds nothing up; takes tens of milliseconds, more with many databases.
    ///
    /// # Errors
    /// It does not run or does not answer. What else cannot be looked up is named in the facts.
    fn inspect(&self) -> BoxFuture<'_, Result<MemberFacts, ActuatorError>>;

    /// Arms the fence: at `at` (boot-time clock) the server is killed unless armed anew before. `None`
    /// disarms it: only for a member that is no primary.
    fn fence_at(&self, at: Option<Moment>);
}

/// The instances of a service in one region.
pub trait ComputeActuator: Send + Sync + 'static {
    /// Makes `instances` run (as many as there are addresses at most). Idempotent. Returns when they
    /// are started, not when they are healthy: health is the probes' business.
    ///
    /// # Errors
    /// A program that cannot be started.
    fn scale(&self, instances: u32) -> BoxFuture<'_, Result<(), ActuatorError>>;

    /// How many run now.
    fn running(&self) -> u32;
}
