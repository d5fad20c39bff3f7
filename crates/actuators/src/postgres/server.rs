//! The one running PostgreSQL of a member: started, watched, and ended in every way there is.
//!
//! Everything that ends it goes through [`Server::halt`], which is synchronous: the watchdog's thread
//! calls it when no runtime can be trusted. A halt that was ordered also cancels every start that is
//! under way: a start carries a ticket, and a ticket from before the halt is refused.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meridian_telemetry::clock;
use rustix::process::Signal;
use tokio::sync::watch;

use super::cluster;
use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::execute::UnexpectedExit;
use crate::process::{Child, Exit, Launch, OnExit, Spawner, pause, tail};

/// The running server, if any.
pub(crate) struct Server {
    data_dir: PathBuf,
    log: PathBuf,
    spawner: Spawner,
    slot: Mutex<Slot>,
    exits: watch::Sender<Option<UnexpectedExit>>,
}

#[derive(Default)]
struct Slot {
    child: Option<Arc<Child>>,
    /// Rises with each start, so that the end of an earlier server is not taken for this one's.
    run: u64,
    /// Rises with each ordered halt.
    halts: u64,
    /// Its end is the business of whoever starts it.
    starting: bool,
}

/// How a shutdown in good order went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was asked to, or it did not run.
    ByItself,
    /// It took too long.
    Killed,
}

/// The right to start a server, unless a halt is ordered in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

impl Server {
    pub(crate) fn new(data_dir: PathBuf, log: PathBuf, spawner: Spawner) -> Arc<Self> {
        Arc::new(Self { data_dir, log, spawner, slot: Mutex::default(), exits: watch::Sender::new(None) })
    }

    pub(crate) fn exits(&self) -> watch::Receiver<Option<UnexpectedExit>> {
        self.exits.subscribe()
    }

