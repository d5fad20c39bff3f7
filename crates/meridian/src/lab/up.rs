//! `meridian lab up` in the foreground: start, show, serve the control socket, end in order.
//! What its exit codes mean stands in its help.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use meridian_lab::{Lab, LabError, LabOptions, control};
use meridian_model::System;
use meridian_telemetry::clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::screen::Screen;
use super::{UpArgs, beside, reach, say, tell};
use crate::output::Output;

/// How often the nodes are asked and the table is drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let Some(system) = crate::check::read_or_report(&args.spec)? else { return Ok(ExitCode::FAILURE) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(up(&system, &args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn up(system: &System, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let options = LabOptions {
        number: args.lab,
        dir: args.dir.clone().map(std::path::absolute).transpose().context("--dir")?,
        seed: args.seed,
        fresh: args.fresh,
        ..LabOptions::default()
    };
    for line in beside::notices(system, args.lab) {
        tell(&line);
    }
    let lab = tokio::select! {
        lab = Lab::up_with(system, options, &tell) => lab?,
        // What runs already dies with this process.
        code = signals.next() => return Ok(ExitCode::from(code)),
    };
    let mut screen = Screen::new();
    let (heartbeat, election) = lab.etcd_timers();
    screen.line(&format!(
        "lab {} in {}; etcd: heartbeat {} ms, election {} ms",
        lab.number(),
        lab.dir().display(),
        heartbeat.as_millis(),
        election.as_millis()
    ));
    let ended = watch(&lab, args, &mut screen, &mut signals).await;
    screen.end();
    screen.line("going down (Ctrl-C again: at once)");
    let purge = ended.as_ref().is_ok_and(|ended| ended.purge);
    tokio::select! {
        done = lab.shutdown(purge) => done?,
        // What still runs dies with this process.
        _ = signals.next() => {}
    }
    let data = if purge { "removed" } else { "kept" };
    screen.line(&format!("lab {} is down; its data in {} is {data}", lab.number(), lab.dir().display()));
    Ok(ended?.code())
}

/// Somebody wants the lab to end.
struct Ended {
    /// Without its data.
    purge: bool,
    /// It had been healthy.
    healthy: bool,
    /// What the wish stands for when it had not: 128 and the number of the signal.
    code: u8,
}

impl Ended {
    /// A lab that was healthy runs until somebody ends it, so that is its proper end, however it was asked for; before,
    /// its start was interrupted.
    fn code(&self) -> ExitCode {
        if self.healthy { ExitCode::SUCCESS } else { ExitCode::from(self.code) }
    }
}

/// Shows the lab until it is to end; says why.
async fn watch(
    lab: &Lab,
    args: &UpArgs,
    screen: &mut Screen,
    signals: &mut Signals,
) -> Result<Ended, LabError> {
    let mut news = lab.subscribe();
    lab.events().iter().for_each(|event| screen.event(event));
    let mut served = std::pin::pin!(control::serve(lab.clone()));
    let mut ticks = tokio::time::interval(DRAW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut started = Start::new(args);
    loop {
        tokio::select! {
            code = signals.next() => return Ok(Ended { purge: false, healthy: started.healthy, code }),
            purge = &mut served => {
                return Ok(Ended { purge: purge?, healthy: started.healthy, code: crate::INTERRUPTED });
            }
            event = news.recv() => if let Ok(event) = event { screen.event(&event) },
            _ = ticks.tick() => {
                let status = lab.status().await;
                screen.status(&status);
                started.look(lab, status, screen)?;
            }
        }
    }
}

/// The way to the first health.
struct Start<'a> {
    args: &'a UpArgs,
    began: meridian_model::Moment,
    over: bool,
    healthy: bool,
}

impl<'a> Start<'a> {
    fn new(args: &'a UpArgs) -> Self {
        Self { args, began: clock::now(), over: false, healthy: false }
    }

    fn look(
        &mut self,
        lab: &Lab,
        status: meridian_lab::LabStatus,
        screen: &mut Screen,
    ) -> Result<(), LabError> {
        let took = clock::now().since(self.began);
        if self.over {
            return Ok(());
        }
        if status.healthy {
            (self.over, self.healthy) = (true, true);
            screen.line(&format!("all healthy after {:.1} s", took.as_secs_f64()));
            match self.args.output {
                Output::Json => say(&reach::json(lab).to_string()),
                Output::Table => screen.line(&reach::text(lab, &status)),
            }
            return Ok(());
        }
        lab.refuse_ended()?;
        if took < self.args.wait {
            return Ok(());
        }
        self.over = true;
        let error = LabError::NotHealthy { within: self.args.wait, missing: status.missing };
        if !self.args.keep {
            screen.line("with --keep it would stay up, to look into it and to mend it");
            return Err(error);
        }
        screen.line(&format!("{error}; it stays up because of --keep"));
        Ok(())
    }
}

/// Whatever asks a program in the foreground to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// The exit code that stands for the next one: 128 and its number.
    async fn next(&mut self) -> u8 {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => crate::INTERRUPTED,
            _ = terminate.recv() => 143,
            _ = hangup.recv() => 129,
        }
    }
}
