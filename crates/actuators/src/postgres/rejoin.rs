//! The way back of a member whose log may have gone on after its successor began.
//!
//! In this order, because each step makes the next one safe: stop it; ask the source for its history;
//! keep what diverged; decode what was lost; rewind (after a checkpoint of the source, else its control file may still show the
//! old timeline); if that cannot be done, clone anew with the old directory kept aside; follow. One that
//! was stopped in order and whose last record the source has too only follows.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::group::WalPosition;
use meridian_model::{Epoch, Lsn};
use meridian_telemetry::clock;

use super::Member;
use super::control::{ControlData, divergence, history, last_beginning, segment_name};
use super::create::FAR;
use super::handover::SHUT_DOWN;
use super::keep::{self, Divergence};
use super::layout::remove_folder;
use super::link::Link;
use super::promote::CHECKPOINT;
use super::start::As;
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::execute::{RejoinMethod, Rejoined};
use crate::lost::Lost;
use crate::process::Launch;

impl Member {
    pub(super) async fn rejoin(&self, source: SocketAddr, epoch: Epoch) -> Result<Rejoined, ActuatorError> {
        let _one_at_a_time = self.commands.lock().await;
        let ticket = self.server.ticket();
        self.require_data("rejoin")?;
        self.layout.raise_epoch(epoch)?;
        let link = self.link_to(source);
        let theirs = self.ready_source(&link).await?;
        self.server.halt_aside(false).await?;
        let control = self.control_data().await?;
        self.same_system_as(&control, &theirs.system)?;
        let rejoined = match self.where_diverged(&link, &control, &theirs).await? {
            None => followed("its log had not diverged", None),
            Some(from) if self.ends_in_common(&link, &control, from, &theirs).await? => {
                followed("it was stopped in order and the source has its whole log", None)
            }
            Some(from) => self.come_back(&link, from, &control).await?,
        };
        self.make_own_slot(&link).await?;
        self.start(As::Standby(Some(source)), ticket).await?;
        self.drop_slots().await;
        Ok(rejoined)
    }

    /// What `pg_controldata` says of the data directory.
    pub(super) async fn control_data(&self) -> Result<ControlData, ActuatorError> {
        self.control_data_of(&self.layout.data_dir).await
    }

    pub(super) async fn control_data_of(&self, data_dir: &Path) -> Result<ControlData, ActuatorError> {
        let args = ["-D", &data_dir.to_string_lossy()];
        let launch =
            Launch::tool(self.binaries.program("pg_controldata"), args).as_user(self.layout.user.clone());
        let said = self.spawner.run("reading the control file", launch, LOOK).await?;
        ControlData::parse(&said.stdout).ok_or_else(|| {
            self.layout.wrong("its control file cannot be read", "restore it, or move it away")
        })
    }

    async fn come_back(
        &self,
        source: &Link,
        from: Divergence,
        control: &ControlData,
    ) -> Result<Rejoined, ActuatorError> {
        let began = clock::now();
        let kept = self.keep_wal(from, control).await?;
        // What has nothing beyond the parting has lost nothing, and must stay as it is.
        let lost = match ended_before(control, from) {
            true => Lost::Nothing,
            false => self.tell_lost(&kept, from, control).await,
        };
        let (keeping, began) = (clock::now().since(began), clock::now());
        source.rows("a checkpoint before the rewind", "checkpoint", CHECKPOINT).await?;
        match self.rewind(source.address(), from).await {
            Ok(false) => {
                // What was copied is only what the source has too.
                let _only_a_copy = fs::remove_dir_all(&kept);
                Ok(followed("pg_rewind found nothing to take back", None))
            }
            Ok(true) => Ok(Rejoined {
                method: RejoinMethod::Rewound,
                detail: format!(
                    "rewound to {} on timeline {} (log kept and read in {keeping:.1?}, rewound in {:.1?})",
                    from.lsn,
                    from.timeline,
                    clock::now().since(began)
                ),
                kept_wal: Some(kept),
                kept_data: None,
                lost,
            }),
            Err(error) => {
                tracing::warn!(%error, "pg_rewind cannot bring it back; cloning it anew");
                let kept_data = self.clone_anew(source).await?;
                let detail = format!("cloned anew, because the rewind failed: {error}");
                Ok(Rejoined { method: RejoinMethod::Recloned, kept_wal: Some(kept), kept_data, lost, detail })
            }
        }
    }

    /// A primary, with the history of the timeline that it writes.
    async fn ready_source(&self, source: &Link) -> Result<Theirs, ActuatorError> {
        let unfit = |problem: &str| ActuatorError::Source {
            address: source.address().to_string(),
            problem: problem.to_owned(),
        };
        let rows = source.rows("asking who it is", IDENTITY, FAR).await?;
        let field = |name: &str| rows.first().and_then(|row| row.get(name)).map(str::to_owned);
        if field("standby").as_deref() != Some("f") {
            return Err(unfit("it is a standby; only the primary can be rewound to"));
        }
        let timeline = field("timeline").and_then(|hex| u32::from_str_radix(&hex, 16).ok());
        Ok(Theirs {
            system: field("system").unwrap_or_default(),
            timeline: timeline.ok_or_else(|| unfit("it does not say which timeline it writes"))?,
            history: field("history").unwrap_or_default(),
        })
    }

