//! What a replaced primary had committed and nobody else has: read before its log is taken back.
//!
//! PostgreSQL's single-user mode recovers the old data directory and reads the slot of the ledger: one
//! process on a pipe, which listens nowhere, archives nothing and starts no worker. Nothing of an
//! application can reach it, so it is no primary in the sense of the fence; whatever kills the server of
//! this directory kills it too. What it adds to the log is taken back with the rest.
//!
//! Where the slot does not reach, `pg_waldump`'s list of the kept log tells which transactions there were.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::Lsn;

use super::Member;
use super::control::ControlData;
use super::keep::{Divergence, RECORDS_FILE};
use super::layout::remove_folder;
use super::ledger::LEDGER;
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::lost::decoded::{Gathering, Keys, unescaped};
use crate::lost::listed::{self, Names};
use crate::lost::{Lost, LostReport, LostTransaction};
use crate::process::Launch;

impl Member {
    /// Lists what was lost beside the kept log. A failure is told in the report and holds nothing up.
    pub(super) async fn tell_lost(&self, kept: &Path, from: Divergence, control: &ControlData) -> Lost {
        let read = if control.was_primary() { self.read_slot(from).await } else { Ok(Reading::default()) };
        let (reading, why) = match read {
            Ok(reading) => (reading, None),
            Err(error) => (Reading::default(), Some(error.to_string())),
        };
        let records = fs::read_to_string(kept.join(RECORDS_FILE)).unwrap_or_default();
        let (lost, how) = together(reading, &records, from.lsn, why);
        match LostReport::write(kept, &lost, how) {
            Ok(report) => Lost::Told(report),
            Err(error) => {
                tracing::warn!(%error, "the list of lost transactions was not written");
                Lost::Unknown(error.to_string())
            }
        }
    }

    async fn read_slot(&self, from: Divergence) -> Result<Reading, ActuatorError> {
        let folder = self.layout.work_dir.join("decoding");
        remove_folder(&folder)?;
        fs::create_dir(&folder).map_err(|e| ActuatorError::file("making the folder", &folder, e))?;
        self.layout.own(&folder, 0o700)?;
        let ran = self.run_single_user(&folder).await;
        self.server.halt_aside(false).await?;
        self.layout.signal_standby(true)?;
        let after = from.lsn;
        let read = match ran {
            Ok(error) => {
                let folder = folder.clone();
                let reading = tokio::task::spawn_blocking(move || Reading::of(&folder, after));
                let read = reading.await.map_err(|_| ActuatorError::ThreadGone("reading"))?;
                read.map(|reading| Reading { error, ..reading })
            }
            Err(error) => Err(error),
        };
        remove_folder(&folder)?;
        read
    }

    /// It refuses a directory with the sign of a standby, so that is away for the time. Answers the first
    /// statement's error, if one failed.
    async fn run_single_user(&self, folder: &Path) -> Result<Option<String>, ActuatorError> {
        self.configure(None)?;
        self.layout.signal_standby(false)?;
        let data_dir = self.layout.data_dir.to_string_lossy();
        let mut args = vec!["--single", "-D", &data_dir];
        SINGLE_USER.iter().for_each(|setting| args.extend(["-c", setting]));
        args.push(&self.config.dbname);
        let launch = Launch::tool(self.binaries.program("postgres"), args)
            .as_user(self.layout.user.clone())
            .reading(queries(folder).into_bytes());
        let exit = self.spawner.run("reading what was lost", launch, DECODE).await?;
        let error = exit.stderr.lines().find_map(|line| line.split_once("ERROR:"));
        Ok(error.map(|(_, error)| error.trim().to_owned()))
    }
}

