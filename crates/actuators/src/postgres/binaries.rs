//! Finding PostgreSQL's programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ActuatorError;

/// A folder with PostgreSQL's server programs, all of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The folder.
    pub dir: PathBuf,
    /// 14 to 18.
    pub major: u32,
}

impl Binaries {
    /// The programs in `given`, or else the newest below `/usr/lib/postgresql`, or else those in `PATH`.
    ///
    /// # Errors
    /// [`ActuatorError::MissingProgram`] or [`ActuatorError::UnsupportedVersion`].
    pub fn find(given: Option<&Path>) -> Result<Self, ActuatorError> {
        let dir = match given {
            Some(dir) => dir.to_owned(),
            None => newest_below(Path::new(DEBIAN)).or_else(in_path).ok_or_else(nowhere)?,
        };
        for program in NEEDED {
            if !dir.join(program).is_file() {
                return Err(missing(program, &dir));
            }
        }
        let asked = Command::new(dir.join("postgres")).arg("--version").output();
        let said = asked.map_err(|e| ActuatorError::file("running", dir.join("postgres"), e))?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        match major_of(&said) {
            Some(major) if SUPPORTED.contains(&major) => Ok(Self { dir, major }),
            _ => Err(ActuatorError::UnsupportedVersion { found: said, bin_dir: dir }),
        }
    }

    /// The path of one of them.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn newest_below(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let versions = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let complete = |major: &u32| {
        let bin = folder.join(major.to_string()).join("bin");
        SUPPORTED.contains(major) && NEEDED.iter().all(|p| bin.join(p).is_file())
    };
    let newest = versions.filter(complete).max()?;
    Some(folder.join(newest.to_string()).join("bin"))
}

/// Links in `PATH` are followed to the folder where the other programs are.
fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("initdb")).find(|p| p.is_file())?;
    found.canonicalize().ok()?.parent().map(Path::to_owned)
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major_of(said: &str) -> Option<u32> {
    let version = said.split_once("(PostgreSQL) ")?.1;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn nowhere() -> ActuatorError {
    ActuatorError::MissingProgram {
        program: "PostgreSQL".to_owned(),
        searched: format!("{DEBIAN}/*/bin and PATH"),
        advice: "install it (Debian: apt-get install postgresql) or set `binDir` to the folder with initdb"
            .to_owned(),
    }
}

fn missing(program: &str, dir: &Path) -> ActuatorError {
    ActuatorError::MissingProgram {
        program: program.to_owned(),
        searched: dir.display().to_string(),
        advice: "set `binDir` to a folder with all server programs of PostgreSQL 14 to 18".to_owned(),
    }
}

const DEBIAN: &str = "/usr/lib/postgresql";
const NEEDED: [&str; 5] = ["postgres", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata"];
const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_printed() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18.4\n", Some(18)),
            ("postgres (PostgreSQL) 19devel\n", Some(19)),
            ("something else", None),
        ] {
            assert_eq!(major_of(said), major, "{said}");
        }
    }

    #[test]
    fn the_newest_complete_version_is_taken() {
        let root = tempfile::tempdir().unwrap();
        for (major, programs) in
            [("14", &NEEDED[..]), ("15", &NEEDED[..]), ("17", &NEEDED[..1]), ("9.6", &NEEDED[..])]
        {
            let bin = root.path().join(major).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            programs.iter().for_each(|p| std::fs::write(bin.join(p), "").unwrap());
        }
        assert_eq!(newest_below(root.path()), Some(root.path().join("15/bin")));
    }
}
