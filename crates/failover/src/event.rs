//! Everything that the machine can learn: one enum, one page.
//!
//! The runtime turns what it hears (etcd, the control interface, its own database, probes) into
//! these and adds the time. An event that repeats what is known is harmless.

use std::sync::Arc;

use meridian_model::group::{Announcement, DatabaseStatus, GroupRecord, HoldId, MemberReport, Promise};
use meridian_model::health::RegionHealth;
use meridian_model::name::{Name, RegionName, RunId};
use meridian_model::order::{Maintenance, Order, RunWords};
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment, Timestamp};
use serde::{Deserialize, Serialize};

/// The time of a step: `now` to decide by, `wall` for journals and people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The boot-time clock.
    pub now: Moment,
    /// The wall clock.
    pub wall: Timestamp,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Always the first event: the node has started. PostgreSQL, if any was left, has been stopped.
    Started {
        /// What the database is (`Absent` or `Stopped`, as a rule).
        database: DatabaseStatus,
        /// What was last remembered on disk, if anything.
        memory: Option<Memory>,
    },
    /// Nothing new: the moment of [`crate::Machine::wake_at`] has come.
    Tick,
    /// etcd answers (`true`) or does not. Send it whenever it changes, and first after `Started`.
    Coordination {
        /// A linearizable request succeeded within the last second or so.
        reachable: bool,
    },
    /// The record as etcd has it, from the watch or from a read; `None`: there is none.
    /// After a reset of the watch send it again, also when nothing changed.
    Record {
        /// The record.
        record: Option<GroupRecord>,
        /// Its mod revision; of an absent one, the revision of the answer.
        revision: i64,
        /// The `asked` of the [`crate::Command::ReadRecord`] that this answers; `None` from the watch.
        asked: Option<Moment>,
    },
    /// A member's report, from the watch. The own one may be sent too; it is ignored.
    Member(MemberReport),
    /// A run as etcd has it, from the watch: the one whose id the record names matters.
    Run(Arc<Run>),
    /// The verdicts on all regions, anew after every round (each second).
    Regions(Arc<Vec<RegionHealth>>),
    /// What became of a [`crate::Command::Swap`].
    Swapped {
        /// Which.
        attempt: u64,
        /// The result.
        outcome: Outcome,
    },
    /// What became of a [`crate::Command::Journal`].
    Journalled {
        /// Which.
        attempt: u64,
        /// The result.
        outcome: Outcome,
    },
    /// The holder says over the control interface that it is about to send this renewal.
    Announced(Announcement),
    /// A member asks for a promise over the control interface; it gets one
    /// [`crate::Command::AnswerPromise`] with the same number.
    PromiseAsked {
        /// The number of the request, chosen by the runtime.
        ask: u64,
        /// What is asked.
        promise: Promise,
    },
    /// A member has answered. Silence needs no event.
    PromiseAnswer {
        /// Who.
        from: RegionName,
        /// The epoch that was asked for.
        epoch: Epoch,
        /// The `sent_at` of the [`crate::Command::AskPromise`].
        sent_at: Moment,
        /// Yes or no.
        granted: bool,
    },
    /// The local database's state: every half second, and at once when the process ends.
    Database(DatabaseStatus),
    /// A [`crate::Command::Database`] has ended.
    Finished {
        /// Which.
        id: u64,
        /// What was seen; or what went wrong, in words.
        result: Result<Completed, String>,
    },
    /// A [`crate::Command::Remember`] failed (disk full); the later commands of its batch were dropped.
    NotRemembered {
        /// What went wrong.
        reason: String,
    },
    /// A [`crate::Command::Step`] has succeeded.
    StepDone {
        /// The run.
        run: RunId,
        /// Which step.
        step: Name,
        /// What was seen.
        detail: String,
    },
    /// A [`crate::Command::Step`] has failed; the machine asks again, as often as the step allows.
    StepFailed {
        /// The run.
        run: RunId,
        /// Which step.
        step: Name,
        /// What went wrong.
        reason: String,
    },
    /// The gateway of that region holds new transactions, as it was asked to.
    Held {
        /// Whose gateway.
        from: RegionName,
        /// Which hold it answers to.
        hold: HoldId,
        /// Sessions that are still inside a transaction; 0: nothing is under way.
        busy: u32,
    },
    /// The group's order as etcd has it, from the watch. `None`: there is none.
    Ordered(Option<Order>),
    /// What persons have said to a run, from the watch.
    Words(RunWords),
    /// Whether nothing may begin by itself, from the watch.
    Maintenance(Option<Maintenance>),
    /// The holder is asked to stop writing and give the lease up (orderly shutdown).
    StepDown {
        /// Why, for the log.
        reason: String,
    },
}

/// How a compare-and-set ended. Only a compare that failed is `Lost`; every error is `Unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was committed with this revision.
    Done(i64),
    /// A compare failed: nothing was written.
    Lost,
    /// It may or may not have been written, now or later.
    Unknown(String),
}

/// A database command that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The database afterwards. After `Seal` its `received` is final.
    pub status: DatabaseStatus,
    /// For the journal: `rewound, diverged WAL kept in …`.
    pub detail: String,
}

/// What must survive a restart of the node; kept on disk by the runtime as the machine hands it out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How often the node has started: makes every renewal's number unlike those of earlier lives.
    #[serde(default)]
    pub starts: u64,
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: Option<RegionName>,
    /// The epoch for which this member has sealed itself, for good.
    pub sealed: Option<Epoch>,
    /// The database here has been a primary (or may have been): it must rejoin before it follows.
    pub must_rejoin: bool,
    /// The last promise given. After a restart it counts anew from the beginning.
    pub promise: Option<PromiseKept>,
}

/// A promise on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseKept {
    /// To whom.
    pub holder: RegionName,
    /// For which reign.
    pub epoch: Epoch,
    /// For how long from when it was given, in milliseconds.
    pub for_ms: u64,
}
