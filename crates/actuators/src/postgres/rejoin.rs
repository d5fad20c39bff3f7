//! The way back of a member whose log may have gone on after its successor began.
//!
//! In this order, because each step makes the next one safe: stop it; ask the source for its history
//! (after a checkpoint, else its control file may still show the old timeline); keep what diverged;
//! rewind; if that cannot be done, clone anew with the old directory kept aside; follow.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::Epoch;
use meridian_telemetry::clock;

use super::Member;
use super::control::{ControlData, divergence, history};
use super::create::{FAR, SYSTEM};
use super::keep::{self, Divergence};
use super::link::Link;
use super::promote::CHECKPOINT;
use super::start::As;
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::execute::{RejoinMethod, Rejoined};
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
        let rejoined = match self.where_diverged(&control, &theirs) {
            None => followed("its log had not diverged", None),
            Some(from) => self.come_back(&link, from, &control).await?,
        };
        self.make_own_slot(&link).await?;
        self.start(As::Standby(Some(source)), ticket).await?;
        Ok(rejoined)
    }

    /// What `pg_controldata` says of the data directory.
    pub(super) async fn control_data(&self) -> Result<ControlData, ActuatorError> {
        let args = ["-D", &self.layout.data_dir.to_string_lossy()];
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
        let (keeping, began) = (clock::now().since(began), clock::now());
        match self.rewind(source.address()).await {
            Ok(false) => {
                // What was copied is only what the source has too.
                let _only_a_copy = fs::remove_dir_all(&kept);
                Ok(followed("pg_rewind found nothing to take back", None))
            }
            Ok(true) => Ok(Rejoined {
                method: RejoinMethod::Rewound,
                detail: format!(
                    "rewound to {} on timeline {} (log kept in {keeping:.1?}, rewound in {:.1?})",
                    from.lsn,
                    from.timeline,
                    clock::now().since(began)
                ),
                kept_wal: Some(kept),
                kept_data: None,
            }),
            Err(error) => {
                tracing::warn!(%error, "pg_rewind cannot bring it back; cloning it anew");
                let kept_data = self.clone_anew(source).await?;
                let detail = format!("cloned anew, because the rewind failed: {error}");
                Ok(Rejoined { method: RejoinMethod::Recloned, kept_wal: Some(kept), kept_data, detail })
            }
        }
    }

    /// A primary, with a checkpoint on its newest timeline.
    async fn ready_source(&self, source: &Link) -> Result<Theirs, ActuatorError> {
        let role = source.value("asking for its role", "select pg_is_in_recovery()", FAR).await?;
        if role != "f" {
            let problem = "it is a standby; only the primary can be rewound to".to_owned();
            return Err(ActuatorError::Source { address: source.address().to_string(), problem });
        }
        source.rows("a checkpoint before the rewind", "checkpoint", CHECKPOINT).await?;
        let system = source.value("asking for its identity", SYSTEM, FAR).await?;
        let sql = "select timeline_id from pg_control_checkpoint()";
        let timeline = source.value("asking for its timeline", sql, FAR).await?.parse().unwrap_or(1);
        let file = if timeline > 1 {
            let sql = format!("select pg_read_file('pg_wal/{timeline:08X}.history')");
            source.value("asking for its history", &sql, FAR).await?
        } else {
            String::new()
        };
        Ok(Theirs { system, timeline, history: file })
    }

    fn same_system_as(&self, control: &ControlData, theirs: &str) -> Result<(), ActuatorError> {
        if control.system == theirs {
            return Ok(());
        }
        let problem = format!("it is of database system {}, the source's is {theirs}", control.system);
        Err(self.layout.wrong(&problem, "move it away by hand if it is not needed; it can be cloned then"))
    }

    /// Where our history leaves the source's; `None` when ours is a beginning of theirs without an end.
    fn where_diverged(&self, control: &ControlData, theirs: &Theirs) -> Option<Divergence> {
        let file = self.layout.data_dir.join(format!("pg_wal/{:08X}.history", control.timeline));
        let ours = history(control.timeline, &fs::read_to_string(file).unwrap_or_default());
        let (timeline, lsn) = divergence(&ours, &history(theirs.timeline, &theirs.history))?;
        Some(Divergence { timeline, lsn })
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
        let launch = Launch::tool(self.binaries.program("pg_waldump"), args.chain(place).chain(limit));
        // It always ends with an error: the end of the log is where no valid record follows.
        let listed = self.spawner.run_to_end("listing what diverged", launch, LIST).await;
        let text = listed.map(|exit| exit.stdout).unwrap_or_default();
        if let Err(error) = keep::write(&kept.join("wal-records.txt"), &text) {
            tracing::warn!(%error, "the list of diverged records was not written");
        }
    }

    /// False: there was nothing to rewind. `pg_rewind` recovers a killed server itself, in a mode that
    /// refuses a standby's directory; so the sign is away for that time.
    async fn rewind(&self, source: SocketAddr) -> Result<bool, ActuatorError> {
        self.layout.configure(&self.config, None, &self.password)?;
        self.layout.signal_standby(false)?;
        let conninfo = self.tool_conninfo(source)?;
        let data_dir = self.layout.data_dir.to_string_lossy();
        let args = ["-D", &data_dir, "--source-server", &conninfo];
        let launch = Launch::tool(self.binaries.program("pg_rewind"), args).as_user(self.layout.user.clone());
        let rewound = self.spawner.run("taking the diverged log back", launch, REWIND).await;
        self.layout.signal_standby(true)?;
        let said = rewound?;
        Ok(!format!("{}{}", said.stdout, said.stderr).contains("no rewind required"))
    }

    /// The old directory is kept aside when there is room for both, one such directory at most; its
    /// diverged log is kept in any case.
    async fn clone_anew(&self, source: &Link) -> Result<Option<PathBuf>, ActuatorError> {
        let aside = self.layout.beside("replaced");
        let remove = |dir: &Path| match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(ActuatorError::file("removing the replaced", dir, e))
            }
            _ => Ok(()),
        };
        remove(&aside)?;
        let keeps = self.free_bytes()? > self.size_of(source).await?.saturating_add(ROOM_FOR_BOTH);
        if keeps {
            self.fetch_copy(source).await?;
            let moved = fs::rename(&self.layout.data_dir, &aside);
            moved.map_err(|e| ActuatorError::file("putting aside", &self.layout.data_dir, e))?;
        } else {
            tracing::warn!(
                "no room for two copies: the old data directory is removed, its diverged log is kept"
            );
            remove(&self.layout.data_dir)?;
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

fn followed(detail: &str, kept_wal: Option<PathBuf>) -> Rejoined {
    Rejoined { method: RejoinMethod::Followed, kept_wal, kept_data: None, detail: detail.to_owned() }
}

const RECORDS: &str = "200000";
const ROOM_FOR_BOTH: u64 = 512 << 20;
const LOOK: Deadline = Deadline::new(Duration::from_secs(10), "it reads one page");
const LIST: Deadline = Deadline::new(Duration::from_secs(60), "it reads the diverged segments once");
const REWIND: Deadline =
    Deadline::new(Duration::from_secs(1800), "changed blocks are copied from the source");
