//! Commands to a lab that runs in another terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use meridian_lab::control::{self, Client, Holder};
use meridian_lab::process::Identity;
use meridian_lab::{Fault, LabError};
use meridian_telemetry::clock;

use super::{DownArgs, StatusArgs, Which, say, table, tell};
use crate::output::{No, Output, json, json_line, print};

/// How long a lab may take to go down.
const DOWN_WITHIN: Duration = Duration::from_secs(40);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = client(args.which.lab.as_deref())?.status()?;
    match args.which.output {
        Output::Json => print(&json(&status)?),
        Output::Table if args.verbose => say(&table::verbose(&status).join("\n")),
        Output::Table => say(&table::lines(&status).join("\n")),
    }
    Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn fault(fault: Fault, which: &Which) -> anyhow::Result<ExitCode> {
    let mut client = client(which.lab.as_deref())?;
    let began = clock::now();
    let record = client.fault(fault)?;
    match which.output {
        Output::Json => print(&json_line(&record)?),
        Output::Table => {
            let millis = clock::now().since(began).as_millis();
            say(&format!("{} {}: {} ({millis} ms)", table::time(record.wall), record.fault, record.detail));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn down(args: &DownArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.which.lab.as_deref();
    let (running, stopped) = (control::running(), control::stopped());
    let (holder, runs) = to_end(&running, &stopped, wanted)?;
    if runs {
        end(&holder, args.purge)?;
    } else {
        if running.is_empty() {
            tell("no lab runs here");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        // Who interrupts it is told what is left.
        let tidied = runtime.block_on(async {
            tokio::select! {
                tidied = control::tidy(&holder, args.purge, &tell) => tidied.map(Some),
                _ = tokio::signal::ctrl_c() => Ok(None),
            }
        });
        // Files are removed on a thread that nobody waits for.
        runtime.shutdown_background();
        if tidied?.is_none() {
            return Ok(ExitCode::from(crate::INTERRUPTED));
        }
    }
    let was = if runs { "is down" } else { "was stopped before" };
    let data = if args.purge { "removed" } else { "kept" };
    match args.which.output {
        Output::Json => {
            say(&serde_json::json!({"number": holder.number, "name": holder.name, "data": data}).to_string())
        }
        Output::Table => {
            let Holder { number, dir, name, .. } = &holder;
            let more = if runs || args.purge {
                String::new()
            } else {
                format!(" (--lab {number} --purge removes it)")
            };
            say(&format!("lab {number} ({name}) {was}; its data in {} is {data}{more}", dir.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The lab that is meant, and whether it runs: a running one before a stopped one.
fn to_end(running: &[Holder], stopped: &[Holder], wanted: Option<&str>) -> Result<(Holder, bool), LabError> {
    match control::choose(running, wanted) {
        Ok(holder) => Ok((holder, true)),
        Err(error) if wanted.is_none() && running.len() > 1 => Err(error),
        Err(_) if running.is_empty() && stopped.is_empty() => {
            Err(LabError::NoLab("no lab runs here, and none has left data".to_owned()))
        }
        Err(_) => match control::choose(stopped, wanted) {
            Ok(holder) => Ok((holder, false)),
            Err(_) if !running.is_empty() => {
                control::choose(&[running, stopped].concat(), wanted).map(|h| (h, false))
            }
            Err(_) => Err(LabError::NoLab(none_runs(stopped, wanted))),
        },
    }
}

/// None runs, and which of the stopped ones is meant is not clear.
fn none_runs(stopped: &[Holder], wanted: Option<&str>) -> String {
    let all = stopped.iter().map(|h| format!("{} ({})", h.number, h.name)).collect::<Vec<_>>().join(", ");
    let none =
        wanted.map(|wanted| format!(", and none of the stopped ones is `{wanted}`")).unwrap_or_default();
    format!(
        "no lab runs here{none}. Stopped labs have left data: {all}; \
         `meridian lab down --lab NUMBER --purge` removes it"
    )
}

fn client(wanted: Option<&str>) -> Result<Client, LabError> {
    Client::connect(&control::choose(&control::running(), wanted)?.dir)
}

fn end(holder: &Holder, purge: bool) -> anyhow::Result<()> {
    let process = Identity::of(holder.pid);
    Client::connect(&holder.dir)?.down(purge)?;
    tell(&format!("lab {} ({}) is going down", holder.number, holder.name));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let gone = async {
        while process.is_alive() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = runtime
        .context("cannot start the runtime")?
        .block_on(async { tokio::time::timeout(DOWN_WITHIN, gone).await });
    if ended.is_err() {
        let (seconds, pid) = (DOWN_WITHIN.as_secs(), holder.pid);
        let number = holder.number;
        return Err(No(format!(
            "lab {number} is not down after {seconds} s: `kill -9 {pid}` ends it and all of its processes"
        ))
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_lab_is_found_beside_a_running_one() {
        let lab = |number, name: &str| Holder { number, dir: "/x".into(), name: name.to_owned(), pid: 1 };
        let (running, stopped) = ([lab(30, "shop")], [lab(10, "shop"), lab(11, "bank")]);
        let ended = |wanted| to_end(&running, &stopped, wanted).map(|(h, runs)| (h.number, runs));
        assert_eq!(ended(Some("10")).unwrap(), (10, false));
        assert_eq!(ended(Some("bank")).unwrap(), (11, false));
        assert_eq!((ended(Some("shop")).unwrap(), ended(None).unwrap()), ((30, true), (30, true)));
        let told = ended(Some("12")).unwrap_err().to_string();
        assert!(told.contains("there are 30 (shop), 10 (shop), 11 (bank)"), "{told}");
        assert_eq!(to_end(&[], &stopped[..1], None).unwrap().0.number, 10);
        let told = to_end(&[], &stopped, None).unwrap_err().to_string();
        assert!(
            told.starts_with("no lab runs here. Stopped labs have left data: 10 (shop), 11 (bank)"),
            "{told}"
        );
        let told = to_end(&[], &stopped, Some("12")).unwrap_err().to_string();
        assert!(told.starts_with("no lab runs here, and none of the stopped ones is `12`"), "{told}");
    }
}
