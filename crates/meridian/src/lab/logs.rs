//! `meridian lab logs`: the logs of a region's part, wherever the part keeps them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use meridian_lab::process::{Tail, tail};
use meridian_lab::{LabError, control};

use super::{LogsArgs, Part, say};

/// How deep below the region's folder logs lie.
const DEPTH: usize = 4;
/// How often a followed log is read.
const READ_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let mut labs = control::running();
    if labs.is_empty() {
        labs = control::stopped();
    }
    let holder = control::choose(&labs, args.lab.as_deref())?;
    let folder = holder.dir.join(args.region.as_str());
    if !folder.join("spec.yaml").is_file() {
        let specs = meridian_lab::specs_of(&holder).unwrap_or_default();
        let names = specs.iter().filter_map(|spec| spec.parent()?.file_name()?.to_str());
        let known = names.collect::<Vec<_>>().join(", ");
        return Err(LabError::NoRegion { name: args.region.to_string(), known }.into());
    }
    let mut files = Vec::new();
    find(&folder, DEPTH, &mut files);
    files.retain(|file| part_of(file) == args.part);
    files.sort();
    if files.is_empty() {
        bail!("there is no log of that part yet below {}", folder.display());
    }
    let mut followed: Vec<Tail> = files.iter().cloned().map(Tail::from_end).collect();
    for file in &files {
        let last = tail(file, args.lines);
        if last.is_empty() {
            continue;
        }
        if files.len() > 1 {
            say(&format!("==> {} <==", file.display()));
        }
        say(&last);
    }
    if args.follow { follow(&mut followed).map(|never| match never {}) } else { Ok(ExitCode::SUCCESS) }
}

fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "log") {
            found.push(path);
        } else if depth > 0 && path.is_dir() && !path.is_symlink() {
            find(&path, depth - 1, found);
        }
    }
}

/// Whose log that is, by its name; what is nobody else's is the application's.
fn part_of(file: &Path) -> Part {
    match file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default() {
        "node" => Part::Node,
        "etcd" => Part::Etcd,
        "postgres" | "guard" => Part::Postgres,
        _ => Part::App,
    }
}

/// Until Ctrl-C, which ends the program.
fn follow(logs: &mut [Tail]) -> anyhow::Result<std::convert::Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.context("cannot start the runtime")?;
    loop {
        for log in logs.iter_mut() {
            let new = log.read();
            if !new.is_empty() {
                say(new.trim_end_matches('\n'));
            }
        }
        // Made inside the runtime: a sleep needs its clock.
        runtime.block_on(async { tokio::time::sleep(READ_EVERY).await });
    }
}
