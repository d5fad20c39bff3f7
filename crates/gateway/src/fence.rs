//! What makes the local writer unable to acknowledge, before anyone else may write.
//!
//! Each data group has a gate: one atomic number, the [`Moment`] until which the *local* writer may
//! acknowledge. It starts closed. The owner of the lease (the node's loop) moves it ahead with each
//! acknowledged renewal ([`Fence::allow_until`]) and closes it when the reign ends ([`Fence::close`]).
//! The gateway compares it with the boot-time clock immediately before each `send` toward a client
//! of the local writer (`stream.rs`), so that no timer has to fire and no task has to be scheduled: a
//! process that was frozen beyond the moment and wakes late cannot pass an acknowledgement on.
//!
//! **The window that remains**: bytes that were given to the kernel before the freeze are sent by the
//! kernel whenever it runs again, and between reading the clock and the `send` there are some hundred
//! nanoseconds in which the process itself can be frozen. Both concern only answers that PostgreSQL gave while
//! the lease was good.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use meridian_model::group::HoldId;
use meridian_model::{GroupName, Moment, RegionName};
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::hold::Hold;

/// The fence of all local writers of one node.
#[derive(Debug)]
pub struct Fence {
    gates: RwLock<HashMap<GroupName, Arc<Gate>>>,
}

/// The fence of one data group.
#[derive(Debug)]
pub struct Gate {
    until: AtomicU64,
    reason: Mutex<String>,
    changes: watch::Sender<()>,
    hold: Hold,
}

impl Fence {
    /// All gates closed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { gates: RwLock::default() })
    }

    /// The local writer of `group` may acknowledge while `clock::now() < until`. An earlier moment than
    /// the one that holds changes nothing (answers to renewals may overtake each other).
    pub fn allow_until(&self, group: &GroupName, until: Moment) {
        let gate = self.gate(group);
        gate.until.fetch_max(until.as_nanos(), Ordering::SeqCst);
        gate.changes.send_replace(());
    }

    /// The local writer of `group` may not acknowledge anything from now on. When this returns, no
    /// check passes any more (see above for a `send` whose check has just passed); `reason` is told to
    /// the clients whose sessions it ends.
    pub fn close(&self, group: &GroupName, reason: &str) {
        let gate = self.gate(group);
        reason.clone_into(&mut gate.reason());
        gate.until.store(0, Ordering::SeqCst);
        gate.changes.send_replace(());
    }

    /// Until when the local writer of `group` may acknowledge; [`Moment::ZERO`] when closed.
    #[must_use]
    pub fn allowed_until(&self, group: &GroupName) -> Moment {
        self.gate(group).until()
    }

    /// From now until `until`, sessions of the write port whose writer is of that epoch (or a lower one)
    /// begin no new transaction; what their clients ask next is kept, and new sessions wait. What is under
    /// way goes on. The hold ends at that moment by itself, with [`Fence::release`], and for each session
    /// that reaches a writer of a higher epoch. Holding again sets another moment. `reason` is told to clients
    /// that have waited too long. Says whether it is in force: it is not when a later hold is known, or its own end.
    pub fn hold(&self, group: &GroupName, hold: HoldId, until: Moment, reason: &str) -> bool {
        let gate = self.gate(group);
        let begun = gate.hold.begin(hold, until, reason);
        gate.changes.send_replace(());
        begun
    }

    /// The writer is being moved to that region: sessions that are held call on its gateway already, which lets
    /// them in when it has become the writer. Ends with the hold; changes nothing when that is over.
    pub fn expect(&self, group: &GroupName, hold: HoldId, successor: RegionName) {
        let gate = self.gate(group);
        gate.hold.expect(hold, successor);
        gate.changes.send_replace(());
    }

    /// Ends the hold, unless a later one is known: sessions go on where they are.
    pub fn release(&self, group: &GroupName, hold: HoldId) {
        let gate = self.gate(group);
        gate.hold.release(hold);
        gate.changes.send_replace(());
    }

    /// How many sessions of the write port are in a transaction, have asked something that is not yet
    /// answered, or are logging in.
    #[must_use]
    pub fn busy(&self, group: &GroupName) -> usize {
        self.gate(group).hold.busy()
    }

    /// Returns when no session is busy. During a hold that is final here, but for sessions that another
    /// gateway sends: the writer is quiet when the gateways of *all* regions are.
    pub fn quiet(&self, group: &GroupName) -> impl Future<Output = ()> + Send + use<> {
        let gate = self.gate(group);
        async move { gate.hold.quiet().await }
    }

    /// Ends the sessions that are busy, with a message that says why. Says how many were busy at this
    /// instant; one that becomes idle before its task runs stays. PostgreSQL may go on with what such a
    /// session asked until it is stopped itself; nobody is told that it was done.
    pub fn cut(&self, group: &GroupName) -> usize {
        let gate = self.gate(group);
        let busy = gate.hold.cut();
        gate.changes.send_replace(());
        busy
    }

    /// The gate of `group`; made, closed, when there is none.
    #[must_use]
    pub fn gate(&self, group: &GroupName) -> Arc<Gate> {
        let read = self.gates.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = read.get(group) {
            return Arc::clone(gate);
        }
        drop(read);
        let mut write = self.gates.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(write.entry(group.clone()).or_default())
    }
}

