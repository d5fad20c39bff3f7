//! `meridian run watch`: one run until it ends; without a name the one that is under way, or the next.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meridian_model::RunId;
use meridian_model::run::Run;
use meridian_model::units::duration_text;
use meridian_telemetry::clock;

use super::seen::{Seen, find, look};
use super::steps_help;
use super::tell::whole;
use crate::output::{No, Output, Waiting, json_line, print};
use crate::system::Which;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(after_help = steps_help())]
pub(crate) struct WatchArgs {
    /// Which run; one that has ended is shown as it ended. None: the one that is under way, or the next that begins.
    run: Option<RunId>,
    /// Without a name: how long to wait for the next run to begin when none is under way.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = crate::lab::amounts::duration)]
    patience: Duration,
    #[command(flatten)]
    which: Which,
}

pub(super) fn watch(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let nodes = match args.which.nodes()? {
        Ok(nodes) => nodes,
        Err(code) => return Ok(code),
    };
    let began = clock::now();
    let mut eyes = Eyes { named: args.run.is_some(), past: None, last: None };
    let mut waiting = Waiting::default();
    loop {
        let place = &args.which.place;
        let seen = match &args.run {
            Some(run) => Some(look(&nodes, place, Some(run))?),
            None => find(&nodes, place, None)?,
        };
        match (eyes.look(seen.as_ref()), seen) {
            (Next::Waits { first }, seen) => {
                let (waited, most) = (clock::now().since(began), duration_text(args.patience));
                if first {
                    let words = place.words(&nodes.system, place.group.as_ref());
                    tell(&awaited(seen.as_ref(), &most, &words));
                }
                if waited >= args.patience {
                    return Err(No(format!("no run has begun within {most}")).into());
                }
                waiting.show(&format!("waiting for the next run: {} s of {most}", waited.as_secs()));
            }
            (Next::Shows { news, ended }, Some(seen)) => {
                if news {
                    waiting = Waiting::default();
                    match args.which.output {
                        Output::Json => print(&json_line(&seen)?),
                        Output::Table => print(&whole(&seen)),
                    }
                }
                match ended {
                    Some(true) => return Ok(ExitCode::SUCCESS),
                    Some(false) => return Ok(ExitCode::FAILURE),
                    None => {}
                }
            }
            (Next::Shows { .. }, None) => {}
        }
        nodes.pause(LOOK_EVERY);
    }
}

/// What who watches is told when nothing is under way.
pub(super) fn awaited(last: Option<&Seen>, most: &str, words: &str) -> String {
    let (last, show) = match last {
        Some(seen) => {
            let (run, state) = (&seen.run.id, seen.state());
            (
                format!(" (the last one, {run}: {state})"),
                format!("; the last one again: meridian run show {run}{words}"),
            )
        }
        None => (" (there was none)".to_owned(), String::new()),
    };
    format!(
        "no run is under way{last}: waiting for the next one to begin, for {most} at most (--patience); Ctrl-C ends \
         the waiting\nwhy none begins: meridian explain{words}{show}"
    )
}

fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// What is remembered between two looks.
pub(super) struct Eyes {
    /// A certain run is watched.
    pub(super) named: bool,
    /// The newest run when none was under way; the outer none: one was.
    pub(super) past: Option<Option<RunId>>,
    /// What was shown last: how long a step has been stuck changes all the time; that it is so is news.
    pub(super) last: Option<(Run, Vec<bool>)>,
}

/// What a look comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is under way; `first`: that is new.
    Waits { first: bool },
    /// It is shown when there is news. `ended`: that was all, and whether it came to its end.
    Shows { news: bool, ended: Option<bool> },
}

impl Eyes {
    pub(super) fn look(&mut self, seen: Option<&Seen>) -> Next {
        let id = seen.map(|seen| seen.run.id.clone());
        let over = seen.is_none_or(|seen| self.over(seen));
        if self.past.as_ref() == Some(&id) {
            return Next::Waits { first: false };
        }
        if !self.named && self.last.is_none() && self.past.is_none() && over {
            self.past = Some(id);
            return Next::Waits { first: true };
        }
        let Some(seen) = seen else { return Next::Waits { first: false } };
        let now = (seen.run.clone(), seen.progress.iter().map(|e| e.stuck.is_some()).collect());
        let news = self.last.as_ref() != Some(&now);
        self.last = Some(now);
        let well = seen.ended.is_none() && seen.run.aborted.is_none();
        Next::Shows { news, ended: over.then_some(well) }
    }

    /// Who watches what is newest watches the switchover, too, that a preparation is for.
    fn over(&self, seen: &Seen) -> bool {
        let goes_on = !self.named && seen.goes_on;
        seen.ended.is_some() || (seen.run.finished() && (seen.run.aborted.is_some() || !goes_on))
    }
}
