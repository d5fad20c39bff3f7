//! A session moves to another server: the gateway logs in there in the client's place and sets up what the
//! session had at its old server. The client notices nothing but a pause.
//!
//! Only a session moves that has nothing under way: no transaction is open, all is answered, and all
//! answers were passed on. So nothing can get lost and nothing is done twice; what the client said
//! meanwhile no server has heard. Such a session moves when the writer does, by plan or not, and also when
//! it merely loses its server. What was acknowledged to it is kept by the new writer, or the failover
//! reports it as lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_model::Moment;
use meridian_telemetry::clock;
use meridian_telemetry::events::{GatewaySessionMoved, GatewaySessionUnmovable};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::door::Door;
use crate::end::{End, Refusal};
use crate::protocol::tracker::Replay;
use crate::protocol::{CancelKey, Tracker};
use crate::relay::Baggage;
use crate::route::{Port, Target};
use crate::seek::{Caller, Failure, seek_again};
use crate::settle::{Pass, SETTLE_MAX, Settled, Trouble, greet};
use crate::stream::Client;
use crate::upstream::{ANSWER_MAX, Server, Upstream, reach};
use crate::waiting::Held;
use crate::watch::LastWords;

/// A session that loses its server so soon after it moved there does not go back to it in the same epoch:
/// that server takes sessions and drops them.
const REST_MIN: Duration = Duration::from_secs(1);

/// Why a session leaves its server.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) why: String,
    pub(crate) from: Target,
    /// The server left first; what it said at the end.
    pub(crate) lost: Option<Option<LastWords>>,
}

/// With what a session can be moved, if it can.
#[derive(Debug)]
pub(crate) struct Mover {
    caller: Caller,
    moved_at: Option<Moment>,
    /// It calls on the region to which the writer is being moved.
    call: Option<Call>,
}

/// A session at the next writer, logged in already, through its gateway if it is in another region: what the client has
/// asked then only needs the word that it is the writer. Dropped, it is closed.
#[derive(Debug)]
struct Call {
    address: SocketAddr,
    answer: JoinSet<Option<Answer>>,
}

/// What came of a call, and the password that it was made with.
type Answer = (Result<Settled, Trouble>, Arc<str>);

/// One move.
pub(crate) struct Journey<'a> {
    door: &'a Door,
    pub(crate) caller: &'a Caller,
    user: &'a str,
    tracker: &'a Tracker,
    leave: &'a Leave,
    /// It has only just moved.
    restless: bool,
    /// Taken by the first try.
    call: Mutex<Option<Call>>,
}

impl Mover {
    /// Only sessions of the write port whose own gateway this is, and whose password is known.
    pub(crate) fn of(door: &Door, caller: Caller) -> Option<Self> {
        let known = caller.user().is_some_and(|user| door.credentials.know(user));
        let movable = door.port == Port::Write && !caller.hopped && known;
        movable.then_some(Self { caller, moved_at: None, call: None })
    }

    /// Calls on the next writer while the session is held, or no longer when the move was called off.
    pub(crate) fn follow(&mut self, door: &Arc<Door>, next: Option<&Target>, tracker: Option<&Tracker>) {
        let tracker = tracker.filter(|tracker| tracker.hindrance().is_none());
        let (Some(next), Some(tracker)) = (next, tracker) else { return self.call = None };
        if self.call.as_ref().is_some_and(|call| call.address == next.address) {
            return;
        }
        let Some(user) = self.caller.user().map(str::to_owned) else { return };
        // Its gateway keeps back what sets the session up; a standby would do it at once, and could refuse it.
        let (mut packet, replay) = match next.hop {
            true => (self.caller.early_packet(), tracker.replay()),
            false => (self.caller.packet(door.port, next), Replay::default()),
        };
        let (door, target, scram) = (Arc::clone(door), next.clone(), tracker.asked_for_scram());
        let mut answer = JoinSet::new();
        answer.spawn(async move {
            let Pass { login, password } = greet(&door, &user, scram, &mut packet).await.ok()?;
            let upstream = reach(&target, &packet, door.limits.max_wait).await.ok()?;
            Some((Settled::at(&door, upstream, login, replay).await, password))
        });
        self.call = Some(Call { address: next.address, answer });
    }

