//! The files of one member: whose data directory it is, and everything we write beside and into it.
//!
//! Rule: a data directory carries `standby.signal` at all times except while it is being started as a
//! primary on command. So no start by accident, after whatever crash, can make a second writer.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use meridian_model::Epoch;

use super::config::PostgresConfig;
use super::settings;
use crate::error::ActuatorError;
use crate::process::User;

/// The state of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataDir {
    /// Not there, or empty.
    Absent,
    /// Made by us for this group.
    Ours,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) data_dir: PathBuf,
    pub(crate) work_dir: PathBuf,
    /// Whose files they are.
    pub(crate) user: Option<User>,
    major: u32,
    group: String,
}

impl Layout {
    /// Makes our own folder and finds the data directory's canonical path (what `/proc` will show).
    pub(crate) fn prepare(
        config: &PostgresConfig,
        user: Option<User>,
        major: u32,
    ) -> Result<Self, ActuatorError> {
        let making = |dir: &Path, e| ActuatorError::file("making the folder", dir, e);
        let parent = config.postgres.data_dir.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|e| making(parent, e))?;
        fs::create_dir_all(&config.work_dir).map_err(|e| making(&config.work_dir, e))?;
        let canonical = |dir: &Path| dir.canonicalize().map_err(|e| ActuatorError::file("finding", dir, e));
        let name = config.postgres.data_dir.file_name().unwrap_or_default();
        let data_dir = match config.postgres.data_dir.canonicalize() {
            Ok(dir) => dir,
            Err(_) => canonical(parent)?.join(name),
        };
        let layout = Self {
            data_dir,
            work_dir: canonical(&config.work_dir)?,
            user,
            major,
            group: config.group.as_str().to_owned(),
        };
        layout.own(&layout.work_dir, 0o700)?;
        layout.reachable(&layout.work_dir)?;
        layout.reachable(&layout.data_dir)?;
        Ok(layout)
    }

    /// Looks at the data directory without touching it.
    pub(crate) fn look(&self) -> Result<DataDir, ActuatorError> {
        let dir = &self.data_dir;
        let reading = |e| ActuatorError::file("reading", dir, e);
        let found = match fs::metadata(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(DataDir::Absent),
            found => found.map_err(reading)?,
        };
        if !found.is_dir() {
            return Err(self.wrong("it is no folder", "name a folder"));
        }
        if fs::read_dir(dir).map_err(reading)?.next().is_none() {
            return Ok(DataDir::Absent);
        }
        self.check_version()?;
        self.check_marker()?;
        self.check_owner(&found)?;
        Ok(DataDir::Ours)
    }

    /// The log of the server.
    pub(crate) fn log(&self) -> PathBuf {
        self.work_dir.join("postgres.log")
    }

    /// The password file of the connection to the upstream. It is gone while sealed.
    pub(crate) fn upstream_passfile(&self) -> PathBuf {
        self.work_dir.join("upstream.pgpass")
    }

    /// The password file of our tools.
    pub(crate) fn tools_passfile(&self) -> PathBuf {
        self.work_dir.join("tools.pgpass")
    }

    /// A folder beside the data directory, where one is built before it takes the name.
    pub(crate) fn building(&self) -> PathBuf {
        self.beside("building")
    }

    /// A folder beside the data directory.
    pub(crate) fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.data_dir.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(what);
        self.data_dir.with_file_name(name)
    }

    /// Takes the old building away and makes an empty one. It is ours by its name and never held data
    /// that anybody relied on.
    pub(crate) fn begin_building(&self) -> Result<PathBuf, ActuatorError> {
        let dir = self.building();
        remove_folder(&dir)?;
        fs::create_dir(&dir).map_err(|e| ActuatorError::file("making the folder", &dir, e))?;
        self.own(&dir, 0o700)?;
        Ok(dir)
    }

    /// Takes the data directory away: first its name, as one step, so that a half-removed one is never
    /// taken for a data directory. What a crash leaves of it is removed by [`Self::finish_removing`].
    pub(crate) fn remove(&self) -> Result<(), ActuatorError> {
        let doomed = self.beside(REMOVING);
        remove_folder(&doomed)?;
        fs::rename(&self.data_dir, &doomed)
            .map_err(|e| ActuatorError::file("putting aside", &self.data_dir, e))?;
        remove_folder(&doomed)
    }

    /// Removes what an earlier life had begun to remove. That it cannot is no reason not to start.
    pub(crate) fn finish_removing(&self) {
        if let Err(error) = remove_folder(&self.beside(REMOVING)) {
            tracing::warn!(%error, "remove it by hand: it takes room and is of no use");
        }
    }

    /// Gives what was built the data directory's name, as one step.
    pub(crate) fn finish_building(&self) -> Result<(), ActuatorError> {
        let building = self.building();
        self.put(&building.join(MARKER), &self.marker(), 0o600)?;
        self.put(&building.join(STANDBY_SIGNAL), "", 0o600)?;
        fs::rename(&building, &self.data_dir).map_err(|e| {
            let problem = format!("the new one cannot take its name ({e})");
            self.wrong(&problem, "name a folder that is no mount point itself and whose parent is writable")
        })
    }

    /// Writes our configuration into the data directory. `names`: whose acknowledgements count, if it is
    /// not as the spec says.
    pub(crate) fn configure(
        &self,
        config: &PostgresConfig,
        upstream: Option<SocketAddr>,
        changed: settings::Changed<'_>,
        password: &str,
    ) -> Result<(), ActuatorError> {
        self.protect_upstream(config, upstream, password)?;
        let conf = settings::meridian_conf(config, upstream, changed, &self.upstream_passfile());
        self.edit("meridian.conf", |_| conf.clone())?;
        self.edit(HBA, |_| settings::hba(&config.postgres.superuser))?;
        self.edit("postgresql.conf", |text| match text.contains(INCLUDE) {
            true => text.to_owned(),
            false => format!("{text}\n{INCLUDE}\n"),
        })?;
        self.edit("postgresql.auto.conf", settings::without_managed)
    }

    /// Puts `standby.signal` in (or takes it out, for one start as a primary).
    pub(crate) fn signal_standby(&self, standby: bool) -> Result<(), ActuatorError> {
        let file = self.data_dir.join(STANDBY_SIGNAL);
        if standby {
            return self.put(&file, "", 0o600);
        }
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ActuatorError::file("removing", &file, e)),
            _ => Ok(()),
        }
    }

    /// The highest epoch seen here.
    pub(crate) fn seen_epoch(&self) -> Result<Epoch, ActuatorError> {
        let file = self.work_dir.join("epoch");
        match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map(Epoch).map_err(|_| {
                let garbled =
                    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is no epoch", text.trim()));
                ActuatorError::file("reading", &file, garbled)
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Epoch::NONE),
            Err(e) => Err(ActuatorError::file("reading", &file, e)),
        }
    }

    /// Keeps a higher epoch; refuses a lower one.
    pub(crate) fn raise_epoch(&self, given: Epoch) -> Result<(), ActuatorError> {
        let seen = self.seen_epoch()?;
        if given < seen {
            return Err(ActuatorError::StaleEpoch { given, seen });
        }
        if given > seen {
            self.put(&self.work_dir.join("epoch"), &format!("{given}\n"), 0o600)?;
        }
        Ok(())
    }

    /// Writes a file whole, durably, with its owner and mode, under its name only when complete.
    pub(crate) fn put(&self, file: &Path, text: &str, mode: u32) -> Result<(), ActuatorError> {
        let wrote = |e| ActuatorError::file("writing", file, e);
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let fresh = PathBuf::from(name);
        let _there_was_none = fs::remove_file(&fresh);
        let mut open = fs::OpenOptions::new();
        let mut out = open.write(true).create_new(true).mode(mode).open(&fresh).map_err(wrote)?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(wrote)?;
        self.own(&fresh, mode)?;
        fs::rename(&fresh, file).map_err(wrote)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(wrote)
    }

    /// Gives a file or folder to the user that PostgreSQL runs as.
    pub(crate) fn own(&self, path: &Path, mode: u32) -> Result<(), ActuatorError> {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid))
                .map_err(|e| ActuatorError::file("giving away", path, e))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|e| ActuatorError::file("protecting", path, e))
    }

    /// An error about the data directory.
    pub(crate) fn wrong(&self, problem: &str, advice: &str) -> ActuatorError {
        ActuatorError::DataDirectory {
            dir: self.data_dir.clone(),
            problem: problem.to_owned(),
            advice: advice.to_owned(),
        }
    }

    fn protect_upstream(
        &self,
        config: &PostgresConfig,
        upstream: Option<SocketAddr>,
        password: &str,
    ) -> Result<(), ActuatorError> {
        let file = self.upstream_passfile();
        if upstream.is_some() && file.exists() {
            return Ok(());
        }
        if upstream.is_some() {
            return self.put(&file, &settings::passfile_line(&config.postgres.superuser, password), 0o600);
        }
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ActuatorError::file("removing", &file, e)),
            _ => Ok(()),
        }
    }

    fn edit(&self, name: &str, change: impl Fn(&str) -> String) -> Result<(), ActuatorError> {
        let file = self.data_dir.join(name);
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|e| ActuatorError::file("reading", &file, e))?,
        };
        let changed = change(&text);
        if changed == text { Ok(()) } else { self.put(&file, &changed, 0o600) }
    }

    fn check_version(&self) -> Result<(), ActuatorError> {
        let Ok(version) = fs::read_to_string(self.data_dir.join("PG_VERSION")) else {
            let problem = "it is not empty and holds no PostgreSQL";
            return Err(self.wrong(problem, "name an empty folder, or one that does not exist yet"));
        };
        if version.trim() == self.major.to_string() {
            return Ok(());
        }
        let problem =
            format!("it was made by PostgreSQL {}, the programs are {}", version.trim(), self.major);
        Err(self.wrong(&problem, "set `binDir` to that version, or upgrade the directory with pg_upgrade"))
    }

    fn check_marker(&self) -> Result<(), ActuatorError> {
        match fs::read_to_string(self.data_dir.join(MARKER)) {
            Ok(text) if text == self.marker() => Ok(()),
            Ok(text) => Err(self.wrong(
                &format!("it belongs to another database ({}), not to {}", text.trim(), self.marker().trim()),
                "correct `dataDir` in the spec",
            )),
            Err(_) => Err(self.wrong(
                "it holds a PostgreSQL that Meridian did not make",
                "name an empty folder, and load the data by pg_dump and psql",
            )),
        }
    }

    fn check_owner(&self, found: &fs::Metadata) -> Result<(), ActuatorError> {
        let expected = self.user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |u| u.uid);
        if found.uid() != expected {
            let problem =
                format!("its owner is user number {}, PostgreSQL runs as number {expected}", found.uid());
            return Err(self.wrong(&problem, "set `runAs` to its owner, or chown it"));
        }
        if found.mode() & 0o027 != 0 {
            let problem = format!("others may enter it (mode {:o})", found.mode() & 0o777);
            return Err(self.wrong(&problem, "chmod 700 it: PostgreSQL refuses to start otherwise"));
        }
        Ok(())
    }

    /// A folder above that the unprivileged user may not pass would give a puzzling error much later.
    fn reachable(&self, path: &Path) -> Result<(), ActuatorError> {
        let Some(user) = &self.user else { return Ok(()) };
        for folder in path.ancestors().skip(1) {
            let Ok(found) = fs::metadata(folder) else { continue };
            let bit = match () {
                () if found.uid() == user.uid => 0o100,
                () if found.gid() == user.gid => 0o010,
                () => 0o001,
            };
            if found.mode() & bit == 0 {
                let problem = format!("user `{}` may not pass {}", user.name, folder.display());
                let advice = format!("chmod o+x {}", folder.display());
                return Err(ActuatorError::DataDirectory { dir: path.to_owned(), problem, advice });
            }
        }
        Ok(())
    }

    fn marker(&self) -> String {
        format!("meridian group {}\n", self.group)
    }
}

/// A folder that is ours by its name; that there is none is no error.
pub(crate) fn remove_folder(dir: &Path) -> Result<(), ActuatorError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ActuatorError::file("removing", dir, e)),
        _ => Ok(()),
    }
}

/// What the data directory is called while it is being removed.
const REMOVING: &str = "removing";
/// Says whose data directory it is.
const MARKER: &str = "meridian-member";
/// PostgreSQL's own sign that it is to start as a standby.
const STANDBY_SIGNAL: &str = "standby.signal";
/// Our access rules.
pub(crate) const HBA: &str = "meridian_hba.conf";
const INCLUDE: &str = "include_if_exists = 'meridian.conf'";
