//! The fence in a process of its own, for when the node itself is what fails.
//!
//! The watchdog thread fences while the node's process lives and runs. A node that is killed or frozen
//! (`SIGSTOP`) cannot: a busy backend would finish and acknowledge its transaction after the node's death,
//! and a frozen node would leave its PostgreSQL writing for ever. So the node starts a guard beside each
//! PostgreSQL: a tiny process that reads deadlines from a pipe. When a deadline passes without a newer
//! one, or when the pipe ends because the node is gone, it kills every process of that data directory.
//! Until then, and under asynchronous replication, commits are acknowledged only by its word: see [`lease`].
//!
//! The guard is the node's own program with another first word; [`run`] is its whole life. A guard that is
//! killed is replaced at once, with the last deadline: commits wait for so long. One that lives and confirms
//! nothing is noticed by the commits that wait (`postgres/stuck.rs`), and killed; so is one that has taken no order for
//! so long that its pipe is full.

mod lease;
mod wire;

use std::ffi::OsString;
use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use meridian_model::Moment;
use meridian_telemetry::clock;
use rustix::process::Signal;

use crate::deadline::Deadline;
use crate::error::ActuatorError;
use crate::postgres::kill_cluster;
use crate::process::{Child, DeathSignal, Environment, Launch, OnExit, Output, Spawner, pause};
use crate::watchdog::Watchdog;

pub(crate) use wire::Door;

use lease::Lease;

/// The life of a guard process: reads orders until the node is gone, then kills what is left.
///
/// # Errors
/// No timer or thread, or the first line does not say what to watch.
pub fn run(input: impl BufRead) -> Result<(), ActuatorError> {
    let mut lines = input.lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let Some(data_dir) = first.strip_prefix("watch ").map(PathBuf::from) else {
        let problem = format!("its first line is `{first}`; it is started by a node, not by hand");
        return Err(ActuatorError::WrongState { command: "guard", problem });
    };
    let fenced = data_dir.clone();
    let watchdog = Watchdog::start(move |_| kill(&fenced))?;
    let lease = Arc::new(Lease::default());
    let (mut address, mut user) = (None, String::new());
    for line in lines {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("kill-at", nanos) => {
                // An order that cannot be read arms the fence at once: silence must never be safer.
                let at = Moment::from_nanos(nanos.parse().unwrap_or(0));
                lease.until(Some(at));
                watchdog.arm(at);
            }
            ("disarm", _) => {
                lease.until(None);
                watchdog.disarm();
            }
            ("look", _) => lease.look(),
            ("address", text) => address = text.parse().ok(),
            ("user", name) => name.clone_into(&mut user),
            ("password", password) => {
                let (user, password) = (user.clone(), password.to_owned());
                let answering = address.map(|address| lease.answer(Door { address, user, password }));
                if let Some(Err(error)) = answering {
                    tracing::error!(%error, "commits are not confirmed");
                }
            }
            _ => {}
        }
    }
    lease.until(None);
    // The server has got SIGQUIT from the kernel by now; what is left after this is stuck.
    pause(QUIT_GRACE);
    kill(&data_dir);
    Ok(())
}

/// The node's end of a guard.
#[derive(Debug)]
pub(crate) struct Guard {
    orders: Arc<SyncSender<Order>>,
    given: AtomicU64,
    /// The last deadline that is in the guard's pipe, which it will obey even if we freeze now.
    written: Arc<AtomicU64>,
}

/// What a guard process is started with.
pub(crate) struct Post {
    /// How it is started.
    pub(crate) command: Vec<OsString>,
    /// Whose processes it kills.
    pub(crate) data_dir: PathBuf,
    /// Whose commits it confirms, if they wait for that.
    pub(crate) door: Option<Door>,
    /// Where its words go.
    pub(crate) log: PathBuf,
}

/// What the thread hears that writes to the guard.
#[derive(Debug)]
enum Order {
    /// A deadline, with its number.
    Fence(u64, Option<Moment>),
    Look,
    /// The process does not do its work.
    Replace,
    /// The guard process of that number has ended.
    Gone(u64),
}

