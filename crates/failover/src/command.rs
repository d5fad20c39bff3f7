//! Everything that the machine can ask for: one enum, one page.
//!
//! The runtime carries the commands of one step out in their order. A [`Command::Remember`] is on disk
//! before any later command begins. All others are started in order and may run side by side, with one
//! exception: database actions run one at a time, in order, and `Stop` pre-empts the running one (which
//! then counts as failed; its `Finished` may be left out).

use std::sync::Arc;
use std::time::Duration;

use meridian_model::group::{Announcement, GroupRecord, HoldId, MemberReport, Promise, Quorum, WalPosition};
use meridian_model::name::{Name, RegionName, RunId};
use meridian_model::order::Order;
use meridian_model::run::Run;
use meridian_model::{Epoch, Moment};

use crate::event::Memory;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Change the record by compare-and-set; ends in [`crate::Event::Swapped`], within a second or two.
    Swap(Box<Swap>),
    /// Read the record linearizably; ends in [`crate::Event::Record`] with the same `asked`, or in nothing.
    ReadRecord {
        /// Handed back with the answer.
        asked: Moment,
    },
    /// Write the run, comparing that the epoch key still holds `run.epoch`; ends in [`crate::Event::Journalled`].
    Journal {
        /// The number of the attempt.
        attempt: u64,
        /// The run as it now stands.
        run: Arc<Run>,
    },
    /// Publish what this member tells the group (a plain put; its failure needs no event).
    Report(MemberReport),
    /// Tell every other member, directly and at once, that this renewal (or this hand-over) is about to be sent. No
    /// answer is waited for; what does not arrive only makes expiry, or the successor, later.
    Announce(Announcement),
    /// Ask a member for a promise; ends in [`crate::Event::PromiseAnswer`], or in nothing.
    AskPromise {
        /// Whom.
        to: RegionName,
        /// For what.
        promise: Promise,
        /// Handed back with the answer.
        sent_at: Moment,
    },
    /// Answer a member that asked.
    AnswerPromise {
        /// The number of the request.
        ask: u64,
        /// Yes or no.
        granted: bool,
        /// Why not, or until when.
        reason: String,
    },
    /// Keep this on disk, synced. If that fails, drop the rest of this batch and send
    /// [`crate::Event::NotRemembered`].
    Remember(Memory),
    /// The local gateway may acknowledge writes until that moment, and not later, whatever happens to
    /// the machine. Comes again with a later moment after every renewal.
    OpenWrites {
        /// The reign.
        epoch: Epoch,
        /// The hard end.
        until: Moment,
    },
    /// The local gateway acknowledges no write any more and closes the sessions of writers.
    CloseWrites {
        /// Why, for the clients.
        reason: String,
    },
    /// `Some`: a watchdog thread of the runtime kills PostgreSQL at that moment, whatever else the
    /// runtime does, unless this comes again with a later one. It also cancels a running database
    /// action, and it fires once. `None`: it is disarmed.
    DatabaseFence {
        /// When.
        at: Option<Moment>,
    },
    /// Do something with the local database; ends in [`crate::Event::Finished`].
    Database {
        /// The number of the action.
        id: u64,
        /// What.
        action: DatabaseAction,
    },
    /// Carry out a step of the run that is neither the database's nor the machine's, within its own
    /// timeout. Ends in [`crate::Event::StepDone`] or [`crate::Event::StepFailed`].
    Step {
        /// Its name.
        step: Name,
        /// The run.
        run: Arc<Run>,
    },
    /// End what [`Self::Step`] began, and whatever program it has started: its run was ended. Nothing answers.
    EndStep {
        /// The run.
        run: RunId,
        /// Its name.
        step: Name,
    },
    /// Ask the gateways of all regions, this one included, to hold new write transactions of that epoch.
    /// Each answers when nothing is under way there: [`crate::Event::Held`], or nothing.
    Hold {
        /// Which hold it is; answers name it.
        hold: HoldId,
        /// The hold ends by itself then.
        until: Moment,
        /// Where the held sessions will go on, if the writer is to move.
        to: Option<RegionName>,
        /// Why, for the clients.
        reason: String,
    },
    /// The gateways of all regions hold nothing any more.
    Unhold {
        /// The hold that ends; a later one goes on.
        hold: HoldId,
    },
    /// The local gateway ends the sessions whose transaction has not ended: the deadline has passed.
    CutSessions,
    /// Say what became of an order, where the asker looks for it: only if it is still that one, and open. Nothing
    /// answers; it comes again until [`crate::Event::Ordered`] shows that the order has ended.
    EndOrder(Order),
    /// Say there until when an order lasts that is being carried out.
    ProlongOrder(Order),
    /// Say so in the log.
    Log {
        /// How loud.
        level: Level,
        /// The sentence.
        text: String,
    },
}

