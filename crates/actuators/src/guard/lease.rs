//! The lease in the commit path: without the guard's word PostgreSQL acknowledges no commit.
//!
//! Killing a server takes a moment, and a machine that slept wakes its processes in any order: a backend
//! that is faster than the guard would acknowledge a write long after the lease has run out. So under
//! asynchronous replication `synchronous_standby_names` names one "standby", `meridian_lease`, which is no
//! database but this thread, connected to its own server as a replica. It throws the log away and says "I
//! have it" only while its deadline has not passed by the boot-time clock, looked at just before it
//! says so. Whoever wakes first, nothing that is committed after the deadline is acknowledged to anybody,
//! past the gateway too. (Under quorum replication the sealed standbys do the same.)
//!
//! What is left: what this thread said before its deadline may be heard after it. A commit that was on disk
//! and confirmed in the instant in which the machine fell asleep is acknowledged when it wakes up, as if
//! the network had held the message up. And a session may ask not to wait: by `synchronous_commit = local`
//! or `off`, or by cancelling a commit that waits (it is warned; the gateway withholds that answer).
//!
//! What it costs, by `script/lease-cost` (pgbench; with, as a part of without, in turns in one run; three runs of
//! it, the guard from a debug build, on two cores that others used too). The disk switched between two speeds, and
//! the rounds were told apart afterwards by their rate, which the script does not do: with a sync of 0.2 ms,
//! inserts of one row went at 0.69, 0.66 and 0.74 of the rate with 1, 4 and 8 clients, TPC-B at 0.84, 0.94 and
//! 0.87 (medians): 0.1 to 0.2 ms more a commit. While it took some 4 ms there was nothing to see, and inserts
//! by several clients went faster, because commits that wait are synced together; over all 36 rounds the
//! medians are 0.93, 1.46, 1.21 and 0.90, 0.94, 0.90. In a hand-over the
//! shutdown takes 43 ms instead of 40 and the promotion 52 instead of 51, a start 58 instead of 57 (medians).

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use meridian_model::Moment;
use meridian_telemetry::clock;

use super::wire::{Door, News, Wire};
use crate::error::ActuatorError;

/// Until when commits may be acknowledged, and the thread that does it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Nanoseconds of the boot-time clock; 0: never.
    until: AtomicU64,
    thread: OnceLock<Thread>,
}

impl Lease {
    /// Starts answering the server behind that door, whenever there is one.
    pub(super) fn answer(self: &Arc<Self>, door: Door) -> Result<(), ActuatorError> {
        let lease = Arc::clone(self);
        let handle = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || lease.keep(&door))
            .map_err(|e| ActuatorError::file("starting a thread for", "the lease", e))?;
        let _only_one_door_is_given = self.thread.set(handle.thread().clone());
        Ok(())
    }

    /// A new deadline; none: nothing is acknowledged.
    pub(super) fn until(&self, at: Option<Moment>) {
        self.until.store(at.map_or(0, Moment::as_nanos), Ordering::SeqCst);
        self.look();
    }

    /// The server may have come up just now.
    pub(super) fn look(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn holds(&self) -> bool {
        clock::now().as_nanos() < self.until.load(Ordering::SeqCst)
    }

    fn keep(&self, door: &Door) {
        let mut told = String::new();
        loop {
            while !self.holds() {
                thread::park();
            }
            let mut answered = false;
            let Err(error) = Wire::open(door).and_then(|wire| self.confirm_all(wire, &mut answered));
            let error = error.to_string();
            if error != told {
                tracing::info!(%error, "commits are not confirmed for now");
            }
            if answered {
                told.clear();
            } else {
                told = error;
                thread::park_timeout(AGAIN);
            }
        }
    }

    /// Confirms what the server commits, until the lease runs out or the server goes away.
    fn confirm_all(&self, mut wire: Wire, answered: &mut bool) -> io::Result<Infallible> {
        loop {
            let mut place = wire.stream()?;
            wire.confirm(place, true, || self.holds())?;
            *answered = true;
            loop {
                match wire.next()? {
                    News::Log(end) => place = place.max(end),
                    News::Asked => {}
                    News::TimelineEnd => break,
                }
                wire.confirm(place, false, || self.holds())?;
            }
        }
    }
}

/// How long it waits before it knocks again at a server that did not let it in; the node says when it has
/// come up.
const AGAIN: Duration = Duration::from_millis(50);
