//! Clients: in every region one that writes through the gateways, and one that goes straight to any database
//! that takes its writes.

use meridian_model::{Epoch, RegionName};
use meridian_steering::WriterChoice;

use super::wal::Told;
use super::{Act, World};
use crate::schedule::{MS, Us};
use crate::shape::{group, index};

/// A write on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    /// When the client sent it.
    pub(super) sent: Us,
    /// The epoch of the gateway that took it; `None`: it came past the gateway.
    pub(super) epoch: Option<Epoch>,
}

/// Between two looks of a region's clients.
const PAUSE: (Us, Us) = (250 * MS, 900 * MS);
/// How long a write travels to a gateway in another region.
const TRAVELS: (Us, Us) = (5 * MS, 100 * MS);

impl World {
    /// The clients of a region write, and will again.
    pub(super) fn clients(&mut self, i: usize) {
        let pause = self.draws.clients.between(PAUSE.0, PAUSE.1);
        self.after(pause, Act::Clients(i));
        if self.draws.clients.percent(25) {
            self.write_past_the_gateways(i);
        }
        if !self.process(i) {
            return;
        }
        let write = Write { sent: self.now, epoch: None };
        let writer = self.nodes[i].sight.view.writer(&group());
        if self.gateway_holds(i, writer.epoch()) {
            return;
        }
        match writer {
            WriterChoice::Local { .. } => self.write_arrives(i, write),
            WriterChoice::Remote { region, .. } => {
                let to = index(&region);
                if self.connected(i, to) {
                    let travels = self.draws.clients.between(TRAVELS.0, TRAVELS.1);
                    self.after(travels, Act::Write(to, write));
                }
            }
            WriterChoice::Nobody { .. } => {}
        }
    }

    /// Straight to every database in reach that takes writes.
    fn write_past_the_gateways(&mut self, i: usize) {
        for to in 0..self.shape.members() {
            if self.nodes[to].db.is_primary() && !self.harm.asleep[to] && (i == to || self.connected(i, to)) {
                self.append(to, Write { sent: self.now, epoch: None });
            }
        }
    }

    /// A write reaches a gateway, which takes it if it may acknowledge writes.
    pub(super) fn write_arrives(&mut self, i: usize, write: Write) {
        if !self.gateway_open(i) || self.harm.asleep[i] || !self.nodes[i].db.is_primary() {
            return;
        }
        let epoch = self.nodes[i].gateway.map(|gate| gate.epoch);
        if !self.gateway_holds(i, epoch.unwrap_or_default()) {
            self.append(i, Write { epoch, ..write });
        }
    }

    /// It is in the log; its client waits until enough standbys have it.
    fn append(&mut self, i: usize, write: Write) {
        let db = &mut self.nodes[i].db;
        db.log.len += 1;
        let len = db.log.len;
        db.pending.push_back((len, write));
        self.commit_pending(i);
        self.grows(i);
    }

    /// The database says that it is committed; the gateway looks at its deadline before it passes that on.
    pub(super) fn committed(&mut self, i: usize, len: u64, write: &Write) {
        if write.epoch.is_some() && !self.gateway_open(i) {
            return;
        }
        let told = Told {
            branch: self.nodes[i].db.log.branch,
            at_len: len,
            when: self.now,
            past_gateway: write.epoch.is_none(),
        };
        self.wal.tell(told);
        self.watcher.acknowledged(i, write.sent, told, &self.wal);
        self.promise_is_kept();
    }

    /// Is what the record promises of acknowledged writes true? Logs only grow, so it is asked of the last one:
    /// whoever has that one has all before it.
    pub(super) fn promise_is_kept(&mut self) {
        let Some((record, _)) = &self.etcd.record else { return };
        let (Some(quorum), Some(told)) = (&record.quorum, self.wal.told.last()) else { return };
        let lacks = |name: &&RegionName| {
            let db = &self.nodes[index(name)].db;
            db.can_testify() && !self.wal.holds(db.log, told.branch, told.at_len)
        };
        let lacking: Vec<RegionName> = quorum.candidates.iter().filter(lacks).cloned().collect();
        self.watcher.promised(record, lacking);
    }
}
