//! Who may begin a transaction: how a planned move of the writer stops new ones and waits for the rest, and how
//! writes wait while too much of them could be lost.
//!
//! Beside the fence's moment each gate has a *hold*: up to which epoch, and until when, no new transaction
//! begins. And it counts the sessions of the write port that are in one, or have asked something that is not
//! answered ([`Turns`]). Both are atomic numbers, read and written in one order for all: a session counts
//! itself *before* it looks for a hold, and whoever holds looks at the count *after*. So when the count is
//! zero after [`Fence::hold`](crate::Fence::hold) has returned, no transaction of that epoch is under way and none
//! begins, whenever the tasks of the sessions run.
//!
//! **Sessions that another gateway sent are not held here.** Their own gateway is told to hold at nearly the
//! same time. What it let pass before that may arrive here after our hold began; kept here it would be lost
//! when the session moves, for the other gateway has passed it on and waits for the answer. So such a
//! transaction runs and is counted, and its own gateway begins no further one. The writer is quiet when *all*
//! gateways are. New sessions of other gateways are refused during a hold, and wait over there.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_model::{Epoch, Moment, RegionName};
use meridian_telemetry::clock;
use tokio::sync::Notify;

use crate::fence::Gate;

/// The hold of one data group, and who is busy.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Sessions to a writer of this epoch or a lower one are held …
    epoch: AtomicU64,
    /// … until then.
    until: AtomicU64,
    /// Why, for those who wait.
    reason: Mutex<String>,
    /// Counts changes, so that none is overlooked.
    changes: AtomicU64,
    /// Counts the times at which busy sessions were cut.
    cuts: AtomicU64,
    busy: AtomicUsize,
    quiet: Notify,
    /// Where the writer is being moved to.
    successor: Mutex<Option<RegionName>>,
}

/// What sessions need to hear of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orders {
    changes: u64,
    held: Option<Epoch>,
    /// Busy sessions that have seen a lower number end.
    pub(crate) cuts: u64,
}