impl Guard {
    /// Starts the process and the thread that writes to it (so that a stuck guard never blocks a node).
    pub(crate) fn start(spawner: Spawner, post: Post) -> Result<Self, ActuatorError> {
        let (orders, inbox) = sync_channel(ORDERS_WAITING);
        let (orders, written) = (Arc::new(orders), Arc::new(AtomicU64::new(0)));
        let mut keeper = Keeper::new(spawner, post, &orders, &written)?;
        keeper.start()?;
        thread::Builder::new()
            .name("guard".to_owned())
            .spawn(move || keeper.serve(&inbox))
            .map_err(|e| ActuatorError::file("starting a thread for", "the guard", e))?;
        Ok(Self { orders, given: AtomicU64::new(0), written })
    }

    /// Passes a deadline on; a full queue means that no guard can be started, or that the last one fences too early.
    pub(crate) fn fence_at(&self, at: Option<Moment>) {
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let _the_next_one_comes_soon = self.orders.try_send(Order::Fence(number, at));
    }

    /// Returns when the last deadline is in the guard's pipe.
    ///
    /// # Errors
    /// It does not take it: who needs its fence must not go on.
    pub(crate) async fn informed(&self) -> Result<(), ActuatorError> {
        let given = self.given.load(Ordering::SeqCst);
        let informed = async {
            while self.written.load(Ordering::SeqCst) < given {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        INFORM.run("passing the fence on to the guard process", informed).await
    }

    /// The server has come up: it must not have to wait for the guard to find out.
    pub(crate) fn look(&self) {
        let _it_looks_by_itself_too = self.orders.try_send(Order::Look);
    }

    /// The process lives and confirms nothing: it is killed, and another one started.
    pub(crate) fn replace(&self) {
        let _it_is_asked_again = self.orders.try_send(Order::Replace);
    }
}

/// Keeps a guard process alive and passes the orders on.
struct Keeper {
    spawner: Spawner,
    launch: Launch,
    /// What each process is told first.
    greeting: String,
    data_dir: PathBuf,
    orders: Weak<SyncSender<Order>>,
    written: Arc<AtomicU64>,
    last: Option<Moment>,
    child: Option<Child>,
    pipe: Option<ChildStdin>,
    /// Of the process now; the end of an earlier one is no news.
    number: u64,
    started: Moment,
}

impl Keeper {
    fn new(
        spawner: Spawner,
        post: Post,
        orders: &Arc<SyncSender<Order>>,
        written: &Arc<AtomicU64>,
    ) -> Result<Self, ActuatorError> {
        Ok(Self {
            spawner,
            launch: launch(post.command, post.log)?,
            greeting: greeting(&post.data_dir, post.door.as_ref()),
            data_dir: post.data_dir,
            // Not its own: the inbox ends with the node's end.
            orders: Arc::downgrade(orders),
            written: Arc::clone(written),
            last: None,
            child: None,
            pipe: None,
            number: 0,
            started: clock::now(),
        })
    }

    /// Ends with the node's end of the orders.
    fn serve(mut self, inbox: &Receiver<Order>) {
        for order in inbox {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Fence(number, at) => {
                self.last = at;
                // A process that is new has been told already.
                if self.write(&fence_line(at)) || self.replace() {
                    self.written.store(number, Ordering::SeqCst);
                }
            }
            Order::Look => drop(self.write("look\n")),
            Order::Replace => match &self.child {
                // Its end is told like any other.
                Some(child) if child.exit().is_none() => child.signal(Signal::KILL),
                // The one that was to take its place could not be started.
                _ => drop(self.replace()),
            },
            Order::Gone(number) if number == self.number => {
                pause(YOUNG.saturating_sub(clock::now().since(self.started)));
                self.replace();
            }
            Order::Gone(_) => {}
        }
    }

    /// Whether another one has been started and told everything.
    fn replace(&mut self) -> bool {
        tracing::error!(data_dir = %self.data_dir.display(), "the guard process is gone; starting another");
        match self.start() {
            Ok(()) => self.pipe.is_some(),
            Err(error) => {
                tracing::error!(%error, "there is no guard process; the next order starts one");
                false
            }
        }
    }

    fn start(&mut self) -> Result<(), ActuatorError> {
        self.number += 1;
        self.started = clock::now();
        let (orders, number) = (Weak::clone(&self.orders), self.number);
        let on_exit: OnExit = Box::new(move |_| {
            if let Some(orders) = orders.upgrade() {
                let _a_write_to_it_tells_too = orders.try_send(Order::Gone(number));
            }
        });
        let child = self.spawner.spawn(self.launch.clone(), Some(on_exit))?;
        (self.pipe, self.child) = (child.take_input(), Some(child));
        // A process that stands still takes nothing: whoever waited for room in its pipe could not replace it.
        if let Some(pipe) = &self.pipe {
            rustix::io::ioctl_fionbio(pipe, true)
                .map_err(|e| ActuatorError::file("setting up the pipe to", "the guard", e.into()))?;
        }
        let words = format!("{}{}", self.greeting, fence_line(self.last));
        self.write(&words);
        Ok(())
    }

    /// Whether it is in the pipe. A process that has ended, or takes nothing any more, is given up, and killed before
    /// its pipe is closed: one that hears the pipe end takes the node for gone. (What is shorter than `PIPE_BUF` is
    /// never written in part.)
    fn write(&mut self, words: &str) -> bool {
        let written = self.pipe.as_mut().is_some_and(|pipe| pipe.write_all(words.as_bytes()).is_ok());
        if !written {
            if let Some(child) = &self.child {
                child.signal(Signal::KILL);
            }
            self.pipe = None;
        }
        written
    }
}

/// The password goes through the pipe: it stands on no command line, in no file and in no log.
fn greeting(data_dir: &Path, door: Option<&Door>) -> String {
    let mut words = format!("watch {}\n", data_dir.display());
    if let Some(Door { address, user, password }) = door {
        words += &format!("address {address}\nuser {user}\npassword {password}\n");
    }
    words
}

fn fence_line(at: Option<Moment>) -> String {
    at.map_or_else(|| "disarm\n".to_owned(), |at| format!("kill-at {}\n", at.as_nanos()))
}

fn launch(mut command: Vec<OsString>, log: PathBuf) -> Result<Launch, ActuatorError> {
    if command.is_empty() {
        return Err(ActuatorError::WrongState { command: "guard", problem: "no command is set".to_owned() });
    }
    let program = command.remove(0).into();
    let mut launch = Launch::tool(program, command);
    launch.output = Output::Log(log);
    launch.keep_input = true;
    launch.death_signal = DeathSignal::None;
    launch.environment = Environment::Ours;
    Ok(launch)
}

fn kill(data_dir: &Path) {
    let data_dir_shown = data_dir.display();
    match kill_cluster(data_dir, KILL_WITHIN) {
        Ok(0) => {}
        Ok(left) => {
            tracing::error!(left, data_dir = %data_dir_shown, "processes of PostgreSQL could not be killed");
        }
        Err(error) => {
            tracing::error!(%error, data_dir = %data_dir_shown, "processes of PostgreSQL could not be looked for");
        }
    }
}

/// As what the guard is connected to its server: no region's name has an underscore.
pub(crate) const LEASE_NAME: &str = "meridian_lease";
const QUIT_GRACE: Duration = Duration::from_millis(150);
const KILL_WITHIN: Duration = Duration::from_secs(30);
const INFORM: Deadline = Deadline::new(
    Duration::from_secs(2),
    "it is a write to a pipe, after at most one start of a new guard process",
);
const ORDERS_WAITING: usize = 64;
/// A guard that ends sooner is not replaced before.
const YOUNG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
