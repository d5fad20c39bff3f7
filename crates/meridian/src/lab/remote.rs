//! Commands to a lab that runs in another terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use meridian_lab::control::{self, Client, Holder};
use meridian_lab::{Fault, LabError};
use meridian_telemetry::clock;

use super::{DownArgs, Which, say, table, tell};
use crate::output::Output;

/// How long a lab may take to go down.
const DOWN_WITHIN: Duration = Duration::from_secs(40);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn status(which: &Which) -> anyhow::Result<ExitCode> {
    let status = client(which.lab.as_deref())?.status()?;
    match which.output {
        Output::Json => say(&serde_json::to_string(&status)?),
        Output::Table => say(&table::lines(&status).join("\n")),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn fault(fault: Fault, which: &Which) -> anyhow::Result<ExitCode> {
    let mut client = client(which.lab.as_deref())?;
    let began = clock::now();
    let record = client.fault(fault)?;
    match which.output {
        Output::Json => say(&serde_json::to_string(&record)?),
        Output::Table => {
            let millis = clock::now().since(began).as_millis();
            say(&format!("{} {}: {} ({millis} ms)", table::time(record.wall), record.fault, record.detail));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn down(args: &DownArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.which.lab.as_deref();
    let running = control::running();
    let (holder, was) = match control::choose(&running, wanted) {
        Ok(holder) => {
            end(&holder, args.purge)?;
            (holder, "is down")
        }
        Err(error) if running.len() > 1 => return Err(error.into()),
        Err(_) => {
            let holder = stopped(wanted)?;
            control::tidy(&holder, args.purge)?;
            (holder, "did not run")
        }
    };
    let data = if args.purge { "removed" } else { "kept" };
    match args.which.output {
        Output::Json => {
            say(&serde_json::json!({"number": holder.number, "name": holder.name, "data": data}).to_string())
        }
        Output::Table => {
            let dir = holder.dir.display();
            say(&format!("lab {} ({}) {was}; its data in {dir} is {data}", holder.number, holder.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn client(wanted: Option<&str>) -> Result<Client, LabError> {
    Client::connect(&control::choose(&control::running(), wanted)?.dir)
}

/// A lab that does not run any more, with data.
fn stopped(wanted: Option<&str>) -> Result<Holder, LabError> {
    let stopped = control::stopped();
    if stopped.is_empty() {
        return Err(LabError::NoLab("no lab runs here, and none has left data".to_owned()));
    }
    control::choose(&stopped, wanted)
}

fn end(holder: &Holder, purge: bool) -> anyhow::Result<()> {
    Client::connect(&holder.dir)?.down(purge)?;
    tell(&format!("lab {} ({}) is going down", holder.number, holder.name));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let gone = async {
        while control::running().iter().any(|h| h.number == holder.number && h.pid == holder.pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let ended = runtime
        .context("cannot start the runtime")?
        .block_on(async { tokio::time::timeout(DOWN_WITHIN, gone).await });
    if ended.is_err() {
        let (seconds, pid) = (DOWN_WITHIN.as_secs(), holder.pid);
        bail!(
            "lab {} is not down after {seconds} s: `kill -9 {pid}` ends it and all of its processes",
            holder.number
        );
    }
    Ok(())
}
