//! The control socket: how `meridian lab …` in another terminal reaches the running lab.
//!
//! A Unix socket in the state folder (mode 0600), one JSON value a line each way. It is the lab's own and no
//! part of the system: nodes do not know of it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::System;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio::task::JoinSet;

use crate::drill::Tell;
use crate::error::LabError;
use crate::faults::{Fault, FaultRecord, LabEvent};
pub use crate::plan::Holder;
use crate::plan::{Files, MadeFor, NumberLock, Occupied, fingerprint, known_labs};
use crate::regions::{Lab, cleanup};
use crate::status::LabStatus;

/// The longest request.
const REQUEST_MAX: u64 = 64 << 10;
/// Connections at once.
const CLIENTS_MAX: usize = 64;
/// The longest that a client waits for an answer: a fault may have to wait for another.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// [`Lab::status`].
    Status,
    /// [`Lab::fault`].
    Fault {
        /// Which.
        #[serde(flatten)]
        fault: Fault,
    },
    /// Everything that happened, and what happens from now on, until the client hangs up.
    Events,
    /// [`Lab::shutdown`]; answered before it begins.
    Down {
        /// Remove the state folder, too.
        purge: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

// === the lab's side ===

/// Serves the socket of `lab` until somebody asks it to go down; says whether to purge.
///
/// # Errors
/// The socket cannot be bound.
pub async fn serve(lab: Lab) -> Result<bool, LabError> {
    let path = Files::new(lab.dir()).socket();
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(LabError::file("bind", &path))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(LabError::file("set the mode of", &path))?;
    let (down, mut asked_down) = mpsc::channel(1);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted && clients.len() < CLIENTS_MAX {
                clients.spawn(client(lab.clone(), stream, down.clone()));
            },
            Some(purge) = asked_down.recv() => return Ok(purge),
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn client(lab: Lab, stream: UnixStream, down: mpsc::Sender<bool>) {
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(read.take(REQUEST_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let told = match serde_json::from_str(&line) {
            Ok(Request::Events) => return events(&lab, &mut write).await,
            Ok(Request::Down { purge }) => {
                let told = tell(&mut write, &Answer::Ok(Value::Null)).await;
                let _ = down.send(purge).await;
                told
            }
            Ok(request) => tell(&mut write, &answer(&lab, request).await).await,
            Err(error) => tell(&mut write, &Answer::Error(format!("this is no request: {error}"))).await,
        };
        if told.is_err() {
            return;
        }
    }
}

async fn answer(lab: &Lab, request: Request) -> Answer {
    let value = match request {
        Request::Fault { fault } => match lab.fault(fault).await {
            Ok(record) => serde_json::to_value(record),
            Err(error) => return Answer::Error(error.to_string()),
        },
        Request::Status | Request::Events | Request::Down { .. } => serde_json::to_value(lab.status().await),
    };
    value.map_or_else(|e| Answer::Error(e.to_string()), Answer::Ok)
}

async fn events(lab: &Lab, write: &mut OwnedWriteHalf) {
    // Subscribed first, so that none is missed; one that is in both is told once.
    let mut news = lab.subscribe();
    let before = lab.events();
    let last = before.last().map(|e| e.at);
    for event in before {
        if tell(write, &Answer::Ok(serde_json::to_value(event).unwrap_or_default())).await.is_err() {
            return;
        }
    }
    loop {
        match news.recv().await {
            Ok(event) if last.is_some_and(|last| event.at <= last) => {}
            Ok(event) => {
                if tell(write, &Answer::Ok(serde_json::to_value(event).unwrap_or_default())).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn tell(write: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

// === the other terminal's side (blocking: it has nothing else to do) ===

/// A connection to a running lab.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: BufReader<StdUnixStream>,
}

impl Client {
    /// Connects to the lab whose state is in `dir`.
    ///
    /// # Errors
    /// [`LabError::Control`]: it does not answer.
    pub fn connect(dir: &Path) -> Result<Self, LabError> {
        let socket = Files::new(dir).socket();
        let connected = StdUnixStream::connect(&socket).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => Ok(Self { socket, stream: BufReader::new(stream) }),
            Err(error) => Err(LabError::Control { socket, what: format!("does not answer: {error}") }),
        }
    }

    /// The lab's status now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&mut self) -> Result<LabStatus, LabError> {
        self.ask(&Request::Status)
    }

    /// Carries a fault out.
    ///
    /// # Errors
    /// The lab's refusal, in its words.
    pub fn fault(&mut self, fault: Fault) -> Result<FaultRecord, LabError> {
        self.ask(&Request::Fault { fault })
    }

    /// Asks the lab to go down; it does so after this has returned.
    ///
    /// # Errors
    /// It does not answer.
    pub fn down(&mut self, purge: bool) -> Result<(), LabError> {
        self.ask(&Request::Down { purge })
    }

    /// Hands everything that happened and happens to `see`, until it says false or the lab is gone.
    ///
    /// # Errors
    /// The lab answers nonsense.
    pub fn events(&mut self, mut see: impl FnMut(LabEvent) -> bool) -> Result<(), LabError> {
        self.send(&Request::Events)?;
        let wait = self.stream.get_ref().set_read_timeout(None);
        wait.map_err(|e| self.wrong(e.to_string()))?;
        while let Some(event) = self.receive()? {
            if !see(event) {
                break;
            }
        }
        Ok(())
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, LabError> {
        self.send(request)?;
        self.receive()?.ok_or_else(|| self.wrong("hung up".to_owned()))
    }

    fn send(&mut self, request: &Request) -> Result<(), LabError> {
        let mut line = serde_json::to_vec(request).map_err(|e| self.wrong(e.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).map_err(|e| self.wrong(format!("does not listen: {e}")))
    }

    /// `None` when the lab has hung up.
    fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LabError> {
        let mut line = String::new();
        let read =
            self.stream.read_line(&mut line).map_err(|e| self.wrong(format!("does not answer: {e}")))?;
        if read == 0 {
            return Ok(None);
        }
        match serde_json::from_str(&line).map_err(|e| self.wrong(format!("answers nonsense: {e}")))? {
            Answer::Ok(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|e| self.wrong(format!("answers nonsense: {e}"))),
            Answer::Error(what) => Err(LabError::NoLab(what)),
        }
    }

    fn wrong(&self, what: String) -> LabError {
        LabError::Control { socket: self.socket.clone(), what }
    }
}

// === which lab ===

/// The labs of this user that run now.
#[must_use]
pub fn running() -> Vec<Holder> {
    known_labs(true)
}

/// The labs of this user that do not run and whose data is still there.
#[must_use]
pub fn stopped() -> Vec<Holder> {
    known_labs(false).into_iter().filter(|holder| holder.dir.exists()).collect()
}

/// The lab takes commands: `meridian lab up` does once it has begun, a drill does not.
#[must_use]
pub fn is_served(holder: &Holder) -> bool {
    Client::connect(&holder.dir).is_ok()
}

/// The lab was made for this very spec.
#[must_use]
pub fn is_of(holder: &Holder, system: &System) -> bool {
    MadeFor::read(&holder.dir).is_some_and(|made| made.spec.as_ref() == Some(&fingerprint(system)))
}

/// The one of `labs` that is meant: by number or by name; without either the only one.
///
/// # Errors
/// [`LabError::NoLab`]: none, or several.
pub fn choose(labs: &[Holder], wanted: Option<&str>) -> Result<Holder, LabError> {
    let named = |h: &&Holder| wanted.is_none_or(|w| h.name == w || h.number.to_string() == w);
    let all = || labs.iter().map(|h| format!("{} ({})", h.number, h.name)).collect::<Vec<_>>().join(", ");
    match labs.iter().filter(named).collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).clone()),
        [] if labs.is_empty() => {
            Err(LabError::NoLab("no lab runs here: start one with `meridian lab up SPEC`".to_owned()))
        }
        [] => Err(LabError::NoLab(format!("there is no such lab; there are {}", all()))),
        _ => Err(LabError::NoLab(format!("several labs are there, choose with --lab NUMBER: {}", all()))),
    }
}

/// Ends what a lab that does not run any more has left; removes its folder if `purge`, and tells how far it is.
///
/// # Errors
/// The folder cannot be removed, or somebody uses it.
pub async fn tidy(stopped: &Holder, purge: bool, tell: Tell<'_>) -> Result<(), LabError> {
    let (number, reason) = (stopped.number, "it was started again".to_owned());
    let taken = LabError::NumberTaken { wanted: number.to_string(), reason };
    let lock = NumberLock::of(number)?.ok_or(taken)?;
    let folder = Occupied::take(&stopped.dir)?;
    cleanup::leftovers(&folder.dir);
    if purge {
        cleanup::remove(&folder.dir, tell).await?;
        lock.forget();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Name;

    #[test]
    fn requests_survive_the_wire() {
        let region = Name::new("eu-central-1").unwrap();
        let all = [
            Request::Status,
            Request::Events,
            Request::Down { purge: true },
            Request::Fault { fault: Fault::Heal },
            Request::Fault {
                fault: Fault::Kill { region: region.clone(), part: Some(crate::FaultPart::Etcd) },
            },
            Request::Fault {
                fault: Fault::Slow {
                    from: region.clone(),
                    to: region,
                    rtt: Some(Duration::from_millis(300)),
                    loss: Some(0.01),
                    bandwidth: None,
                },
            },
        ];
        for request in all {
            let line = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn a_lab_is_chosen_by_number_or_name() {
        let holder =
            |number, name: &str| Holder { number, dir: PathBuf::new(), name: name.to_owned(), pid: 1 };
        let labs = [holder(10, "shop"), holder(11, "shop"), holder(12, "bank")];
        assert_eq!(choose(&labs, Some("bank")).unwrap().number, 12);
        assert_eq!(choose(&labs, Some("11")).unwrap().number, 11);
        let several = choose(&labs, None).unwrap_err().to_string();
        assert!(several.contains("--lab NUMBER") && several.contains("12 (bank)"), "{several}");
        assert!(choose(&labs, Some("13")).unwrap_err().to_string().contains("no such lab"));
        assert!(choose(&[], None).unwrap_err().to_string().contains("meridian lab up"));
    }
}
