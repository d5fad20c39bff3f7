//! The log of databases, modelled so that a fork is seen: a tree of branches, each written by one database.
//!
//! A database's log is a place in that tree; whoever is promoted begins a branch of its own. PostgreSQL's
//! timeline numbers are kept beside it, because two forks may carry the same one.

use crate::schedule::Us;

/// A place in the tree: the first `len` entries of a branch, those of its ancestors included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Log {
    pub(crate) branch: u32,
    pub(crate) len: u64,
    /// PostgreSQL's number of the timeline.
    pub(crate) timeline: u32,
}

#[derive(Debug, Clone)]
struct Branch {
    parent: Option<u32>,
    /// So many entries come from the ancestors.
    from: u64,
    /// A client was told that everything up to here is committed.
    acked: u64,
}

/// A write that a client was told to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) branch: u32,
    pub(crate) at_len: u64,
    pub(crate) when: Us,
    /// The client wrote past the gateway.
    pub(crate) past_gateway: bool,
}

/// All branches, and what clients were told.
#[derive(Debug, Clone)]
pub(crate) struct Wal {
    branches: Vec<Branch>,
    pub(crate) told: Vec<Told>,
    /// How many clients were ever told.
    pub(crate) count: u64,
}

impl Default for Wal {
    fn default() -> Self {
        let nothing = Branch { parent: None, from: 0, acked: 0 };
        Self { branches: vec![nothing], told: Vec::new(), count: 0 }
    }
}

impl Wal {
    /// A database made from nothing.
    pub(crate) fn plant(&mut self) -> Log {
        self.branches.push(Branch { parent: None, from: 0, acked: 0 });
        Log { branch: self.branches.len() as u32 - 1, len: 1, timeline: 1 }
    }

    /// A branch that begins where this log ends.
    pub(crate) fn fork(&mut self, log: Log, timeline: u32) -> Log {
        self.branches.push(Branch { parent: Some(log.branch), from: log.len, acked: 0 });
        Log { branch: self.branches.len() as u32 - 1, len: log.len + 1, timeline }
    }

    /// Whether the entry number `len` of `branch` is in this log.
    pub(crate) fn holds(&self, log: Log, branch: u32, len: u64) -> bool {
        let (mut at, mut limit) = (log.branch, log.len);
        loop {
            if at == branch {
                return len <= limit;
            }
            let Branch { parent: Some(parent), from, .. } = &self.branches[at as usize] else {
                return len == 0;
            };
            limit = limit.min(*from);
            at = *parent;
        }
    }

    /// Whether all of `part` is in `whole`.
    pub(crate) fn begins_with(&self, whole: Log, part: Log) -> bool {
        self.holds(whole, part.branch, part.len)
    }

    /// A client is told that this entry is committed.
    pub(crate) fn tell(&mut self, told: Told) {
        let branch = &mut self.branches[told.branch as usize];
        branch.acked = branch.acked.max(told.at_len);
        self.count += 1;
        self.told.push(told);
    }

    /// Whether something that clients were told of is not in this log.
    pub(crate) fn loses(&self, log: Log) -> bool {
        (0_u32..)
            .zip(&self.branches)
            .any(|(number, branch)| branch.acked > branch.from && !self.holds(log, number, branch.acked))
    }

    /// Takes the writes out that are not in this log: they are lost, and accounted for.
    pub(crate) fn take_lost(&mut self, log: Log) -> Vec<Told> {
        let all = std::mem::take(&mut self.told);
        let (kept, lost): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|t| self.holds(log, t.branch, t.at_len));
        self.told = kept;
        for number in 0..self.branches.len() {
            let told = self.told.iter().filter(|t| t.branch as usize == number).map(|t| t.at_len).max();
            self.branches[number].acked = told.unwrap_or(0);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(log: Log) -> Told {
        Told { branch: log.branch, at_len: log.len, when: 0, past_gateway: false }
    }

    #[test]
    fn a_fork_is_seen_and_what_it_loses() {
        let mut wal = Wal::default();
        let mut first = wal.plant();
        first.len = 10;
        wal.tell(told(first));
        let copy = Log { len: 8, ..first };
        assert!(wal.begins_with(first, copy) && !wal.begins_with(copy, first));
        let fork = wal.fork(copy, 2);
        assert!(wal.begins_with(fork, copy) && !wal.begins_with(fork, first), "entries 9 and 10 are missing");
        assert!(wal.loses(fork) && !wal.loses(first));
        assert_eq!(wal.take_lost(fork).len(), 1);
        assert!(!wal.loses(fork), "it is accounted for");
        assert!(wal.begins_with(fork, Log::default()), "nothing is in everything");
        let other = wal.plant();
        assert!(!wal.begins_with(other, first));
    }
}