    fn same_system_as(&self, control: &ControlData, theirs: &str) -> Result<(), ActuatorError> {
        if control.system == theirs {
            return Ok(());
        }
        let problem = format!("it is of database system {}, the source's is {theirs}", control.system);
        Err(self.layout.wrong(&problem, "move it away by hand if it is not needed; it can be cloned then"))
    }

    /// Where our log leaves the source's; `None` when it is a beginning of theirs, so far as can be told.
    ///
    /// Two servers that each made themselves the primary at the same place give their timelines the same
    /// number and the same history. The first record on it tells them apart as long as both have it, and
    /// one that was a primary itself has diverged from any other primary of its timeline. What was written
    /// on that timeline is then what may be lost.
    async fn where_diverged(
        &self,
        source: &Link,
        control: &ControlData,
        theirs: &Theirs,
    ) -> Result<Option<Divergence>, ActuatorError> {
        let data_dir = &self.layout.data_dir;
        let timeline = control.timeline.max(self.written_timeline());
        let file = data_dir.join(format!("pg_wal/{timeline:08X}.history"));
        let ours = history(timeline, &fs::read_to_string(file).unwrap_or_default());
        let same_number = timeline == theirs.timeline;
        let mut place = divergence(&ours, &history(theirs.timeline, &theirs.history));
        if place.is_none() {
            let (begun, at) = last_beginning(&ours);
            // A copy's control file says what the server said that it was copied from.
            let was_primary = control.was_primary() && !data_dir.join("backup_label").exists();
            let other = was_primary || self.begins_otherwise(source, control, begun, at).await?;
            place = other.then_some((begun, at));
        }
        Ok(place.map(|(timeline, lsn)| Divergence { timeline, lsn, same_number }))
    }

    /// Whether the source's timeline begins with another record than ours. It says when the promotion was,
    /// to the microsecond. False when one of the two does not have it any more.
    async fn begins_otherwise(
        &self,
        source: &Link,
        control: &ControlData,
        timeline: u32,
        at: Lsn,
    ) -> Result<bool, ActuatorError> {
        let begins = WalPosition { timeline, lsn: at };
        let same = self.same_record(source, control.segment_bytes, begins, timeline).await?;
        Ok(same == Some(false))
    }

    /// Whether our log, which ended in good order, is a beginning of theirs: its last record, the checkpoint
    /// of the shutdown, lies before the place where the histories part, and they have it too. Its bytes hold
    /// the time and a checksum, so no other record is taken for it.
    async fn ends_in_common(
        &self,
        source: &Link,
        control: &ControlData,
        from: Divergence,
        theirs: &Theirs,
    ) -> Result<bool, ActuatorError> {
        let end = control.checkpoint;
        if !ended_before(control, from) || self.written_timeline() > from.timeline {
            return Ok(false);
        }
        let same = self.same_record(source, control.segment_bytes, end, theirs.timeline).await?;
        Ok(same == Some(true))
    }

    /// Whether the same record stands at `place` here and there. The file there may be that of their own
    /// timeline, which begins with a copy of the last segment before. `None`: one of the two has it no more.
    async fn same_record(
        &self,
        source: &Link,
        segment_bytes: u64,
        place: WalPosition,
        theirs: u32,
    ) -> Result<Option<bool>, ActuatorError> {
        let name = |timeline| segment_name(timeline, place.lsn, segment_bytes);
        let (Some(own), Some(their)) = (name(place.timeline), name(theirs)) else { return Ok(None) };
        let offset = match place.lsn.0 % segment_bytes {
            0 => SEGMENT_HEADER,
            page if page % PAGE == 0 => page + PAGE_HEADER,
            within => within,
        };
        let file = self.layout.data_dir.join("pg_wal").join(&own);
        let Some(ours) = keep::bytes_at::<RECORD>(&file, offset) else { return Ok(None) };
        let read = |name: &str| format!("pg_read_binary_file('pg_wal/{name}', {offset}, {RECORD}, true)");
        let sql = format!("select coalesce(encode(coalesce({}, {}), 'hex'), '')", read(&their), read(&own));
        let theirs = source.value("asking for a record of its log", &sql, FAR).await?;
        let ours: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((!theirs.is_empty()).then_some(theirs == ours))
    }

    async fn keep_wal(&self, from: Divergence, control: &ControlData) -> Result<PathBuf, ActuatorError> {
        let name = format!("{}-{}", self.config.group, clock::wall());
        let target = keep::free_name(&self.config.kept_wal_dir, &name);
        let (data_dir, folder, control) = (self.layout.data_dir.clone(), target.clone(), control.clone());
        let copied = tokio::task::spawn_blocking(move || keep::keep(&data_dir, &folder, from, &control));
        copied.await.map_err(|_| ActuatorError::ThreadGone("copying"))??;
        self.list_records(&target, from).await;
        Ok(target)
    }