/// One statement a line, as single-user mode wants it. What fails leaves no file, or an empty one.
fn queries(folder: &Path) -> String {
    let file = |name: &str| folder.join(name).to_string_lossy().replace('\'', "''");
    let statements = [(SLOT_SQL, SLOT), (KEYS_SQL, KEYS), (NAMES_SQL, NAMES), (CHANGES_SQL, CHANGES)];
    statements.iter().fold(String::new(), |text, (sql, name)| {
        let sql = sql.replace("{slot}", LEDGER).replace("{most}", &CHANGES_MAX.to_string());
        let one_line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        text + &format!("copy ({one_line}) to '{}'\n", file(name))
    })
}

/// What single-user mode has found.
#[derive(Debug, Default)]
struct Reading {
    /// Commits that end after this are among `lost`; none: there was no slot that could be read.
    since: Option<Lsn>,
    lost: Vec<LostTransaction>,
    unread: u64,
    names: Names,
    /// There were more changes than are read.
    cut: bool,
    /// What a statement failed with.
    error: Option<String>,
}

impl Reading {
    fn of(folder: &Path, after: Lsn) -> Result<Self, ActuatorError> {
        let slot = rows(&folder.join(SLOT), |row| Some((row.first()?.parse().ok()?, row.get(1)? == "t")))?;
        let mut names = Names::new();
        rows(&folder.join(NAMES), |row| {
            let file = (row.first()?.parse().ok()?, row.get(1)?.parse().ok()?);
            names.insert(file, row.get(2)?.clone())
        })?;
        let mut keys = Keys::new();
        rows(&folder.join(KEYS), |row| {
            keys.entry(row.first()?.clone()).or_default().push(row.get(1)?.clone());
            Some(())
        })?;
        let mut gathering = Gathering::new(after, keys);
        let (mut lines, mut bytes) = (0_u64, 0_usize);
        rows(&folder.join(CHANGES), |row| {
            let text = row.get(1)?;
            (lines, bytes) = (lines + 1, bytes.saturating_add(text.len()));
            if bytes <= BYTES_MAX {
                gathering.line(row.first()?.parse().ok()?, text);
            }
            Some(())
        })?;
        let since = slot.first().filter(|(_, usable)| *usable).map(|(since, _)| *since);
        let (lost, unread) = (gathering.lost, gathering.unread);
        Ok(Self { since, lost, unread, names, cut: lines >= CHANGES_MAX || bytes > BYTES_MAX, error: None })
    }
}

/// What was decoded, and before it what is only listed; with what to say about it.
fn together(
    reading: Reading,
    records: &str,
    from: Lsn,
    why: Option<String>,
) -> (Vec<LostTransaction>, (bool, String)) {
    let Reading { since, lost, unread, names, cut, error } = reading;
    if let Some(since) = since.filter(|since| *since <= from) {
        let complete = unread == 0 && !cut;
        let detail = match (unread, cut) {
            (_, true) => {
                format!(
                    "decoded from the slot; more than {CHANGES_MAX} changes or {} MiB, the rest is in the kept log",
                    BYTES_MAX >> 20
                )
            }
            (0, false) => format!("decoded from the slot at {since}"),
            (unread, false) => format!("decoded from the slot; {unread} changes could not be read"),
        };
        return (lost, (complete, detail));
    }
    let mut listed = listed::transactions(records, &names);
    let detail = match since {
        Some(since) => {
            listed.retain(|transaction| transaction.lsn < since);
            let count = listed.len();
            format!("the slot began only at {since}: the first {count} are listed without keys and values")
        }
        None => {
            let why = why.or(error).unwrap_or_else(|| "there was no slot that could be read".to_owned());
            format!("listed without keys and values: {why}")
        }
    };
    listed.extend(lost);
    (listed, (false, detail))
}

/// Reads the rows of a file that `COPY` wrote; one that is not there has none.
fn rows<T>(file: &PathBuf, mut take: impl FnMut(&[String]) -> Option<T>) -> Result<Vec<T>, ActuatorError> {
    let reading = |e| ActuatorError::file("reading", file, e);
    let open = match fs::File::open(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        open => open.map_err(reading)?,
    };
    let mut taken = Vec::new();
    for line in BufReader::new(open).lines() {
        let row: Vec<_> = line.map_err(reading)?.split('\t').map(unescaped).collect();
        taken.extend(take(&row));
    }
    Ok(taken)
}

