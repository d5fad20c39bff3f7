//! Where sessions of one data group go, and which of the running ones may stay.
//!
//! The one place of this crate that reads a [`View`]. A keeper task per database joins the view with
//! the fence and publishes [`Routes`]; sessions watch those and nothing else.
//!
//! - The write port leads to the writer: in this region straight to its PostgreSQL, else to the write
//!   port of the writer's own gateway, because that is where its fence stands. Such a second-hand
//!   session carries a mark and is never sent on ([`HOP`]), so that two gateways with different views
//!   cannot play ball with it.
//! - The read port leads to the readers in the order of the view, straight to their PostgreSQL.

use std::net::SocketAddr;
use std::sync::Arc;

use meridian_model::{Epoch, GroupName, RegionName};
use meridian_steering::{View, WriterChoice};
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::fence::Gate;
use crate::hold::Orders;

/// The startup parameter that marks a session which another gateway sends. It never reaches
/// PostgreSQL. A client that sets it itself only gets less: the writer of this region or none.
pub(crate) const HOP: &str = "meridian.hop";
/// Its value when the session waits until this region is the writer: it will be, soon.
pub(crate) const HOP_EARLY: &str = "early";

/// Which of a database's two ports.
pub use meridian_telemetry::events::GatewayPort as Port;

/// A server that a session may be led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) region: RegionName,
    pub(crate) address: SocketAddr,
    pub(crate) epoch: Epoch,
    /// It is the database of this region.
    pub(crate) local: bool,
    /// Another gateway stands between.
    pub(crate) hop: bool,
}

/// All routes of one data group at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) epoch: Epoch,
    /// Where writes go, or why nowhere.
    pub(crate) write: Result<Target, String>,
    /// Where reads go, the best first.
    pub(crate) read: Vec<Target>,
    /// The database of this region is the writer, or was the last one that was known. Sessions to it
    /// stand behind the fence, whichever port they came by.
    pub(crate) fenced_here: bool,
    /// That fence is closed.
    pub(crate) shut: bool,
    /// Where the writer will be, while it is being moved: the gateway of another region, or the database of this one.
    pub(crate) next: Option<Target>,
    /// Whether sessions of the write port may begin something. A change of it must reach them too.
    pub(crate) orders: Orders,
}

/// What routes mean for a running session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It stays, under that epoch.
    Stays(Epoch),
    /// It came before this region is the writer, and goes on waiting for that.
    Waits,
    /// It must leave its server, and why.
    Leaves(String),
}

impl Routes {
    /// Nothing is known.
    pub(crate) fn none() -> Self {
        let write = Err("nothing is known yet".to_owned());
        let orders = Orders::default();
        let (read, next) = (Vec::new(), None);
        Self { epoch: Epoch::NONE, write, read, fenced_here: false, shut: false, next, orders }
    }

    /// What the view says, cut down by the fence. `before` carries over who wrote last.
    fn new(view: &View, group: &GroupName, gate: &Gate, before: &Self) -> Self {
        let choice = view.writer(group);
        let epoch = choice.epoch();
        let fenced_here = match &choice {
            WriterChoice::Local { .. } => true,
            WriterChoice::Remote { .. } => false,
            WriterChoice::Nobody { .. } => before.fenced_here,
        };
        let shut = fenced_here && !gate.is_open();
        let write = match choice {
            WriterChoice::Local { .. } if shut => Err(gate.why_closed()),
            WriterChoice::Local { database, epoch } => {
                Ok(Target { region: view.here.clone(), address: database, epoch, local: true, hop: false })
            }
            WriterChoice::Remote { region, gateway, epoch, .. } => {
                let address = nth(gateway, position(view, group));
                Ok(Target { region, address, epoch, local: false, hop: true })
            }
            WriterChoice::Nobody { reason, .. } => Err(reason),
        };
        let readers = view.readers(group).into_iter().map(|reader| {
            let local = reader.region == view.here;
            Target { region: reader.region, address: reader.database, epoch, local, hop: false }
        });
        let read = readers.filter(|target| !(target.local && shut)).collect();
        let next = successor(view, group, gate);
        Self { epoch, write, read, fenced_here, shut, next, orders: gate.hold().orders() }
    }

    /// Where a new session may go, the best first. One that another gateway sent stays in this region.
    pub(crate) fn targets(&self, port: Port, hopped: bool) -> &[Target] {
        let targets = match port {
            Port::Write => self.write.as_ref().map(std::slice::from_ref).unwrap_or_default(),
            Port::Read => &self.read,
        };
        if hopped && targets.iter().any(|t| !t.local) { &[] } else { targets }
    }

    /// Why a new session has nowhere to go.
    pub(crate) fn why_nowhere(&self, port: Port) -> String {
        match (port, &self.write) {
            (Port::Write, Err(reason)) => reason.clone(),
            (Port::Write, Ok(writer)) => format!("the writer is in `{}`, not in this region", writer.region),
            (Port::Read, _) => "no database is known to be up and fresh enough for reads".to_owned(),
        }
    }

