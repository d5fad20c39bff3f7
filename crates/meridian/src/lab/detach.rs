//! `meridian lab up --detach`: the same program once more in a session of its own; this one passes on what it
//! says until all is healthy.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use meridian_lab::control;
use meridian_lab::plan::default_root;
use meridian_lab::process::{Identity, Tail};
use meridian_telemetry::clock;
use rustix::process::Signal;

use super::{UpArgs, reach, say, tell};
use crate::output::{No, Output};

/// How often the new process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Beyond `--wait`, for the start itself.
const GRACE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    // Faults of the spec are told here, not in a log.
    if crate::check::read_or_report(&args.spec)?.is_none() {
        return Ok(ExitCode::FAILURE);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let (child, log) = start(args)?;
    let process = Identity::of(child.id());
    let pid = process.pid;
    let holder = || control::running().into_iter().find(|holder| holder.pid == pid);
    let waited = runtime.block_on(async {
        tokio::select! {
            waited = until_healthy(child, &log, args) => waited,
            _ = tokio::signal::ctrl_c() => Ok(Waited::Interrupted),
        }
    });
    let Some(holder) = holder().filter(|_| !matches!(waited, Ok(Waited::Ended(_)))) else {
        // It has ended, or has hardly begun. All that it said was passed on.
        process.signal(Signal::TERM);
        let _ = std::fs::remove_file(&log);
        return waited.map(|waited| match waited {
            Waited::Ended(code) => ExitCode::from(code),
            Waited::Healthy | Waited::Interrupted => ExitCode::from(crate::INTERRUPTED),
        });
    };
    let waited = waited?;
    // With the lab's data, so that it goes with it.
    let kept = holder.dir.join("up.log");
    let log = if std::fs::rename(&log, &kept).is_ok() { kept } else { log };
    let number = holder.number;
    if !matches!(waited, Waited::Healthy) {
        tell(&format!("lab {number} goes on in the background; end it: meridian lab down --lab {number}"));
        return Ok(ExitCode::from(crate::INTERRUPTED));
    }
    match args.output {
        Output::Json => {
            let told = serde_json::json!({"number": holder.number, "dir": holder.dir, "pid": holder.pid, "log": log});
            say(&told.to_string());
        }
        Output::Table => {
            let log = log.display();
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

/// How the waiting ended.
enum Waited {
    /// The lab is healthy.
    Healthy,
    /// The lab ended, with this exit code.
    Ended(u8),
    /// Somebody does not want to wait any more.
    Interrupted,
}

/// Passes on what the lab says until it is healthy: it says then how it is reached.
async fn until_healthy(mut child: Child, log: &Path, args: &UpArgs) -> anyhow::Result<Waited> {
    let began = clock::now();
    let mut progress = Tail::from_start(log.to_owned());
    loop {
        // Looked at first, so that its last words are read after its end.
        let ended = child.try_wait().context("cannot look after the lab")?;
        let said = progress.read();
        said.lines().for_each(tell);
        if let Some(status) = ended {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(Waited::Ended(code.filter(|code| *code != 0).unwrap_or(1)));
        }
        if said.lines().any(|line| line == reach::TRY) {
            return Ok(Waited::Healthy);
        }
        if clock::now().since(began) > args.wait + GRACE {
            let (pid, log) = (child.id(), log.display());
            return Err(No(format!("the lab (pid {pid}) is not healthy yet; it goes on, see {log}")).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
