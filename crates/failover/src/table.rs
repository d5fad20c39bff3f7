//! The transition table: every state, every move, what allows it and what it means.
//!
//! The table is the truth. The machine checks each of its moves against it, `docs/failover.md` is
//! printed from it, and tests hold that every state can be reached and every row is walked.

use std::fmt;

use serde::Serialize;

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Takes stock: what the record, the disk and the memory say decides where to go.
    Starting,
    /// No database of the group is here: a witness.
    Idle,
    /// The group has never had a writer; another region begins.
    Waiting,
    /// The record vanished although there has been one: a person must look.
    Orphaned,
    /// The first epoch is being claimed.
    Bootstrapping,
    /// There is no data yet: it is copied from the holder.
    Cloning,
    /// A standby of the holder.
    Following,
    /// The connection to the holder is being dropped for good.
    Sealing,
    /// The final position is reported; waits for the others and for the rules.
    Sealed,
    /// The holder has handed over to this member, which replays the rest of its log.
    TakingOver,
    /// A new epoch is being claimed.
    Claiming,
    /// The epoch is ours; the database is being made the primary.
    Promoting,
    /// The writer.
    Leading,
    /// The writer; a switchover is being prepared.
    Preparing,
    /// The writer; new transactions are held, running ones may end.
    Draining,
    /// The writer's database is being stopped in order; the successor follows to the end of its log.
    HandingOver,
    /// The writer's gateway is fenced: no renewal for too long.
    WritesClosed,
    /// The writer's database crashed and is started again in place.
    Restarting,
    /// The database is fenced: it is being stopped, because the right to write has ended.
    Stopped,
    /// The record is still ours: the right to write is being won anew.
    Resuming,
    /// The database is stopped and the lease is being given up.
    Releasing,
    /// The lease was given up; another member should take over.
    Released,
    /// An old primary (or a diverged standby) becomes a copy of the new one.
    Rejoining,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Starting,
        Self::Idle,
        Self::Waiting,
        Self::Orphaned,
        Self::Bootstrapping,
        Self::Cloning,
        Self::Following,
        Self::Sealing,
        Self::Sealed,
        Self::TakingOver,
        Self::Claiming,
        Self::Promoting,
        Self::Leading,
        Self::Preparing,
        Self::Draining,
        Self::HandingOver,
        Self::WritesClosed,
        Self::Restarting,
        Self::Stopped,
        Self::Resuming,
        Self::Releasing,
        Self::Released,
        Self::Rejoining,
    ];

    /// What it means, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Starting => "takes stock: what the record, the disk and the memory say decides where to go",
            Self::Idle => "no database of the group is here: a witness",
            Self::Waiting => "the group has never had a writer; another region begins",
            Self::Orphaned => "the record vanished although there has been one: a person must look",
            Self::Bootstrapping => "the first epoch is being claimed",
            Self::Cloning => "there is no data yet: it is copied from the holder",
            Self::Following => "a standby of the holder",
            Self::Sealing => "the connection to the holder is being dropped for good",
            Self::Sealed => "the final position is reported; waits for the others and for the rules",
            Self::TakingOver => {
                "the holder has handed over to this member, which replays the rest of its log"
            }
            Self::Claiming => "a new epoch is being claimed",
            Self::Promoting => "the epoch is ours; the database is being made the primary",
            Self::Leading => "the writer",
            Self::Preparing => "the writer; a switchover is being prepared",
            Self::Draining => "the writer; new transactions are held, running ones may end",
            Self::HandingOver => {
                "the writer's database is being stopped in order; the successor follows to the end of its log"
            }
            Self::WritesClosed => "the writer's gateway is fenced: no renewal for too long",
            Self::Restarting => "the writer's database crashed and is started again in place",
            Self::Stopped => {
                "the database is fenced: it is being stopped, because the right to write has ended"
            }
            Self::Resuming => "the record is still ours: the right to write is being won anew",
            Self::Releasing => "the database is stopped and the lease is being given up",
            Self::Released => "the lease was given up; another member should take over",
            Self::Rejoining => "an old primary (or a diverged standby) becomes a copy of the new one",
        }
    }

    /// The epoch is ours and the database is, or is becoming, a primary: renewals are due and fences armed.
    #[must_use]
    pub const fn holds(self) -> bool {
        self.serves()
            || matches!(self, Self::Promoting | Self::HandingOver | Self::WritesClosed | Self::Restarting)
    }

    /// Clients may write: the gateway is open as long as the lease is fresh.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Leading | Self::Preparing | Self::Draining)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What makes a machine move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The roster does not name this region.
    NotAMember,
    /// etcd has no record, and no epoch was ever seen here.
    NoRecordYet,
    /// etcd has no record (or an older one) although an epoch was seen here.
    RecordVanished,
    /// There is a record now.
    RecordAppeared,
    /// The record names this region.
    RecordIsOurs,
    /// The record names another region.
    RecordIsTheirs,
    /// The record names this region and says that the lease was given up.
    GivenUp,
    /// A higher epoch has begun.
    NewEpoch,
    /// The data directory is not there.
    DataGone,
    /// The copy is made.
    CloneDone,
    /// The database is a copy of the new primary again.
    RejoinDone,
    /// Rejoining did not work, and it was only a suspicion.
    RejoinFailed,
    /// The log here has left the holder's.
    Diverged,
    /// Expiry and two kinds of evidence: the holder is lost, or has given up.
    HolderLost,
    /// Nothing is received from the holder any more.
    SealDone,
    /// Every rule allows a new epoch.
    RulesAllow,
    /// The record was won.
    ClaimWon,
    /// The record was not won, or nobody can tell yet.
    ClaimLost,
    /// The database takes writes.
    PromoteDone,
    /// Promotion failed too often.
    PromoteFailed,
    /// No renewal for `gateway_fence`.
    RenewalOverdue,
    /// The lease was renewed in time.
    Renewed,
    /// No renewal for `database_fence`.
    LeaseLapsed,
    /// The record has another holder or epoch.
    Deposed,
    /// The database ended by itself.
    DatabaseCrashed,
    /// It crashed more often than the budget allows.
    CrashedTooOften,
    /// The database takes writes again.
    RestartDone,
    /// The node was asked to give the lease up.
    AskedToStepDown,
    /// Somebody ordered the writer to move.
    SwitchoverOrdered,
    /// The database is ready for a short stop.
    Prepared,
    /// Nothing is under way any more, and the successor has everything.
    Drained,
    /// The switchover cannot be carried out in time, or not at all.
    CalledOff,
    /// The database was stopped in order.
    StoppedInOrder,
    /// The holder has given the lease to this member.
    HandedOver,
    /// Everything of the old writer has been replayed.
    Replayed,
    /// What was handed over was not taken in time.
    SuccessorLate,
    /// A person ended the run.
    RunAborted,
    /// No process of the database is left.
    StopDone,
    /// The record says that the lease was given up.
    ReleaseDone,
    /// Nobody took the group over for two leases.
    NobodyTookOver,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in format!("{self:?}").char_indices() {
            if i > 0 && c.is_uppercase() {
                f.write_str(" ")?;
            }
            write!(f, "{}", c.to_lowercase())?;
        }
        Ok(())
    }
}

