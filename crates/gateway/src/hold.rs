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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_model::group::HoldId;
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
    told: Mutex<Told>,
    /// The last epoch of which a writer was known here.
    written: AtomicU64,
    /// Counts changes, so that none is overlooked.
    changes: AtomicU64,
    /// Counts the times at which busy sessions were cut.
    cuts: AtomicU64,
    busy: AtomicUsize,
    quiet: Notify,
}

/// What was ordered last. Orders of one holder may overtake each other on their way here.
#[derive(Debug, Default)]
struct Told {
    hold: HoldId,
    /// It was ended by order.
    ended: bool,
    /// Why, for those who wait.
    reason: String,
    /// Where the writer is being moved to.
    successor: Option<RegionName>,
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
    /// Holds sessions up to its epoch; says so. An order that is older than the last one, or comes after its own
    /// end, changes nothing.
    pub(crate) fn begin(&self, hold: HoldId, until: Moment, reason: &str) -> bool {
        let mut told = self.told();
        if (hold, false) < (told.hold, told.ended) {
            return false;
        }
        let successor = told.successor.take().filter(|_| hold == told.hold);
        *told = Told { hold, ended: false, reason: reason.to_owned(), successor };
        self.epoch.store(hold.epoch.0, Ordering::SeqCst);
        self.until.store(until.as_nanos(), Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Where the sessions of that hold will go on, if all goes well.
    pub(crate) fn expect(&self, hold: HoldId, successor: RegionName) {
        let mut told = self.told();
        if (told.hold, told.ended) == (hold, false) {
            told.successor = Some(successor);
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Where the writer is being moved to, and for which epoch, during a hold. A switchover that succeeds ends no hold:
    /// what is still asked of the old writer must go on waiting. But from the first writer of a later epoch on the move
    /// is over, and so is what its successor was named for: every session that has moved there would call on it once
    /// more, and keep that connection until the hold ends by itself. This also holds for a name that comes later.
    pub(crate) fn successor(&self) -> Option<(RegionName, Epoch)> {
        self.remaining()?;
        let told = self.told();
        let over = told.hold.epoch.0 < self.written.load(Ordering::SeqCst);
        Some((told.successor.clone().filter(|_| !over)?, told.hold.epoch.next()))
    }

    /// There is a writer of that epoch.
    pub(crate) fn knows_writer(&self, epoch: Epoch) {
        self.written.fetch_max(epoch.0, Ordering::SeqCst);
    }

    /// Ends that hold, and what is asked of it later; a later hold goes on.
    pub(crate) fn release(&self, hold: HoldId) {
        let mut told = self.told();
        if hold < told.hold {
            return;
        }
        // A holder that does not count its holds asks for the next one by the same number.
        let ended = hold.attempt > 0;
        *told = Told { hold, ended, ..Told::default() };
        self.until.store(0, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.told().reason.clone()
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
    /// It came before this region is the writer: it only logs in, and nothing begins.
    early: bool,
    busy: bool,
}

impl Turns {
    pub(crate) const fn new(gate: Arc<Gate>, epoch: Epoch, held_elsewhere: bool) -> Self {
        Self { gate, epoch, held_elsewhere, early: false, busy: false }
    }

    /// Of a session that another gateway sent before this region is the writer.
    pub(crate) const fn early(gate: Arc<Gate>, epoch: Epoch) -> Self {
        Self { gate, epoch, held_elsewhere: true, early: true, busy: false }
    }

    pub(crate) const fn is_early(&self) -> bool {
        self.early
    }

    /// This region is the writer now.
    pub(crate) fn let_in(&mut self) {
        self.early = false;
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
        self.early || (!self.held_elsewhere && self.gate.hold().holds(self.epoch))
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

    const fn hold(epoch: u64, attempt: u64) -> HoldId {
        HoldId { epoch: Epoch(epoch), attempt }
    }

    fn turns(fence: &Fence, epoch: u64) -> Turns {
        Turns::new(fence.gate(&group()), Epoch(epoch), false)
    }

    #[test]
    fn a_hold_stops_its_epoch_and_older_ones_until_it_ends() {
        let fence = Fence::new();
        let (mut old, mut now, mut next) = (turns(&fence, 1), turns(&fence, 2), turns(&fence, 3));
        assert!(fence.hold(&group(), hold(2, 1), soon(), "it is moved"));
        assert!(!old.begin() && !now.begin() && next.begin());
        assert_eq!(fence.busy(&group()), 1, "who may not is not counted");
        assert!(!fence.hold(&group(), hold(1, 9), Moment::ZERO, "it is moved"));
        assert!(!now.begin(), "an order of the past ends nothing");
        fence.release(&group(), hold(2, 1));
        assert!(now.begin());
        assert!(fence.hold(&group(), hold(2, 2), clock::now(), "it is moved"));
        assert!(old.begin(), "the moment itself is outside");
        now.end();
        now.raise(Epoch(4));
        assert!(fence.hold(&group(), hold(3, 1), soon(), "it is moved"));
        assert!(now.begin(), "it goes on under a higher epoch");
    }

    /// The end of a switchover that was called off came after the hold of the next one in the same reign, and let
    /// transactions begin that nobody waited for.
    #[test]
    fn orders_about_an_earlier_hold_change_nothing() {
        let fence = Fence::new();
        let mut session = turns(&fence, 1);
        assert!(fence.hold(&group(), hold(1, 1), soon(), "the first"));
        fence.expect(&group(), hold(1, 1), crate::testing::there());
        assert!(fence.hold(&group(), hold(1, 2), soon(), "the second"));
        let gate = fence.gate(&group());
        assert_eq!(gate.hold().successor(), None, "the first one's");
        fence.release(&group(), hold(1, 1));
        fence.expect(&group(), hold(1, 1), crate::testing::there());
        assert!(!fence.hold(&group(), hold(1, 1), Moment::ZERO, "the first"));
        assert!(!session.begin(), "the second goes on");
        assert_eq!((gate.hold().successor(), gate.hold().reason()), (None, "the second".to_owned()));
        fence.expect(&group(), hold(1, 2), crate::testing::there());
        assert_eq!(gate.hold().successor(), Some((crate::testing::there(), Epoch(2))));
        fence.release(&group(), hold(1, 2));
        assert!(!fence.hold(&group(), hold(1, 2), soon(), "the second"), "asked again before its end came");
        assert!(session.begin());
    }

    /// As a node does that does not count its holds yet.
    #[test]
    fn a_hold_without_a_number_can_be_asked_for_again() {
        let fence = Fence::new();
        for _ in 0..2 {
            assert!(fence.hold(&group(), hold(1, 0), soon(), "it is moved"));
            assert!(!turns(&fence, 1).begin());
            fence.release(&group(), hold(1, 0));
            assert!(turns(&fence, 1).begin());
        }
    }

    #[test]
    fn who_is_busy_when_the_hold_begins_begins_nothing_further() {
        let fence = Fence::new();
        let mut session = turns(&fence, 1);
        assert!(session.begin());
        assert!(fence.hold(&group(), hold(1, 1), soon(), "it is moved"));
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
            assert!(fence.hold(&group(), hold(1, 1), soon(), "it is moved"));
            while fence.busy(&group()) > 0 {
                std::thread::yield_now();
            }
        });
        assert_eq!(fence.busy(&group()), 0);
    }
}
