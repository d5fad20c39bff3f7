//! Every limit of the machine that is not a timer of the spec.

use std::time::Duration;

/// A compare-and-set without an answer for this long counts as unknown, and the next may be sent.
pub(crate) const SWAP_PATIENCE: Duration = Duration::from_secs(1);
/// A read of the record is repeated after this long.
pub(crate) const READ_AGAIN: Duration = Duration::from_millis(500);
/// So long before a lease expires the record is read once more, so that a watch that hangs is not
/// taken for a holder that is gone.
pub(crate) const CONFIRM_EARLY: Duration = Duration::from_secs(1);
/// A member reports at least this often.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Asynchronous replication: how long a sealed member waits for the positions of the others.
pub(crate) const SEAL_WAIT: Duration = Duration::from_millis(1_500);
/// How long the run waits for standbys to follow the new writer before it goes on without them.
pub(crate) const REPOINT_WAIT: Duration = Duration::from_secs(10);
/// A step that failed is tried again after this long.
pub(crate) const STEP_AGAIN: Duration = Duration::from_secs(1);
/// A step without an answer so long after its own timeout is asked for again (steps are idempotent).
pub(crate) const STEP_GRACE: Duration = Duration::from_secs(10);
/// A journal entry without an answer for this long is written again.
pub(crate) const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);
/// The first wait after a failed database action; it doubles up to [`RETRY_MAX`].
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest wait after a failed database action.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(4);
/// So often the database may crash within [`CRASH_WINDOW`] before the lease is given up.
pub(crate) const CRASHES_MAX: usize = 2;
/// See [`CRASHES_MAX`].
pub(crate) const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// A restart in place may take so long before the lease is given up, if a standby could take over.
pub(crate) const RESTART_PATIENCE: Duration = Duration::from_secs(20);
/// So often making the database a primary may fail before the lease is given up.
pub(crate) const PROMOTE_TRIES: u32 = 3;
/// So often following may fail before the member rejoins from scratch.
pub(crate) const FOLLOW_TRIES: u32 = 5;
/// A standby that does not stream for this long although its upstream is well has diverged.
pub(crate) const STREAM_PATIENCE: Duration = Duration::from_secs(15);
/// A rejoin on suspicion is not repeated sooner.
pub(crate) const REJOIN_AGAIN: Duration = Duration::from_secs(60);
/// A restarted holder waits this long to see the run that it was carrying out.
pub(crate) const RUN_WAIT: Duration = Duration::from_secs(1);
/// Attempts whose outcome is unknown that are kept to be recognised.
pub(crate) const GHOSTS_MAX: usize = 64;
/// Renewals of the holder that a standby remembers, to measure how far it lags.
pub(crate) const WAL_SEEN_MAX: usize = 64;
/// Announced renewals that a standby remembers: those of half a minute, longer than any election.
pub(crate) const ANNOUNCED_MAX: usize = 64;
/// Runs seen in etcd that are remembered.
pub(crate) const RUNS_SEEN_MAX: usize = 8;
/// Moves within one step; more would be a circle.
pub(crate) const MOVES_MAX: usize = 8;
/// A step before the demotion that is tried until it succeeds is waited for as if it had so many tries; then the
/// switchover is called off.
pub(crate) const EARLY_TRIES: u32 = 10;
/// An orderly stop within a switchover may take so long; a checkpoint went before it.
pub(crate) const STOP_IN_ORDER: Duration = Duration::from_secs(3);
/// A successor that had everything so long ago lacks little now; after that it is asked once more before the stop.
pub(crate) const CAUGHT_UP_LASTS: Duration = Duration::from_secs(1);
/// Gateways hold so much longer than a switchover may take at most, for the way of the news.
pub(crate) const HOLD_BEYOND: Duration = Duration::from_secs(2);
/// Gateways hold writes for so long at a time while the RPO is not kept: a writer that is lost holds nobody for long.
pub(crate) const BLOCK_FOR: Duration = Duration::from_secs(15);
/// So long before its end such a hold is asked for again.
pub(crate) const BLOCK_AGAIN: Duration = Duration::from_secs(10);
/// An order that is being carried out is made to last so long from now when less than half of that is left.
pub(crate) const ORDER_LASTS: Duration = Duration::from_secs(60);
/// What became of an order is said again after so long while etcd still shows it open.
pub(crate) const ORDER_AGAIN: Duration = Duration::from_secs(5);
/// Orders that were ended here and may still be shown open.
pub(crate) const ORDERS_ENDED_MAX: usize = 8;
