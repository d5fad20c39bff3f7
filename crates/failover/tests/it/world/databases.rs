//! Databases that replicate, acknowledge, and do what machines ask of them.

use super::*;

impl World {
    pub(super) fn watchdogs(&mut self) {
        for i in 0..self.nodes.len() {
            if self.frozen(i) {
                continue;
            }
            let now = self.local(i);
            let kill = self.chance.between(0, 40) * TICK;
            let at = self.now;
            let node = &mut self.nodes[i];
            let fence_age = node.fence.map_or(Duration::ZERO, |fence| now.since(fence));
            if node.fence.is_some_and(|fence| now >= fence) {
                node.fence = None;
                node.running = None;
                node.waiting.clear();
                // After a thaw nothing is left of the time to stop: the kill comes before anything else.
                let late = fence_age > Duration::from_millis(2 * TICK);
                if node.db.role != DatabaseRole::Absent {
                    node.db.dies_at = Some(if late { at } else { at + kill });
                }
                self.say(format!("watchdog of {} kills", region(i)));
            }
            let node = &mut self.nodes[i];
            if node.db.dies_at.is_some_and(|dies| at >= dies) {
                node.db.stop();
                let status = self.status(i);
                self.nodes[i].inbox.push(Event::Database(status));
            }
        }
    }

    pub(super) fn databases(&mut self) {
        let n = self.nodes.len();
        for i in 0..n {
            if self.frozen(i) || self.nodes[i].db.role != DatabaseRole::Primary {
                continue;
            }
            if self.now.is_multiple_of(20) {
                self.next_write += 1;
                let write = self.next_write;
                self.nodes[i].db.log.push(write);
            }
        }
        for i in 0..n {
            self.replicate(i);
        }
        for i in 0..n {
            if self.frozen(i) || self.nodes[i].db.role != DatabaseRole::Primary {
                continue;
            }
            let db = &self.nodes[i].db;
            let have = db.log.len();
            let enough = match self.replication {
                Replication::Async => have,
                Replication::Quorum { acknowledgers } => {
                    let mut flushed: Vec<usize> = (0..n)
                        .filter(|s| *s != i && self.receives(*s, i))
                        .map(|s| self.nodes[s].db.log.len())
                        .collect();
                    flushed.sort_unstable();
                    flushed.iter().rev().nth(acknowledgers as usize - 1).copied().unwrap_or(0)
                }
            };
            let db = &mut self.nodes[i].db;
            if enough > db.acked {
                let new = db.log[db.acked..enough].to_vec();
                db.acked = enough;
                self.acked.extend(new);
            }
        }
    }

    pub(super) fn receives(&self, s: usize, from: usize) -> bool {
        let (standby, upstream) = (&self.nodes[s].db, &self.nodes[from].db);
        standby.role == DatabaseRole::Standby
            && standby.upstream == Some(from)
            && !self.frozen(s)
            && !self.frozen(from)
            && matches!(upstream.role, DatabaseRole::Primary | DatabaseRole::Standby)
            && self.connected(s, from)
            && upstream.log.starts_with(&standby.log)
            && upstream.timeline >= standby.timeline
    }

    pub(super) fn replicate(&mut self, s: usize) {
        let Some(from) = self.nodes[s].db.upstream else {
            self.nodes[s].db.streaming = false;
            return;
        };
        let flows = from != s && self.receives(s, from);
        self.nodes[s].db.streaming = flows;
        if flows && self.chance.percent(70) {
            let (log, timeline) = (self.nodes[from].db.log.clone(), self.nodes[from].db.timeline);
            let db = &mut self.nodes[s].db;
            db.log = log;
            db.timeline = timeline;
        }
    }

    pub(crate) fn status(&self, i: usize) -> DatabaseStatus {
        let db = &self.nodes[i].db;
        if matches!(db.role, DatabaseRole::Absent | DatabaseRole::Stopped) {
            return DatabaseStatus::stopped(db.role);
        }
        let standbys = (0..self.nodes.len()).filter(|s| *s != i && self.receives(*s, i));
        let standbys = standbys.map(|s| StandbyStatus {
            region: region(s),
            flushed: self.nodes[s].db.position().lsn,
            synchronous: true,
        });
        DatabaseStatus {
            role: db.role,
            received: db.position(),
            replayed: db.position().lsn,
            streaming: db.streaming,
            replay_lag_ms: Some(0),
            standbys: if db.role == DatabaseRole::Primary { standbys.collect() } else { Vec::new() },
        }
    }

    pub(super) fn finish_actions(&mut self, i: usize) {
        if self.frozen(i) {
            return;
        }
        if self.nodes[i].running.is_none() && !self.nodes[i].waiting.is_empty() {
            let (id, action) = self.nodes[i].waiting.remove(0);
            let takes = match action {
                DatabaseAction::Stop => self.chance.between(0, 40) * TICK,
                DatabaseAction::Clone { .. } | DatabaseAction::Rejoin { .. } => {
                    self.chance.between(20, 200) * TICK
                }
                _ => self.chance.between(2, 40) * TICK,
            };
            self.nodes[i].running = Some((id, action, self.now + takes));
        }
        let Some((id, action, ends)) = self.nodes[i].running.clone() else { return };
        if self.now < ends {
            return;
        }
        self.nodes[i].running = None;
        let result = if self.chance.percent(self.trouble / 2) && action != DatabaseAction::Stop {
            Err("bad luck".to_owned())
        } else {
            self.carry_out(i, &action)
        };
        self.say(format!("{} database {action:?}: {result:?}", region(i)));
        let mut status = self.status(i);
        if matches!(action, DatabaseAction::StopInOrder { .. }) {
            // The shutdown checkpoint begins one place before the end.
            let end = self.nodes[i].db.position();
            status.received = WalPosition { lsn: Lsn(end.lsn.0 - 1), ..end };
        }
        let result = result.map(|()| Completed { status, detail: String::new() });
        self.nodes[i].inbox.push(Event::Finished { id, result });
    }