/// One move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where it begins.
    pub from: State,
    /// What makes it happen.
    pub trigger: Trigger,
    /// The name of the rule or function that must agree; empty: the trigger is enough.
    pub guard: &'static str,
    /// Where it ends.
    pub to: State,
    /// What is done, as a sentence for logs and people.
    pub action: &'static str,
}

/// The row for a move, if there is one.
#[must_use]
pub fn row(from: State, trigger: Trigger, to: State) -> Option<&'static Row> {
    TABLE.iter().find(|r| r.from == from && r.trigger == trigger && r.to == to)
}

const fn on(from: State, trigger: Trigger, guard: &'static str, to: State, action: &'static str) -> Row {
    Row { from, trigger, guard, to, action }
}

use State as S;
use Trigger as T;

/// Every move that there is.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // --- taking stock ---
    on(S::Starting, T::NotAMember, "", S::Idle, "votes on health and holds no data"),
    on(S::Starting, T::NoRecordYet, "initial_primary", S::Bootstrapping, "claims epoch 1"),
    on(S::Starting, T::NoRecordYet, "not_initial_primary", S::Waiting, "waits for the spec's primary to begin"),
    on(S::Starting, T::RecordVanished, "", S::Orphaned, "does nothing: a group that had a writer is never begun anew by itself"),
    on(S::Starting, T::RecordIsOurs, "", S::Resuming, "wins the right to write anew before the database is started"),
    on(S::Starting, T::GivenUp, "", S::Released, "leaves the group to another member"),
    on(S::Starting, T::RecordIsTheirs, "must_rejoin", S::Rejoining, "makes the old primary a copy of the new one"),
    on(S::Starting, T::RecordIsTheirs, "no_data", S::Cloning, "copies the database from the holder"),
    on(S::Starting, T::RecordIsTheirs, "sealed_for_this_epoch", S::Sealing, "a seal holds over restarts: it is made good again"),
    on(S::Starting, T::RecordIsTheirs, "has_data", S::Following, "follows the holder"),
    on(S::Waiting, T::RecordAppeared, "", S::Starting, "takes stock again"),
    on(S::Orphaned, T::RecordAppeared, "", S::Starting, "takes stock again"),
    // --- a standby ---
    on(S::Cloning, T::CloneDone, "", S::Following, "follows the holder"),
    on(S::Cloning, T::RecordIsOurs, "", S::Starting, "takes stock again"),
    on(S::Following, T::DataGone, "", S::Cloning, "copies the database from the holder"),
    on(S::Following, T::Diverged, "", S::Rejoining, "keeps the diverged log and becomes a copy of the holder"),
    on(S::Following, T::RecordIsOurs, "", S::Starting, "takes stock again"),
    on(S::Following, T::HolderLost, "seal_rules", S::Sealing, "drops its connection to the holder for good"),
    on(S::Following, T::HandedOver, "handover_rules", S::TakingOver, "replays the old writer's log to its end"),
    on(S::Rejoining, T::RejoinDone, "", S::Following, "follows the holder"),
    on(S::Rejoining, T::DataGone, "", S::Cloning, "copies the database from the holder"),
    on(S::Rejoining, T::RejoinFailed, "only_suspected", S::Following, "goes on following as it was"),
    on(S::Rejoining, T::RecordIsOurs, "", S::Starting, "takes stock again"),
    // --- taking over ---
    on(S::Sealing, T::SealDone, "", S::Sealed, "publishes its final position"),
    on(S::Sealing, T::NewEpoch, "", S::Starting, "takes stock again"),
    on(S::Sealed, T::NewEpoch, "", S::Starting, "takes stock again"),
    on(S::Sealed, T::RulesAllow, "claim_rules", S::Claiming, "claims the next epoch by compare-and-set"),
    on(S::Sealed, T::ClaimWon, "", S::Promoting, "a claim without an answer turns out to be won: promotes"),
    on(S::Claiming, T::ClaimWon, "", S::Promoting, "arms the fences and promotes"),
    on(S::Claiming, T::ClaimLost, "sealed", S::Sealed, "reads the record again"),
    on(S::Claiming, T::ClaimLost, "not_sealed", S::Starting, "takes stock again"),
    on(S::TakingOver, T::Replayed, "replayed_beyond", S::Claiming, "claims the next epoch by compare-and-set"),
    on(S::TakingOver, T::SuccessorLate, "", S::Following, "stays a standby: the old writer may have the lease back"),
    on(S::TakingOver, T::NewEpoch, "", S::Starting, "takes stock again"),
    on(S::Bootstrapping, T::ClaimWon, "", S::Promoting, "makes a new database and starts it"),
    on(S::Bootstrapping, T::ClaimLost, "", S::Starting, "takes stock again"),
    on(S::Promoting, T::PromoteDone, "", S::Leading, "opens writes"),
    on(S::Promoting, T::PromoteFailed, "", S::Releasing, "stops the database and gives the lease up"),
    on(S::Promoting, T::RunAborted, "", S::Releasing, "stops the database and gives the lease up"),
    on(S::Promoting, T::LeaseLapsed, "", S::Stopped, "stops the database"),
    on(S::Promoting, T::Deposed, "", S::Stopped, "stops the database"),
    // --- the writer ---
    on(S::Leading, T::RenewalOverdue, "", S::WritesClosed, "closes the gateway for writes"),
    on(S::Leading, T::LeaseLapsed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Leading, T::Deposed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Leading, T::DatabaseCrashed, "", S::Restarting, "closes writes and starts the database again"),
    on(S::Leading, T::CrashedTooOften, "", S::Releasing, "gives the lease up"),
    on(S::Leading, T::AskedToStepDown, "", S::Releasing, "closes writes, stops the database and gives the lease up"),
    // --- a switchover, as the old writer ---
    on(S::Leading, T::SwitchoverOrdered, "switchover_rules", S::Preparing, "does what the plan wants before, and makes the stop to come short"),
    on(S::Preparing, T::Prepared, "", S::Draining, "holds new transactions at all gateways"),
    on(S::Preparing, T::CalledOff, "", S::Leading, "goes on as before"),
    on(S::Preparing, T::RenewalOverdue, "", S::WritesClosed, "closes the gateway for writes"),
    on(S::Preparing, T::LeaseLapsed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Preparing, T::Deposed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Preparing, T::DatabaseCrashed, "", S::Restarting, "closes writes and starts the database again"),
    on(S::Draining, T::Drained, "", S::HandingOver, "closes writes and stops the database in order"),
    on(S::Draining, T::CalledOff, "", S::Leading, "lets the held transactions go on here"),
    on(S::Draining, T::RenewalOverdue, "", S::WritesClosed, "closes the gateway for writes"),
    on(S::Draining, T::LeaseLapsed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Draining, T::Deposed, "", S::Stopped, "closes writes and stops the database"),
    on(S::Draining, T::DatabaseCrashed, "", S::Restarting, "closes writes and starts the database again"),
    on(S::HandingOver, T::StoppedInOrder, "", S::Releasing, "gives the lease to the successor"),
    on(S::HandingOver, T::CalledOff, "", S::Restarting, "starts the database again"),
    on(S::HandingOver, T::LeaseLapsed, "", S::Stopped, "stops the database"),
    on(S::HandingOver, T::Deposed, "", S::Stopped, "stops the database"),
    // --- the writer without a lease that is fresh ---
    on(S::WritesClosed, T::Renewed, "", S::Leading, "opens writes again"),
    on(S::WritesClosed, T::LeaseLapsed, "", S::Stopped, "stops the database"),
    on(S::WritesClosed, T::Deposed, "", S::Stopped, "stops the database"),
    on(S::WritesClosed, T::DatabaseCrashed, "", S::Restarting, "starts the database again"),
    on(S::WritesClosed, T::CrashedTooOften, "", S::Releasing, "gives the lease up"),
    on(S::WritesClosed, T::AskedToStepDown, "", S::Releasing, "stops the database and gives the lease up"),
    on(S::Restarting, T::RestartDone, "", S::Leading, "opens writes again"),
    on(S::Restarting, T::CrashedTooOften, "", S::Releasing, "gives the lease up"),
    on(S::Restarting, T::LeaseLapsed, "", S::Stopped, "stops the database"),
    on(S::Restarting, T::Deposed, "", S::Stopped, "stops the database"),
    // --- after the right to write has ended ---
    on(S::Stopped, T::StopDone, "", S::Starting, "takes stock again"),
    on(S::Resuming, T::ClaimWon, "", S::Promoting, "arms the fences and starts the database"),
    on(S::Resuming, T::ClaimLost, "", S::Starting, "takes stock again"),
    on(S::Resuming, T::DataGone, "", S::Releasing, "gives the lease up: there is no data to write to"),
    on(S::Releasing, T::ReleaseDone, "", S::Released, "leaves the group to another member"),
    on(S::Releasing, T::Deposed, "", S::Starting, "takes stock again"),
    on(S::Released, T::NewEpoch, "", S::Starting, "takes stock again"),
    on(S::Released, T::NobodyTookOver, "has_data_or_never_had", S::Resuming, "tries to write again itself"),
];

#[cfg(test)]
mod tests;