    /// Brings the session to the writer, as soon as there is one.
    pub(crate) async fn move_on(
        &mut self,
        door: &Door,
        client: &mut Client,
        baggage: &mut Baggage,
        leave: Leave,
    ) -> Result<Server, End> {
        let begun = clock::now();
        let restless = self.moved_at.is_some_and(|at| begun.since(at) < REST_MIN);
        let call = Mutex::new(self.call.take());
        let Baggage { said, tracker, held, .. } = baggage;
        held.get_or_insert_with(|| Held::new(&door.meter));
        let (Some(tracker), Some(user)) = (tracker, self.caller.user()) else {
            return Err(End::Unseated(leave.why));
        };
        let journey = Journey { door, caller: &self.caller, user, tracker, leave: &leave, restless, call };
        let server = seek_again(door, client, &journey, said).await.map_err(|refusal| match refusal {
            Refusal::ClientLeft => End::Client,
            Refusal::Draining => End::Draining,
            refusal => {
                GatewaySessionUnmovable { reason: refusal.word() }.emit(&door.meter, &door.metrics);
                End::Stranded(refusal)
            }
        })?;
        let now = clock::now();
        self.moved_at = Some(now);
        let (backend, reason) = (&server.upstream.target.region, &leave.why);
        GatewaySessionMoved { backend, reason, took: now.since(begun) }.emit(&door.meter, &door.metrics);
        Ok(server)
    }
}

impl Journey<'_> {
    /// Logs in there and sets all up, or goes on with the call that was made before it was the writer.
    pub(crate) async fn enter(
        &self,
        target: &Target,
        first: bool,
        mut packet: Vec<u8>,
    ) -> Result<(Upstream, Option<CancelKey>), Failure> {
        let (settled, password) = match self.called_on(target).await {
            Some(answer) => {
                self.may_enter(target, first)?;
                answer
            }
            None => {
                let scram = self.tracker.asked_for_scram();
                let greeted = greet(self.door, self.user, scram, &mut packet).await;
                let Pass { login, password } = greeted.map_err(|why| not_moved(target, &why))?;
                let reached = reach(target, &packet, ANSWER_MAX).await;
                let upstream = reached.map_err(|e| Failure::Again(e.to_string()))?;
                self.may_enter(target, first)?;
                let settled = Settled::at(self.door, upstream, login, self.tracker.replay());
                (timeout(SETTLE_MAX, settled).await.unwrap_or(Err(Trouble::Slow)), password)
            }
        };
        match settled {
            Ok(settled) => Ok(settled.into_upstream(target.clone(), self.tracker)),
            Err(trouble) if trouble.may_pass() => Err(Failure::Again(trouble.to_string())),
            Err(trouble)
                if trouble.is_password() && self.door.credentials.changed(self.user, &password).await =>
            {
                Err(Failure::Again("the password has changed".to_owned()))
            }
            Err(trouble) => Err(not_moved(target, &trouble.to_string())),
        }
    }

    /// What came of a call on that server. One that leads to nothing costs the time of one that is made now.
    async fn called_on(&self, target: &Target) -> Option<Answer> {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut call = call.filter(|call| call.address == target.address)?;
        let answer = timeout(ANSWER_MAX, call.answer.join_next()).await.ok()??;
        let (called, password) = answer.ok()??;
        let settled = match called {
            Ok(mut settled) => {
                let set_up = timeout(SETTLE_MAX, settled.is_like(self.tracker.replay())).await;
                set_up.unwrap_or(Err(Trouble::Slow)).map(|like| like.then_some(settled))
            }
            Err(trouble) => Err(trouble),
        };
        match settled {
            Ok(settled) => Some((Ok(settled?), password)),
            Err(trouble) if trouble.may_pass() => None,
            Err(trouble) => Some((Err(trouble), password)),
        }
    }

    /// Whether the session goes to this server, which has answered.
    fn may_enter(&self, target: &Target, first: bool) -> Result<(), Failure> {
        let Some(words) = self.leave.lost.as_ref().filter(|_| target.epoch == self.leave.from.epoch) else {
            return Ok(());
        };
        // It ended this session by a word of its own and takes it again at once, so it is not being
        // stopped: an administrator wanted the session to end.
        if let Some(words) = words.as_ref().filter(|words| first && words.perhaps_meant) {
            return Err(Failure::Never(Refusal::Terminated(words.message.clone())));
        }
        if self.restless {
            return Err(not_moved(target, "it takes sessions and drops them"));
        }
        Ok(())
    }
}

fn not_moved(target: &Target, why: &str) -> Failure {
    let why = format!("it could not be moved to the database in `{}`: {why}", target.region);
    Failure::Never(Refusal::NotMoved { why })
}