impl Hold {
    /// Holds sessions up to that epoch. An order about an epoch that is over changes nothing.
    pub(crate) fn begin(&self, epoch: Epoch, until: Moment, reason: &str) {
        if self.epoch.fetch_max(epoch.0, Ordering::SeqCst) <= epoch.0 {
            reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
            self.until.store(until.as_nanos(), Ordering::SeqCst);
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Where the held sessions will go on, if all goes well.
    pub(crate) fn expect(&self, successor: RegionName) {
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(successor);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Where the writer is being moved to, during a hold.
    pub(crate) fn successor(&self) -> Option<RegionName> {
        self.remaining()?;
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn release(&self) {
        self.until.store(0, Ordering::SeqCst);
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks the busy sessions to end; says how many there are.
    pub(crate) fn cut(&self) -> usize {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.busy()
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }

    /// Returns when nobody is busy.
    pub(crate) async fn quiet(&self) {
        loop {
            let mut notified = std::pin::pin!(self.quiet.notified());
            notified.as_mut().enable();
            if self.busy() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// A session to a writer of that epoch may not begin anything now.
    pub(crate) fn holds(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.epoch.load(Ordering::SeqCst) && self.remaining().is_some()
    }

    /// Why sessions are held, or were last.
    pub(crate) fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the hold will last; none: there is none.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let until = Moment::from_nanos(self.until.load(Ordering::SeqCst));
        Some(until.since(clock::now())).filter(|left| !left.is_zero())
    }

    pub(crate) fn orders(&self) -> Orders {
        let held = self.remaining().map(|_| Epoch(self.epoch.load(Ordering::SeqCst)));
        let changes = self.changes.load(Ordering::SeqCst);
        Orders { changes, held, cuts: self.cuts.load(Ordering::SeqCst) }
    }

    fn done(&self) {
        if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.quiet.notify_waiters();
        }
    }
}

/// The turns of one session of the write port: it is busy or it is not.
#[derive(Debug)]
pub(crate) struct Turns {
    gate: Arc<Gate>,
    epoch: Epoch,
    /// Another gateway holds it.
    held_elsewhere: bool,
    busy: bool,
}

impl Turns {
    pub(crate) const fn new(gate: Arc<Gate>, epoch: Epoch, held_elsewhere: bool) -> Self {
        Self { gate, epoch, held_elsewhere, busy: false }
    }

    /// A transaction may begin, and is counted from now on.
    pub(crate) fn begin(&mut self) -> bool {
        if self.busy {
            return !self.is_held();
        }
        if self.is_held() {
            return false;
        }
        // Counted, then looked at again: see above.
        self.gate.hold().busy.fetch_add(1, Ordering::SeqCst);
        self.busy = true;
        if self.is_held() {
            self.end();
        }
        self.busy
    }

    /// Nothing is under way any more.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.gate.hold().done();
        }
    }

    /// What is not begun must wait.
    pub(crate) fn is_held(&self) -> bool {
        !self.held_elsewhere && self.gate.hold().holds(self.epoch)
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.busy
    }

    pub(crate) const fn is_held_elsewhere(&self) -> bool {
        self.held_elsewhere
    }

    /// The same writer goes on under a higher epoch.
    pub(crate) fn raise(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fence::Fence;
    use crate::testing::group;

    fn soon() -> Moment {
        clock::now() + Duration::from_secs(60)
    }

    fn turns(fence: &Fence, epoch: u64) -> Turns {
        Turns::new(fence.gate(&group()), Epoch(epoch), false)
    }

    #[test]
    fn a_hold_stops_its_epoch_and_older_ones_until_it_ends() {
        let fence = Fence::new();
        let (mut old, mut now, mut next) = (turns(&fence, 1), turns(&fence, 2), turns(&fence, 3));
        fence.hold(&group(), Epoch(2), soon(), "it is moved");
        assert!(!old.begin() && !now.begin() && next.begin());
        assert_eq!(fence.busy(&group()), 1, "who may not is not counted");
        fence.hold(&group(), Epoch(1), Moment::ZERO, "it is moved");
        assert!(!now.begin(), "an order of the past ends nothing");
        fence.release(&group());
        assert!(now.begin());
        fence.hold(&group(), Epoch(2), clock::now(), "it is moved");
        assert!(old.begin(), "the moment itself is outside");
        now.end();
        now.raise(Epoch(4));
        fence.hold(&group(), Epoch(3), soon(), "it is moved");
        assert!(now.begin(), "it goes on under a higher epoch");
    }

    #[test]
    fn who_is_busy_when_the_hold_begins_begins_nothing_further() {
        let fence = Fence::new();
        let mut session = turns(&fence, 1);
        assert!(session.begin());
        fence.hold(&group(), Epoch(1), soon(), "it is moved");
        assert!(!session.begin() && session.is_busy(), "what runs goes on");
        let mut sent = Turns::new(fence.gate(&group()), Epoch(1), true);
        assert!(sent.begin(), "another gateway holds it");
        drop((session, sent));
        assert_eq!(fence.busy(&group()), 0);
    }

    #[tokio::test]
    async fn quiet_is_when_the_last_one_is_done() {
        let fence = Fence::new();
        fence.quiet(&group()).await;
        let (mut one, mut two) = (turns(&fence, 1), turns(&fence, 1));
        assert!(one.begin() && two.begin());
        let waiting = tokio::spawn({
            let fence = Arc::clone(&fence);
            async move { fence.quiet(&group()).await }
        });
        one.end();
        assert_eq!((fence.busy(&group()), fence.cut(&group())), (1, 1));
        drop(two);
        waiting.await.unwrap();
    }

    /// Sessions begin and end as fast as they can; after a hold the count never rises from zero.
    #[test]
    fn after_a_hold_quiet_is_final() {
        let fence = Fence::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut session = turns(&fence, 1);
                    while session.begin() {
                        session.end();
                    }
                });
            }
            fence.hold(&group(), Epoch(1), soon(), "it is moved");
            while fence.busy(&group()) > 0 {
                std::thread::yield_now();
            }
        });
        assert_eq!(fence.busy(&group()), 0);
    }
}