/// How loud a sentence for the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The usual course.
    Info,
    /// Somebody should look.
    Warn,
}

/// One compare-and-set of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The number of the attempt.
    pub attempt: u64,
    /// What for.
    pub purpose: Purpose,
    /// What the record must be for this to succeed.
    pub expect: Expect,
    /// The new record. A claim also writes the epoch key with `record.epoch`, in the same transaction.
    pub record: GroupRecord,
    /// A claim's run, written in the same transaction.
    pub run: Option<Run>,
}

/// What a compare-and-set of the record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The holder renews its lease: same epoch.
    Renew,
    /// A new epoch begins.
    Claim,
    /// The holder gives its lease up.
    Release,
}

/// What the record must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// There must be none.
    Absent,
    /// Its mod revision must be this.
    Revision(i64),
    /// It must be exactly this one, which its holder has told of and etcd has not shown yet: it comes after this
    /// revision.
    Told(Box<GroupRecord>, i64),
}

/// What to do with the local database. All are idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAction {
    /// Make an empty database (initdb), not started. One that is already there is left alone.
    Initialise,
    /// Start it as a primary.
    StartPrimary {
        /// The reign.
        epoch: Epoch,
        /// Whose acknowledgements count from the first commit on; none: as the spec says.
        quorum: Option<Quorum>,
    },
    /// Stop it at once (immediate mode, then kill). Pre-empts a running action. Done when no process is left.
    Stop,
    /// Make the running (or stopped) standby a primary.
    Promote {
        /// The reign.
        epoch: Epoch,
        /// Whose acknowledgements count from the first commit on; none: as the spec says.
        quorum: Option<Quorum>,
    },
    /// A primary: change whose acknowledgements count. Done when that holds for every commit that is
    /// acknowledged from then on; the status afterwards is not older than that. After a failure the old
    /// setting or the new one may be in force.
    SetQuorum(Quorum),
    /// A primary: transactions are for reading only from now on unless they ask for more, or as usual again.
    SetReadOnly(bool),
    /// Run as a standby of that member, started or only re-pointed.
    Follow {
        /// Whom.
        upstream: RegionName,
        /// The reign.
        epoch: Epoch,
    },
    /// Make a base backup from that member, not started.
    Clone {
        /// From whom.
        source: RegionName,
    },
    /// Make a database that may have diverged a copy of that member's again: keep its WAL, rewind,
    /// else clone. Touches nothing before the source has answered. Not started afterwards.
    Rejoin {
        /// From whom.
        source: RegionName,
        /// The reign.
        epoch: Epoch,
    },
    /// Drop the connection to the upstream for good (also over restarts); go on serving reads.
    Seal,
    /// While writes go on: make a later stop short, and see that this member streams from here.
    PrepareHandover {
        /// The successor.
        to: RegionName,
    },
    /// Wait until that member has everything that was written here.
    CatchUp {
        /// The successor.
        to: RegionName,
        /// For how long at most.
        within: Duration,
    },
    /// Stop in good order, so that the standbys get the rest; killed when it takes longer. The status
    /// afterwards has in `received` where the shutdown checkpoint begins.
    StopInOrder {
        /// For how long at most.
        within: Duration,
    },
    /// Wait until the standby has replayed beyond that place.
    Replay {
        /// Where the old writer's shutdown checkpoint begins.
        beyond: WalPosition,
        /// For how long at most.
        within: Duration,
    },
}

impl DatabaseAction {
    /// One word for logs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Initialise => "initialise",
            Self::StartPrimary { .. } => "start as primary",
            Self::Stop => "stop",
            Self::Promote { .. } => "promote",
            Self::SetQuorum(_) => "set the quorum of",
            Self::SetReadOnly(true) => "keep writes off",
            Self::SetReadOnly(false) => "let writes into",
            Self::Follow { .. } => "follow",
            Self::Clone { .. } => "clone",
            Self::Rejoin { .. } => "rejoin",
            Self::Seal => "seal",
            Self::PrepareHandover { .. } => "prepare to hand over",
            Self::CatchUp { .. } => "let the successor catch up",
            Self::StopInOrder { .. } => "stop in order",
            Self::Replay { .. } => "replay to the end",
        }
    }
}