    /// Whether a running session may stay at its server.
    ///
    /// On the write port it stays until another region is known to write, as long as the fence in front of
    /// its server lets it: here that is our own gate, elsewhere it is the other gateway's, which ends the session
    /// itself. So it also outlives a new epoch of the same writer: if that had written under no epoch in
    /// between, its PostgreSQL would have been stopped, and the connection would not live.
    pub(crate) fn stance(&self, port: Port, target: &Target) -> Stance {
        let ended = |by: String| Stance::Leaves(format!("epoch {} {by}", target.epoch));
        match (port, &self.write) {
            (Port::Write, Ok(now)) if now.region == target.region => Stance::Stays(now.epoch),
            (Port::Write, Ok(now)) => {
                ended(format!("has ended; `{}` writes in epoch {}", now.region, now.epoch))
            }
            (Port::Write, Err(reason)) if target.local && self.shut => ended(format!("is fenced: {reason}")),
            (Port::Write, Err(_)) => Stance::Stays(target.epoch),
            (Port::Read, _) if self.read.iter().any(|t| t.region == target.region) => {
                Stance::Stays(target.epoch)
            }
            (Port::Read, _) => {
                Stance::Leaves(format!("the database in `{}` may not serve reads now", target.region))
            }
        }
    }
}

impl Routes {
    /// Where a session goes that another gateway sent before this region is the writer: it logs in already.
    pub(crate) fn targets_of_early(&self) -> &[Target] {
        match (&self.write, &self.next) {
            (Ok(now), _) if now.local => std::slice::from_ref(now),
            (_, Some(next)) if next.local => std::slice::from_ref(next),
            _ => &[],
        }
    }

    /// Whether such a session may stay, and begin.
    pub(crate) fn stance_of_early(&self, target: &Target) -> Stance {
        match self.targets_of_early() {
            [now] if now.address != target.address => {
                Stance::Leaves("the database of this region has moved".to_owned())
            }
            [now] if self.write.as_ref() == Ok(now) => Stance::Stays(now.epoch),
            [_] => Stance::Waits,
            _ => Stance::Leaves("the writer is not being moved to this region any more".to_owned()),
        }
    }
}

/// Publishes routes until the views or all readers of the routes are gone. After the views are gone
/// the fence still counts: the last view goes on (static stability).
pub(crate) async fn keep(
    group: GroupName,
    mut views: watch::Receiver<Arc<View>>,
    gate: Arc<Gate>,
    routes: watch::Sender<Arc<Routes>>,
) {
    let mut fence = gate.changes();
    let mut viewing = true;
    loop {
        fence.mark_unchanged();
        publish(&group, &views.borrow_and_update(), &gate, &routes);
        tokio::select! {
            changed = views.changed(), if viewing => viewing = changed.is_ok(),
            _ = fence.changed() => {}
            () = until_shut(&gate) => {}
            () = until_released(&gate) => {}
            () = routes.closed() => return,
        }
    }
}

fn publish(group: &GroupName, view: &View, gate: &Gate, routes: &watch::Sender<Arc<Routes>>) {
    match view.writer(group) {
        WriterChoice::Local { epoch, .. } | WriterChoice::Remote { epoch, .. } => {
            gate.hold().knows_writer(epoch);
        }
        WriterChoice::Nobody { .. } => {}
    }
    routes.send_if_modified(|current| {
        let next = Routes::new(view, group, gate, current);
        let differs = **current != next;
        if differs {
            *current = Arc::new(next);
        }
        differs
    });
}

/// The region to which the writer is being moved.
fn successor(view: &View, group: &GroupName, gate: &Gate) -> Option<Target> {
    let (region, epoch) = gate.hold().successor()?;
    if region == view.here {
        let database = view.system.databases.iter().find(|d| &d.name == group)?;
        let address = database.member(&region)?.address;
        return Some(Target { region, address, epoch, local: true, hop: false });
    }
    let gateway = view.system.region(&region)?.node.gateway_write;
    let address = nth(gateway, position(view, group));
    Some(Target { region, address, epoch, local: false, hop: true })
}

/// The port of the `nth` database of a spec, counted from 0: each has two.
pub(crate) fn nth(first: SocketAddr, nth: u16) -> SocketAddr {
    match first.port() {
        0 => first,
        port => SocketAddr::new(first.ip(), port.saturating_add(nth.saturating_mul(2))),
    }
}

fn position(view: &View, group: &GroupName) -> u16 {
    let at = view.system.databases.iter().position(|d| &d.name == group);
    at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
}

/// Returns when an open gate has shut by itself; never for a closed one.
async fn until_shut(gate: &Gate) {
    if !gate.is_open() {
        return std::future::pending().await;
    }
    while gate.is_open() {
        tokio::time::sleep(gate.until().since(clock::now())).await;
    }
}

/// Returns when a hold has ended by itself; never when there is none.
async fn until_released(gate: &Gate) {
    match gate.hold().remaining() {
        Some(remaining) => tokio::time::sleep(remaining).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