    /// For people; a failure here must not hold up the way back.
    async fn list_records(&self, kept: &Path, from: Divergence) {
        let args = ["-p".into(), kept.join("pg_wal").into_os_string()].into_iter();
        let place = ["-t".into(), from.timeline.to_string().into(), "-s".into(), from.lsn.to_string().into()];
        let limit = ["-n".into(), RECORDS.into()];
        let mut launch = Launch::tool(self.binaries.program("pg_waldump"), args.chain(place).chain(limit));
        launch.env.push(("TZ".into(), "UTC".into()));
        // It always ends with an error: the end of the log is where no valid record follows.
        let listed = self.spawner.run_to_end("listing what diverged", launch, LIST).await;
        let text = listed.map(|exit| exit.stdout).unwrap_or_default();
        if let Err(error) = keep::write(&kept.join(keep::RECORDS_FILE), &text) {
            tracing::warn!(%error, "the list of diverged records was not written");
        }
    }

    /// False: there was nothing to rewind. `pg_rewind` recovers a killed server itself, in a mode that
    /// refuses a standby's directory; so the sign is away for that time. It goes by the numbers of
    /// timelines: where they are the same it finds nothing, though there is something.
    async fn rewind(&self, source: SocketAddr, from: Divergence) -> Result<bool, ActuatorError> {
        if from.same_number {
            return Err(same_number());
        }
        self.configure(None)?;
        self.layout.signal_standby(false)?;
        let conninfo = self.tool_conninfo(source)?;
        let data_dir = self.layout.data_dir.to_string_lossy();
        let args = ["-D", &data_dir, "--source-server", &conninfo];
        let launch = Launch::tool(self.binaries.program("pg_rewind"), args).as_user(self.layout.user.clone());
        let rewound = self.spawner.run("taking the diverged log back", launch, REWIND).await;
        self.layout.signal_standby(true)?;
        let said = rewound?;
        let said = format!("{}{}", said.stdout, said.stderr);
        if said.contains("on the same timeline") {
            return Err(same_number());
        }
        Ok(!said.contains("no rewind required"))
    }

    /// The old directory is kept aside when there is room for both, one such directory at most; its
    /// diverged log is kept in any case. Without room for both it is removed before the copy is made, so
    /// what must fit is one database and the log written meanwhile. If that copy breaks there is no data
    /// directory, and the next command is a copy; what is left of either is recognised by its name.
    async fn clone_anew(&self, source: &Link) -> Result<Option<PathBuf>, ActuatorError> {
        self.check_source_version(source).await?;
        let aside = self.layout.beside("replaced");
        remove_folder(&aside)?;
        let keeps = self.free_bytes()? > self.size_of(source).await?.saturating_add(ROOM_FOR_BOTH);
        if keeps {
            self.fetch_copy(source).await?;
            let moved = fs::rename(&self.layout.data_dir, &aside);
            moved.map_err(|e| ActuatorError::file("putting aside", &self.layout.data_dir, e))?;
        } else {
            tracing::warn!(
                "no room for two copies: the old data directory is removed, its diverged log is kept"
            );
            self.layout.remove()?;
            self.fetch_copy(source).await?;
        }
        self.layout.finish_building()?;
        Ok(keeps.then_some(aside))
    }
}

/// The source, as far as it matters here.
struct Theirs {
    system: String,
    timeline: u32,
    history: String,
}

/// It was stopped in order, and before the place where the histories part.
fn ended_before(control: &ControlData, from: Divergence) -> bool {
    let end = control.checkpoint;
    control.state == SHUT_DOWN && end.timeline == from.timeline && end.lsn < from.lsn
}

fn same_number() -> ActuatorError {
    ActuatorError::WrongState {
        command: "rewind",
        problem: "its timeline has the same number as the source's and is another one".to_owned(),
    }
}

fn followed(detail: &str, kept_wal: Option<PathBuf>) -> Rejoined {
    Rejoined {
        method: RejoinMethod::Followed,
        kept_wal,
        kept_data: None,
        lost: Lost::Nothing,
        detail: detail.to_owned(),
    }
}

/// The beginning of a record, with its checksum. The shortest that begins a timeline has 42 bytes; what
/// follows it may not have reached everybody.
const RECORD: usize = 40;
const IDENTITY: &str = "
  with me as (select case when not pg_is_in_recovery()
                          then left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline)
  select pg_is_in_recovery() as standby, (select system_identifier from pg_control_system()) as system,
         timeline, pg_read_file('pg_wal/' || timeline || '.history', 0, 1048576, true) as history
    from me";
/// What stands before the first record of a page, and of a segment.
const PAGE: u64 = 8192;
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;
const RECORDS: &str = "200000";
const ROOM_FOR_BOTH: u64 = 512 << 20;
const LOOK: Deadline = Deadline::new(Duration::from_secs(10), "it reads one page");
const LIST: Deadline = Deadline::new(Duration::from_secs(60), "it reads the diverged segments once");
const REWIND: Deadline =
    Deadline::new(Duration::from_secs(1800), "changed blocks are copied from the source");
