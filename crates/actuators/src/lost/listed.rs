//! Transactions listed from what `pg_waldump` prints: when and where they changed rows, without values. Pure.
//!
//! For a log that cannot be decoded, because there was no slot that had kept what decoding needs.

use std::collections::{BTreeMap, HashMap};

use meridian_model::Lsn;

use super::{LostChange, LostTransaction, Operation};

/// Tables by the numbers of database and file.
pub(crate) type Names = BTreeMap<(u32, u32), String>;

/// The transactions that were committed in these records, with the tables that they changed.
pub(crate) fn transactions(records: &str, names: &Names) -> Vec<LostTransaction> {
    let mut open: HashMap<u32, Vec<LostChange>> = HashMap::new();
    let mut lost = Vec::new();
    for record in records.lines().filter_map(Record::of) {
        match record.rmgr {
            "Heap" | "Heap2" => {
                open.entry(record.xid).or_default().extend(change(&record, names));
            }
            "Transaction" => lost.extend(commit(&record, &mut open)),
            _ => {}
        }
    }
    lost
}

struct Record<'a> {
    rmgr: &'a str,
    xid: u32,
    lsn: Lsn,
    desc: &'a str,
}

impl<'a> Record<'a> {
    /// `rmgr: Heap  len (rec/tot): 59/ 59, tx: 735, lsn: 0/0192D3C8, prev 0/0192D390, desc: INSERT off 1 …`.
    fn of(line: &'a str) -> Option<Self> {
        let (head, desc) = line.split_once(", desc: ")?;
        let field = |name: &str| head.split_once(name)?.1.trim_start().split([',', ' ']).next();
        Some(Self {
            rmgr: head.strip_prefix("rmgr: ")?.split_whitespace().next()?,
            xid: field("tx: ")?.parse().ok()?,
            lsn: field("lsn: ")?.parse().ok()?,
            desc,
        })
    }
}

fn change(record: &Record<'_>, names: &Names) -> Option<LostChange> {
    let operation = match record.desc.split([' ', '+', ':']).next()? {
        "INSERT" | "MULTI_INSERT" => Operation::Insert,
        "UPDATE" | "HOT_UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "TRUNCATE" => Operation::Truncate,
        _ => return None,
    };
    let relation = record.desc.split_once("rel ").and_then(|(_, rest)| rest.split_whitespace().next());
    let table = match relation {
        None => "unknown".to_owned(),
        Some(path) => {
            let mut parts = path.split('/').skip(1).map(|part| part.parse().unwrap_or(0));
            let file = (parts.next()?, parts.next()?);
            // Shared catalogues have no database; those of a database keep small numbers as a rule.
            if file.0 == 0 || file.1 < FIRST_OF_USERS {
                return None;
            }
            names.get(&file).cloned().unwrap_or_else(|| format!("relation {path}"))
        }
    };
    let known = !table.starts_with("pg_catalog.") && !table.starts_with("pg_toast.");
    known.then_some(LostChange { table, operation, key: Vec::new(), row: Vec::new() })
}

/// `COMMIT 2026-11-25 11:21:04.114745 UTC; subxacts: 740 741; inval msgs: …`.
fn commit(record: &Record<'_>, open: &mut HashMap<u32, Vec<LostChange>>) -> Option<LostTransaction> {
    let text =
        record.desc.strip_prefix("COMMIT ").or_else(|| record.desc.strip_prefix("COMMIT_PREPARED "))?;
    let (time, rest) = text.split_once(" UTC").unwrap_or((text, ""));
    let subtransactions = rest.split_once("subxacts: ").map_or("", |(_, list)| list);
    let subtransactions = subtransactions.split(';').next().unwrap_or_default().split_whitespace();
    let xids = std::iter::once(record.xid).chain(subtransactions.filter_map(|xid| xid.parse().ok()));
    let changes: Vec<_> = xids.filter_map(|xid| open.remove(&xid)).flatten().collect();
    let committed_at = format!("{}Z", time.trim().replacen(' ', "T", 1));
    let lost = LostTransaction { xid: record.xid, lsn: record.lsn, committed_at, changes };
    (!lost.changes.is_empty()).then_some(lost)
}

const FIRST_OF_USERS: u32 = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_listed_with_their_tables_and_those_of_subtransactions() {
        let records = "\
rmgr: Heap        len (rec/tot):     59/    59, tx:        735, lsn: 0/0192D3C8, prev 0/0192D390, desc: INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/16384/16386 blk 0
rmgr: Btree       len (rec/tot):     90/    90, tx:        735, lsn: 0/0192D3D8, prev 0/0192D390, desc: INSERT_LEAF off 1, blkref #0: rel 1663/16384/16390 blk 0
rmgr: Heap        len (rec/tot):     59/    59, tx:        736, lsn: 0/0192D400, prev 0/0192D390, desc: HOT_UPDATE off 1 xmax 736 flags 0x00 ; new off 3 xmax 0, blkref #0: rel 1663/16384/16387 blk 0
rmgr: Heap2       len (rec/tot):     59/    59, tx:          0, lsn: 0/0192D410, prev 0/0192D390, desc: PRUNE latestRemovedXid 0 nredirected 0 ndead 1, blkref #0: rel 1663/16384/16387 blk 0
rmgr: Heap        len (rec/tot):     59/    59, tx:        737, lsn: 0/0192D418, prev 0/0192D390, desc: DELETE off 1 flags 0x00 , blkref #0: rel 1663/16384/16386 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/0192D420, prev 0/0192D390, desc: COMMIT 2026-11-25 11:21:04.114745 UTC; subxacts: 736; inval msgs: relcache 16386
rmgr: Transaction len (rec/tot):     34/    34, tx:        737, lsn: 0/0192D450, prev 0/0192D390, desc: ABORT 2026-11-25 11:21:04.114745 UTC
rmgr: Heap        len (rec/tot):     59/    59, tx:        738, lsn: 0/0192D460, prev 0/0192D390, desc: INSERT off 1 flags 0x00, blkref #0: rel 1663/16384/1259 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        738, lsn: 0/0192D470, prev 0/0192D390, desc: COMMIT 2026-11-25 11:21:04.2 UTC
";
        let names = Names::from([
            ((16384, 16386), "public.t".to_owned()),
            ((16384, 1259), "pg_catalog.pg_class".to_owned()),
        ]);
        let lost = transactions(records, &names);
        let [one] = &lost[..] else { panic!("{lost:?}") };
        assert_eq!((one.xid, one.committed_at.as_str()), (735, "2026-11-25T11:21:04.114745Z"));
        let changes: Vec<_> = one.changes.iter().map(|c| (c.table.as_str(), c.operation)).collect();
        assert_eq!(
            changes,
            [("public.t", Operation::Insert), ("relation 1663/16384/16387", Operation::Update)]
        );
    }
}
