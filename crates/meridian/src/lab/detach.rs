//! `meridian lab up --detach`: the same program once more in a session of its own; this one waits for health.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use meridian_lab::control::{self, Client, Holder};
use meridian_lab::plan::default_root;
use meridian_lab::process::{Tail, tail};
use meridian_telemetry::clock;

use super::{UpArgs, say, tell};
use crate::output::Output;

/// How often the new process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Beyond `--wait`, for the start itself.
const GRACE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    // Faults of the spec are told here, not in a log.
    if crate::check::read_or_report(&args.spec)?.is_none() {
        return Ok(ExitCode::FAILURE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let (child, log) = start(args)?;
    let holder = runtime.block_on(until_healthy(child, &log, args))?;
    match args.output {
        Output::Json => {
            let told = serde_json::json!({"number": holder.number, "dir": holder.dir, "pid": holder.pid, "log": log});
            say(&told.to_string());
        }
        Output::Table => {
            let (number, log) = (holder.number, log.display());
            say(&format!(
                "lab {number} runs in the background, log: {log}\nend it: meridian lab down --lab {number}"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(args: &UpArgs) -> anyhow::Result<(Child, PathBuf)> {
    let root = default_root();
    let mut folder = std::fs::DirBuilder::new();
    folder
        .recursive(true)
        .mode(0o711)
        .create(&root)
        .with_context(|| format!("cannot create {}", root.display()))?;
    let log = root.join(format!("up-{}.log", std::process::id()));
    let open = |log: &PathBuf| OpenOptions::new().create(true).append(true).open(log);
    let file: File = open(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new("setsid");
    command.arg(program).args(["lab", "up"]).args(&args.spec);
    command.args(["--seed", &args.seed.to_string()]);
    command.args(["--wait", &format!("{}ms", args.wait.as_millis())]);
    if let Some(number) = args.lab {
        command.args(["--lab", &number.to_string()]);
    }
    if let Some(dir) = &args.dir {
        command.arg("--dir").arg(dir);
    }
    if args.fresh {
        command.arg("--fresh");
    }
    if args.keep {
        command.arg("--keep");
    }
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child =
        command.spawn().context("cannot start `setsid` (Debian, Ubuntu: apt-get install util-linux)")?;
    Ok((child, log))
}

/// Passes the progress on until the lab is healthy.
async fn until_healthy(mut child: Child, log: &Path, args: &UpArgs) -> anyhow::Result<Holder> {
    let began = clock::now();
    let mut progress = Tail::from_start(log.to_owned());
    loop {
        for line in progress.read().lines() {
            tell(line);
        }
        if let Some(status) = child.try_wait().context("cannot look after the lab")? {
            bail!("the lab ended ({status}); its last words, from {}:\n{}", log.display(), tail(log, 5));
        }
        let pid = child.id();
        let holder = control::running().into_iter().find(|holder| holder.pid == pid);
        if let Some(holder) = holder
            && Client::connect(&holder.dir).and_then(|mut client| client.status()).is_ok_and(|s| s.healthy)
        {
            return Ok(holder);
        }
        if clock::now().since(began) > args.wait + GRACE {
            bail!("the lab (pid {pid}) is not healthy yet; it goes on, see {}", log.display());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