    /// The running server.
    pub(crate) fn child(&self) -> Option<Arc<Child>> {
        self.lock().child.clone()
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.lock().halts)
    }

    /// Starts it; `allowed` is asked last, when nothing can come in between any more.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        ticket: Ticket,
        launch: Launch,
        allowed: impl FnOnce() -> Result<(), ActuatorError>,
    ) -> Result<Arc<Child>, ActuatorError> {
        let mut slot = self.lock();
        if slot.halts != ticket.0 {
            let problem = "it was ordered to stop in the meantime".to_owned();
            return Err(ActuatorError::WrongState { command: "start PostgreSQL", problem });
        }
        allowed()?;
        slot.run += 1;
        slot.starting = true;
        let (server, run) = (Arc::downgrade(self), slot.run);
        let on_exit: OnExit = Box::new(move |exit| {
            if let Some(server) = server.upgrade() {
                server.ended(run, exit);
            }
        });
        let child = Arc::new(self.spawner.spawn(launch, Some(on_exit))?);
        slot.child = Some(Arc::clone(&child));
        Ok(child)
    }

    /// The start is over: from now on an end is told to everybody.
    pub(crate) fn started(&self) {
        self.lock().starting = false;
    }

    /// Kills it and waits until no process of it is left. `ordered`: also what is being started.
    pub(crate) fn halt(&self, ordered: bool) -> Result<(), ActuatorError> {
        let child = self.retire(ordered);
        if let Some(child) = &child {
            child.signal(Signal::QUIT);
            self.wait_gone(child, QUIT_GRACE);
            child.signal(Signal::KILL);
        }
        let killed = self.kill_all();
        if let Some(child) = &child {
            self.wait_gone(child, KILL_WITHIN);
        }
        killed
    }

    fn kill_all(&self) -> Result<(), ActuatorError> {
        let left = cluster::kill_all(&self.data_dir, KILL_WITHIN)
            .map_err(|e| ActuatorError::file("looking for PostgreSQL's processes in", "/proc", e))?;
        if left == 0 {
            return Ok(());
        }
        Err(ActuatorError::TimedOut {
            what: format!("killing {left} processes of PostgreSQL in {}", self.data_dir.display()),
            after: KILL_WITHIN,
            reason: "a killed process ends at once unless it waits for a broken disk".to_owned(),
        })
    }

    /// What the watchdog does.
    pub(crate) fn fence(&self) {
        let ran = self.child().is_some();
        let began = clock::now();
        let result = self.halt(true);
        let took = clock::now().since(began);
        let end = match result {
            Ok(()) => {
                tracing::error!(?took, "fenced: no renewal in time, PostgreSQL was killed");
                format!("killed within {took:?}")
            }
            Err(error) => {
                tracing::error!(%error, "fencing failed");
                format!("not all of it is known to be killed: {error}")
            }
        };
        if ran {
            self.tell(true, format!("fenced: the write right ended without a renewal; {end}"));
        }
    }

    /// Ends it in good order; kills it if that takes too long. No process of it is left in either case.
    pub(crate) async fn stop_fast(self: &Arc<Self>, limit: Deadline) -> Result<Ended, ActuatorError> {
        let mut how = Ended::ByItself;
        if let Some(child) = self.retire(true) {
            child.signal(Signal::INT);
            let ended = async { child.wait().await.ok_or(ActuatorError::ThreadGone("reaper")) };
            if let Err(error) = limit.run("a fast shutdown of PostgreSQL", ended).await {
                tracing::warn!(%error, "killing it instead");
                child.signal(Signal::KILL);
                how = Ended::Killed;
            }
        }
        self.halt_aside(true).await.map(|()| how)
    }

    /// [`Self::halt`] without blocking the runtime.
    pub(crate) async fn halt_aside(self: &Arc<Self>, ordered: bool) -> Result<(), ActuatorError> {
        let server = Arc::clone(self);
        match tokio::task::spawn_blocking(move || server.halt(ordered)).await {
            Ok(result) => result,
            Err(_) => self.halt(ordered),
        }
    }

    /// The end of the log since `offset`.
    pub(crate) fn log_since(&self, offset: u64) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }

    /// Takes the server out of the slot, so that its end is expected.
    fn retire(&self, ordered: bool) -> Option<Arc<Child>> {
        let mut slot = self.lock();
        slot.halts += u64::from(ordered);
        slot.run += 1;
        slot.starting = false;
        slot.child.take()
    }

    /// Called by the reaping thread. Its backends must be gone before anybody acts on the news.
    fn ended(&self, run: u64, exit: &Exit) {
        let starting = {
            let mut slot = self.lock();
            if slot.run != run {
                return;
            }
            slot.child = None;
            slot.starting
        };
        if let Err(error) = self.kill_all() {
            tracing::error!(%error, "PostgreSQL ended, its processes perhaps not all");
        }
        if !starting {
            let words = last_words(&self.log_since(0), LAST_WORDS);
            self.tell(false, format!("PostgreSQL ended ({}): {words}", exit.status));
        }
    }

    fn tell(&self, fenced: bool, detail: String) {
        self.exits.send_modify(|last| {
            let count = last.as_ref().map_or(1, |exit| exit.count + 1);
            *last = Some(UnexpectedExit { count, at: clock::now(), fenced, detail });
        });
    }

    fn wait_gone(&self, child: &Child, within: Duration) {
        let end = clock::now() + within;
        let gone =
            || child.exit().is_some() && cluster::processes(&self.data_dir).is_ok_and(|p| p.is_empty());
        while !gone() && clock::now() < end {
            pause(Duration::from_millis(2));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a log without what may carry users' data: statements, and the details of messages.
/// A line that continues one begins with a tab.
pub(super) fn last_words(log: &str, bytes: usize) -> String {
    let mut told = true;
    let mut says = |line: &&str| {
        if !line.starts_with('\t') {
            told = !PRIVATE.iter().any(|tag| line.contains(tag));
        }
        told
    };
    let lines: Vec<_> = log.lines().filter(|line| says(line)).collect();
    tail(&lines.join("\n"), bytes).to_owned()
}

const PRIVATE: [&str; 4] = ["DETAIL:  ", "STATEMENT:  ", "QUERY:  ", "CONTEXT:  "];

/// An immediate shutdown takes 10 to 40 ms and leaves no shared memory behind; a server that is stopped
/// (`SIGSTOP`) or stuck does not hear it and is killed after this.
const QUIT_GRACE: Duration = Duration::from_millis(150);
const KILL_WITHIN: Duration = Duration::from_secs(5);
const LAST_WORDS: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_tell_no_statement_and_no_detail() {
        let log = "2026-01-01 [7] LOG:  server process (PID 9) was terminated by signal 11\n\
                   2026-01-01 [7] DETAIL:  Failed process was running: insert into cards\n\
                   \tvalues ('4111')\n\
                   2026-01-01 [9] app@shop ERROR:  division by zero\n\
                   2026-01-01 [9] app@shop CONTEXT:  SQL function \"secret\"\n\
                   2026-01-01 [9] app@shop STATEMENT:  select 4111\n\
                   2026-01-01 [7] LOG:  all gone\n";
        let expected = "2026-01-01 [7] LOG:  server process (PID 9) was terminated by signal 11\n\
                        2026-01-01 [9] app@shop ERROR:  division by zero\n2026-01-01 [7] LOG:  all gone";
        assert_eq!(last_words(log, 600), expected);
        assert_eq!(last_words(log, 8), "all gone");
    }
}