    pub(super) fn carry_out(&mut self, i: usize, action: &DatabaseAction) -> Result<(), String> {
        let armed = self.nodes[i].fence.is_some_and(|f| f > self.local(i));
        if self.nodes[i].db.dies_at.is_some() {
            self.nodes[i].db.stop();
        }
        match action {
            DatabaseAction::Stop => self.nodes[i].db.stop(),
            DatabaseAction::Initialise => {
                let db = &mut self.nodes[i].db;
                if db.role == DatabaseRole::Absent {
                    *db = Db { role: DatabaseRole::Stopped, primary_dir: true, ..Db::absent() };
                }
            }
            DatabaseAction::StartPrimary { .. } | DatabaseAction::Promote { .. } if !armed => {
                return Err("no fence is armed".to_owned());
            }
            DatabaseAction::StartPrimary { .. } => {
                let db = &mut self.nodes[i].db;
                assert!(db.primary_dir, "{} starts a standby's directory as a primary", region(i));
                assert_ne!(db.role, DatabaseRole::Absent);
                db.role = DatabaseRole::Primary;
                self.primary_began(i);
            }
            DatabaseAction::Promote { .. } => self.promote(i)?,
            DatabaseAction::Follow { upstream, .. } => {
                let upstream = index(upstream);
                let db = &mut self.nodes[i].db;
                if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
                    return Err(format!("cannot follow: it is {:?}", db.role));
                }
                assert!(!db.primary_dir, "{} follows with a primary's directory", region(i));
                db.role = DatabaseRole::Standby;
                db.upstream = Some(upstream);
            }
            DatabaseAction::PrepareHandover { to } | DatabaseAction::CatchUp { to, .. } => {
                let to = index(to);
                if self.nodes[i].db.role != DatabaseRole::Primary || !self.receives(to, i) {
                    return Err(format!("{} does not stream from here", region(to)));
                }
            }
            DatabaseAction::StopInOrder { .. } => {
                if self.nodes[i].db.role != DatabaseRole::Primary {
                    return Err("it is no primary".to_owned());
                }
                // Standbys that stream get the rest, and what they got is acknowledged.
                let (log, timeline) = (self.nodes[i].db.log.clone(), self.nodes[i].db.timeline);
                for s in (0..self.nodes.len()).filter(|s| *s != i && self.receives(*s, i)).collect::<Vec<_>>()
                {
                    self.nodes[s].db.log.clone_from(&log);
                    self.nodes[s].db.timeline = timeline;
                }
                self.nodes[i].db.stop();
            }
            DatabaseAction::Replay { beyond, .. } => {
                let here = self.nodes[i].db.position();
                if here.timeline < beyond.timeline || here.lsn <= beyond.lsn {
                    return Err(format!("replayed {here:?} of {beyond:?}"));
                }
            }
            DatabaseAction::Seal => {
                let db = &mut self.nodes[i].db;
                if matches!(db.role, DatabaseRole::Primary | DatabaseRole::Absent) {
                    return Err(format!("cannot seal: it is {:?}", db.role));
                }
                db.role = DatabaseRole::Standby;
                db.upstream = None;
                db.streaming = false;
            }
            DatabaseAction::Clone { source } => {
                let from = self.source(i, index(source))?;
                let db = &mut self.nodes[i].db;
                if db.role == DatabaseRole::Absent {
                    *db = Db {
                        role: DatabaseRole::Stopped,
                        log: from.log,
                        timeline: from.timeline,
                        ..Db::absent()
                    };
                }
            }
            DatabaseAction::Rejoin { source, .. } => {
                let upstream = Some(index(source));
                let from = self.source(i, index(source))?;
                let role = DatabaseRole::Standby;
                assert_ne!(self.nodes[i].db.role, DatabaseRole::Primary, "a running primary rejoins");
                self.nodes[i].db =
                    Db { role, upstream, log: from.log, timeline: from.timeline, ..Db::absent() };
            }
        }
        Ok(())
    }

    /// What can be copied from a member: only a primary that answers.
    pub(super) fn source(&self, i: usize, from: usize) -> Result<Db, String> {
        let answers = self.connected(i, from) && self.alive(from);
        let primary = answers && self.nodes[from].db.role == DatabaseRole::Primary;
        primary.then(|| self.nodes[from].db.clone()).ok_or_else(|| "the source does not answer".to_owned())
    }

    pub(super) fn promote(&mut self, i: usize) -> Result<(), String> {
        let db = &mut self.nodes[i].db;
        match db.role {
            DatabaseRole::Primary => Ok(()),
            DatabaseRole::Standby => {
                db.timeline += 1;
                db.role = DatabaseRole::Primary;
                db.primary_dir = true;
                db.upstream = None;
                db.acked = 0;
                self.primary_began(i);
                Ok(())
            }
            role => Err(format!("cannot promote a database that is {role:?}")),
        }
    }

    /// A primary begins: nothing that was acknowledged may be missing in it (quorum).
    pub(super) fn primary_began(&mut self, i: usize) {
        self.nodes[i].promotions += 1;
        if matches!(self.replication, Replication::Quorum { .. }) {
            let have: std::collections::HashSet<u64> = self.nodes[i].db.log.iter().copied().collect();
            let lost: Vec<u64> = self.acked.iter().copied().filter(|w| !have.contains(w)).collect();
            assert!(
                lost.is_empty(),
                "{} begins at {} without {} acknowledged writes",
                region(i),
                self.now,
                lost.len()
            );
        }
    }
}
