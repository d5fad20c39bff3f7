//! What is learned from what passes through a session, and what may pass now.

use std::sync::Arc;

use meridian_telemetry::events::GatewayMeter;

use crate::cancel::{Cancels, Registered};
use crate::hold::Turns;
use crate::pipe::Passing;
use crate::protocol::message::{ERROR, NOTICE, error_field, sqlstate};
use crate::protocol::{Dialogue, Said, Tracker};
use crate::route::Target;

/// Looks at all that passes.
pub(crate) struct Watch<'a> {
    pub(crate) dialogue: Dialogue,
    pub(crate) meter: &'a GatewayMeter,
    pub(crate) cancels: &'a Arc<Cancels>,
    pub(crate) target: Target,
    pub(crate) key: Option<Registered>,
    /// On the write port: whether something may begin.
    pub(crate) turns: Option<Turns>,
    /// What would have to be set up elsewhere; none: the session will never be moved.
    pub(crate) tracker: Option<Box<Tracker>>,
    /// The server's last message was an error: if it closes now, it has said why.
    pub(crate) error_last: bool,
    /// The client has said goodbye (Terminate).
    pub(crate) goodbye: bool,
    /// What the server said when it ended an idle session that can go on elsewhere.
    pub(crate) last_words: Option<LastWords>,
}

/// Why a server ended an idle session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastWords {
    pub(crate) message: String,
    /// They are PostgreSQL's own, and may mean this one session: an administrator ended it.
    pub(crate) perhaps_meant: bool,
}

/// What the client says.
pub(crate) struct FromClient<'a, 'b>(pub(crate) &'a mut Watch<'b>);
/// What the server says.
pub(crate) struct FromServer<'a, 'b>(pub(crate) &'a mut Watch<'b>);

impl Watch<'_> {
    /// During a hold nothing new begins: not between two transactions, and not while it is unknown
    /// whether one is open. What belongs to a COPY, and a goodbye, always passes.
    fn may_pass(&mut self, tag: u8) -> bool {
        let Some(turns) = &mut self.turns else { return true };
        match tag {
            // Only the login, and a goodbye: what a standby does for them, no fence need hold back.
            _ if turns.is_early() => matches!(tag, b'p' | b'X'),
            b'X' | b'd' | b'c' | b'f' => true,
            _ if self.dialogue.idle() => turns.begin(),
            _ if self.dialogue.undecided() => !turns.is_held(),
            _ => true,
        }
    }

    /// The server is being stopped, or our session with it is ended, and the client has nothing under way
    /// there: it need not hear of it. PostgreSQL says so as an error or, in a hurry, as a warning; another
    /// gateway also says that it lost the database behind it.
    fn last_words(&self, tag: u8, body: &[u8]) -> Option<LastWords> {
        const FAREWELLS: [&str; 3] =
            [sqlstate::ADMIN_SHUTDOWN, sqlstate::CRASH_SHUTDOWN, sqlstate::CONNECTION_FAILURE];
        if !matches!(tag, ERROR | NOTICE) || !self.dialogue.idle() {
            return None;
        }
        self.tracker.as_ref().filter(|tracker| tracker.hindrance().is_none())?;
        let code = error_field(body, b'C')?;
        FAREWELLS.iter().find(|farewell| farewell.as_bytes() == code)?;
        let shutdown = code == sqlstate::ADMIN_SHUTDOWN.as_bytes();
        let message = String::from_utf8_lossy(error_field(body, b'M').unwrap_or_default()).into_owned();
        // A gateway names no routine of PostgreSQL.
        Some(LastWords { message, perhaps_meant: shutdown && error_field(body, b'R').is_some() })
    }
}

impl Passing for FromClient<'_, '_> {
    fn message(&mut self, tag: u8, body: &[u8], whole: bool) -> bool {
        let watch = &mut *self.0;
        if !watch.may_pass(tag) {
            return false;
        }
        watch.dialogue.client_said(tag);
        if let Some(tracker) = &mut watch.tracker {
            tracker.client_said(tag, body, whole);
        }
        watch.goodbye = tag == b'X';
        true
    }

    fn bytes(&mut self, count: usize) {
        self.0.meter.to_server(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl Passing for FromServer<'_, '_> {
    /// Everything may pass but last words that do not concern the client, and the warning that no standby
    /// has what is acknowledged next, and with it the acknowledgement. A client that has set
    /// `client_min_messages` above `warning` keeps PostgreSQL from saying that.
    fn message(&mut self, tag: u8, body: &[u8], _: bool) -> bool {
        let watch = &mut *self.0;
        watch.last_words = watch.last_words(tag, body);
        if watch.last_words.is_some() {
            return false;
        }
        let said = watch.dialogue.server_said(tag, body);
        if let Some(tracker) = &mut watch.tracker {
            tracker.server_said(tag, body);
        }
        watch.error_last = said == Said::Error;
        if let Said::Key(key) = said {
            watch.key = None;
            watch.key = Some(watch.cancels.register(key, watch.target.address));
            return true;
        }
        said != Said::GaveUpStandby
    }

    fn bytes(&mut self, count: usize) {
        self.0.meter.to_client(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