impl Default for Gate {
    fn default() -> Self {
        let reason = Mutex::new("no lease has been granted to this node yet".to_owned());
        Self { until: AtomicU64::new(0), reason, changes: watch::Sender::new(()), hold: Hold::default() }
    }
}

impl Gate {
    /// The local writer may acknowledge at this instant.
    #[must_use]
    pub fn is_open(&self) -> bool {
        clock::now() < self.until()
    }

    /// Until when it may; [`Moment::ZERO`] when closed.
    #[must_use]
    pub fn until(&self) -> Moment {
        Moment::from_nanos(self.until.load(Ordering::SeqCst))
    }

    /// Why it is closed, in words for a client.
    #[must_use]
    pub fn why_closed(&self) -> String {
        if self.until() == Moment::ZERO {
            return self.reason().clone();
        }
        "the lease of the local writer was not renewed in time".to_owned()
    }

    /// Wakes with each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Who may begin a transaction.
    pub(crate) const fn hold(&self) -> &Hold {
        &self.hold
    }

    fn reason(&self) -> MutexGuard<'_, String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn group() -> GroupName {
        GroupName::new("orders").unwrap()
    }

    #[test]
    fn closed_until_allowed_and_after_the_moment() {
        let fence = Fence::new();
        let gate = fence.gate(&group());
        assert!(!gate.is_open(), "starts closed");
        fence.allow_until(&group(), clock::now() + Duration::from_secs(60));
        assert!(gate.is_open());
        assert_eq!(fence.allowed_until(&group()), gate.until());
        fence.close(&group(), "the region is being switched over");
        assert!(!gate.is_open());
        assert_eq!(gate.why_closed(), "the region is being switched over");
        fence.allow_until(&group(), clock::now());
        assert!(!gate.is_open(), "the moment itself is outside");
        assert!(gate.why_closed().contains("not renewed"));
    }

    #[test]
    fn an_overtaken_renewal_takes_nothing_back() {
        let fence = Fence::new();
        let late = clock::now() + Duration::from_secs(60);
        fence.allow_until(&group(), late);
        fence.allow_until(&group(), late - Duration::from_secs(1));
        assert_eq!(fence.allowed_until(&group()), late);
    }

    #[test]
    fn groups_do_not_share_a_gate() {
        let fence = Fence::new();
        fence.allow_until(&group(), clock::now() + Duration::from_secs(60));
        assert!(!fence.gate(&GroupName::new("users").unwrap()).is_open());
    }
}
