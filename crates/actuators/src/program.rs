//! A program of the user's, as a step of a run.
//!
//! It gets nothing of ours but what it is told: `MERIDIAN_*`, a `PATH`, and what the plan gives it. It ends
//! with its step: who drops the wait (the step's timeout, a node that stops) kills it, and whoever it has
//! started dies with it. What it said last is kept in a file of the node's data directory, for the run itself
//! is one value in etcd and has room for a line or two. What it takes from secrets is in neither.

mod secrets;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_model::Name;
use meridian_model::plan::Exec;
use meridian_model::run::Run;

use crate::error::ActuatorError;
use crate::process::{Environment, Exit, KillOnDrop, Launch, Spawner, tail};
use secrets::Secrets;

/// Runs it to its end; says how it ended and what it said last. A program that ends with anything but 0
/// is an error.
pub(crate) async fn execute(
    spawner: &Spawner,
    exec: &Exec,
    run: &Run,
    step: &Name,
    data_dir: &Path,
) -> Result<String, ActuatorError> {
    let secrets = Arc::new(Secrets::read(&exec.env_files).await?);
    let launch = launch(exec, &secrets, run, step, data_dir)?;
    let program = secrets.hide(&launch.program.display().to_string());
    let file = output_file(data_dir, run, step);
    let (into, hidden, most) = (file.clone(), Arc::clone(&secrets), output_max(exec));
    // Also when nobody waits any more: what a program said that hung is what people want to know.
    let keep = move |exit: &Exit| {
        if let Err(error) = keep(&into, &hidden.heard(&exit.stdout, most)) {
            tracing::warn!(file = %into.display(), %error, "the output of a step could not be kept");
        }
    };
    let child = KillOnDrop(spawner.spawn(launch, Some(Box::new(keep)))?);
    let exit = child.0.wait().await.ok_or(ActuatorError::ThreadGone("reaper"))?;
    let said = secrets.heard(&exit.stdout, most);
    let words = match tail(&said, WORDS_MAX) {
        "" => "it said nothing".to_owned(),
        words => format!("it said, kept in {}: {words}", file.display()),
    };
    if exit.status.success() {
        return Ok(format!("{program} ended with {}; {words}", exit.status));
    }
    Err(ActuatorError::Program {
        program,
        what: format!("carrying out step {step}"),
        status: exit.status.to_string(),
        stderr: words,
    })
}

/// Where the last words of a step's program are kept: those of its latest attempt.
pub(crate) fn output_file(data_dir: &Path, run: &Run, step: &Name) -> PathBuf {
    data_dir.join(FOLDER).join(format!("{}.{step}.log", run.id))
}

fn output_max(exec: &Exec) -> usize {
    usize::try_from(exec.output_max).unwrap_or(usize::MAX)
}

fn launch(
    exec: &Exec,
    secrets: &Secrets,
    run: &Run,
    step: &Name,
    data_dir: &Path,
) -> Result<Launch, ActuatorError> {
    let wrong = |problem: String| {
        let problem = secrets.hide(&problem);
        ActuatorError::WrongState { command: "run the program of a step", problem }
    };
    let (program, args) =
        exec.command.split_first().ok_or_else(|| wrong("the plan names no program".to_owned()))?;
    if !program.starts_with('/') {
        return Err(wrong(format!("`{program}` is no absolute path")));
    }
    let directory = exec.directory.clone().unwrap_or_else(|| data_dir.to_owned());
    if !directory.is_dir() {
        return Err(wrong(format!("its directory {} is not there; make it", directory.display())));
    }
    let mut launch = Launch::tool(PathBuf::from(program), args.iter().map(OsString::from));
    launch.environment = Environment::Bare;
    let told = [
        ("MERIDIAN_RUN", run.id.to_string()),
        ("MERIDIAN_GROUP", run.group.to_string()),
        ("MERIDIAN_FROM", run.from.as_ref().map(Name::to_string).unwrap_or_default()),
        ("MERIDIAN_TO", run.to.to_string()),
        ("MERIDIAN_EPOCH", run.epoch.to_string()),
        ("MERIDIAN_STEP", step.to_string()),
    ];
    let open = exec.env.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let secret = secrets.env().map(|(name, value)| (name, value.to_owned()));
    launch.env = open.chain(secret).chain(told).map(|(name, value)| (name.into(), value.into())).collect();
    launch.directory = directory;
    launch.output = secrets.output(output_max(exec));
    Ok(launch)
}

/// For the node's user only: nobody knows what such a program says.
fn keep(file: &Path, words: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    make_room(folder, file)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(words.as_bytes())
}

/// Removes the oldest files beyond what is kept, so that there is room for one more.
fn make_room(folder: &Path, next: &Path) -> io::Result<()> {
    let others = fs::read_dir(folder)?.filter_map(Result::ok).filter(|entry| entry.path() != next);
    let aged = others.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
    let mut kept: Vec<_> = aged.collect();
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(FILES_MAX);
    for (_, path) in kept.iter().take(surplus) {
        // Another database's step may have made room at the same moment.
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

const FOLDER: &str = "steps";
/// Of one program each, the latest.
const FILES_MAX: usize = 100;
/// Of its last words, in bytes, what stands in the run.
const WORDS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_outputs_make_room_for_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = |n: usize| folder.path().join(FOLDER).join(format!("run.{n}.log"));
        let old = std::time::SystemTime::UNIX_EPOCH;
        for n in 0..FILES_MAX {
            keep(&file(n), "words").unwrap();
            let second = std::time::Duration::from_secs(n as u64);
            fs::File::open(file(n)).unwrap().set_modified(old + second).unwrap();
        }
        keep(&file(5), "others").unwrap();
        assert!(file(0).exists(), "one that is written again needs no room");
        keep(&file(FILES_MAX), "more").unwrap();
        let all = fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!((all, file(0).exists(), file(1).exists()), (FILES_MAX, false, true));
        assert_eq!(fs::read_to_string(file(5)).unwrap(), "others");
    }
}