const SLOT: &str = "slot";
const KEYS: &str = "keys";
const NAMES: &str = "names";
const CHANGES: &str = "changes";
/// Recovery ends with a checkpoint: it must not take the log away that is to be read.
const SINGLE_USER: [&str; 7] = [
    "max_slot_wal_keep_size=-1",
    "archive_mode=off",
    "synchronous_standby_names=",
    "timezone=UTC",
    "datestyle=ISO",
    "log_min_messages=error",
    "log_min_error_statement=panic",
];
const SLOT_SQL: &str = "select confirmed_flush_lsn, database = current_database() and wal_status <> 'lost'
  and current_setting('wal_level') = 'logical'
  from pg_replication_slots where slot_name = '{slot}'";
/// The replica identity if it is an index, else the primary key.
const KEYS_SQL: &str = "select format('%I.%I', n.nspname, c.relname), a.attname
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_index i on i.indrelid = c.oid
   and case when c.relreplident = 'i' then i.indisreplident else i.indisprimary end
  join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey::int2[])";
const NAMES_SQL: &str = "select d.oid, pg_relation_filenode(c.oid), format('%I.%I', n.nspname, c.relname)
  from pg_database d, pg_class c join pg_namespace n on n.oid = c.relnamespace
  where d.datname = current_database() and c.relkind in ('r', 't', 'm') and pg_relation_filenode(c.oid) <> 0";
/// Looks and does not take: a rejoin that is broken off can be repeated.
const CHANGES_SQL: &str = "select lsn, data from pg_logical_slot_peek_changes('{slot}', null, {most},
  'include-timestamp', '1', 'skip-empty-xacts', '1')";
const CHANGES_MAX: u64 = 1_000_000;
/// They are held in the node's memory until they are written.
const BYTES_MAX: usize = 64 << 20;
const DECODE: Deadline = Deadline::new(
    Duration::from_secs(300),
    "the log since the last checkpoint is replayed, then a gigabyte at most is read",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_slot_that_reaches_back_the_beginning_is_only_listed() {
        let records = "rmgr: Heap len (rec/tot): 59/59, tx: 7, lsn: 0/64, prev 0/0, desc: INSERT off 1, blkref #0: rel 1663/5/16390 blk 0\n\
                       rmgr: Transaction len (rec/tot): 34/34, tx: 7, lsn: 0/70, prev 0/0, desc: COMMIT 2026-11-25 11:21:04.1 UTC\n";
        let decoded =
            LostTransaction { xid: 8, lsn: Lsn(0x90), committed_at: String::new(), changes: Vec::new() };
        let reading = |since| Reading { since, lost: vec![decoded.clone()], ..Reading::default() };
        let xids = |lost: &[LostTransaction]| lost.iter().map(|t| t.xid).collect::<Vec<_>>();
        let (lost, (complete, detail)) = together(reading(Some(Lsn(0x60))), records, Lsn(0x60), None);
        assert!(complete && xids(&lost) == [8], "{detail}");
        let (lost, (complete, detail)) = together(reading(Some(Lsn(0x80))), records, Lsn(0x60), None);
        assert!(!complete && xids(&lost) == [7, 8] && detail.contains("the first 1 are listed"), "{detail}");
        let none = Reading::default();
        let (lost, (complete, detail)) = together(none, records, Lsn(0x60), Some("no luck".to_owned()));
        assert!(!complete && xids(&lost) == [7] && detail.contains("no luck"), "{detail}");
    }

    #[test]
    fn each_statement_is_one_line() {
        let text = queries(Path::new("/it's"));
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().all(|line| line.starts_with("copy (select ") && line.contains("to '/it''s/")));
    }
}
