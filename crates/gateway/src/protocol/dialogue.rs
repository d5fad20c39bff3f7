//! What a session is in the middle of, from the type bytes that pass by.
//!
//! Needed to end sessions politely: between two transactions, with nothing asked and unanswered. When
//! in doubt a session counts as busy; then it merely stays until the drain's deadline.

use super::message::{ERROR, NOTICE, gave_up_standby};
use super::startup::CancelKey;

/// What a message from the server means to the gateway.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The server names the session: a client may cancel with this.
    Key(CancelKey),
    /// It awaits the next command.
    Ready,
    /// It reports an error.
    Error,
    /// It will acknowledge what no synchronous standby has.
    GaveUpStandby,
    /// Anything else.
    Other,
}

/// Who has said what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dialogue {
    /// Commands that are to be answered with ReadyForQuery.
    unanswered: u32,
    /// Extended-protocol messages were sent and no Sync yet.
    unsynced: bool,
    /// The last command was a Sync: if it began a COPY, the server ignores it while copying.
    synced_last: bool,
    /// The last ReadyForQuery said: no transaction. Also false before the first one.
    outside: bool,
}

impl Dialogue {
    /// No transaction is open and nothing awaits an answer.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.outside && self.unanswered == 0 && !self.unsynced
    }

    /// Whether the next command will find a transaction open is for the server to say: it has not
    /// answered all that came before.
    #[must_use]
    pub const fn undecided(&self) -> bool {
        self.unanswered > 0 && !self.unsynced
    }

    /// A message of the client passes.
    pub fn client_said(&mut self, tag: u8) {
        match tag {
            b'Q' | b'F' | b'S' => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.unsynced = false;
                self.synced_last = tag == b'S';
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => self.unsynced = true,
            // The end of COPY data. The Sync that came with the COPY was ignored; another follows.
            b'c' | b'f' if self.synced_last => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.unsynced = true;
                self.synced_last = false;
            }
            _ => {}
        }
    }

    /// A message of the server passes.
    pub fn server_said(&mut self, tag: u8, body: &[u8]) -> Said {
        match tag {
            b'Z' => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.outside = body == b"I";
                Said::Ready
            }
            b'K' => CancelKey::parse(body).map_or(Said::Other, Said::Key),
            ERROR => Said::Error,
            NOTICE if gave_up_standby(body) => Said::GaveUpStandby,
            _ => Said::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Upper case `>x`: the client sends x; `<x`: the server sends x; `<I`, `<T`: ReadyForQuery.
    fn after(script: &str) -> Dialogue {
        let mut dialogue = Dialogue::default();
        for step in script.split_whitespace() {
            match step.as_bytes() {
                [b'>', tag] => dialogue.client_said(*tag),
                [b'<', status @ (b'I' | b'T' | b'E')] => {
                    assert_eq!(dialogue.server_said(b'Z', &[*status]), Said::Ready);
                }
                [b'<', tag] => assert_eq!(dialogue.server_said(*tag, b""), Said::Other),
                _ => panic!("what is {step}?"),
            }
        }
        dialogue
    }

    #[test]
    fn idle_means_outside_a_transaction_with_all_answered() {
        let idle = |script: &str| after(script).idle();
        assert!(!idle(""), "before the first ReadyForQuery");
        assert!(idle(">p <R <I"), "after login");
        assert!(!idle("<I >Q"), "a query runs");
        assert!(idle("<I >Q <C <I"), "answered");
        assert!(!idle("<I >Q <C <T"), "a transaction is open");
        assert!(!idle("<I >Q >Q <C <I"), "pipelined: one of two answered");
        assert!(!idle("<I >P >B >E"), "no Sync yet");
        assert!(idle("<I >P >B >E >S <1 <2 <C <I"), "extended, answered");
        assert!(idle("<I >Q <G >d >d >c <C <I"), "COPY by simple query");
        assert!(
            idle("<I >P >B >E >S <G >d >c >S <C <I"),
            "COPY by extended query: its first Sync is ignored"
        );
    }

    #[test]
    fn what_comes_next_is_undecided_between_a_command_and_its_answer() {
        for (script, undecided) in [
            ("<I", false),
            ("<I >Q", true),
            ("<I >Q <C <T", false),
            ("<I >Q <C <T >Q", true),
            ("<I >P >B", false),
            ("<I >P >B >E >S", true),
            ("<I >Q >Q <C <I", true),
            ("<I >Q >P", false),
        ] {
            assert_eq!(after(script).undecided(), undecided, "{script}");
        }
    }

    #[test]
    fn the_key_is_told() {
        let said = Dialogue::default().server_said(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]);
        assert_eq!(said, Said::Key(CancelKey { process: 7, secret: [1, 2, 3, 4].into() }));
    }

    proptest! {
        #[test]
        fn any_talk_is_survived(talk in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<[u8; 6]>()), 0..200)) {
            let mut dialogue = Dialogue::default();
            for (client, tag, body) in talk {
                if client { dialogue.client_said(tag) } else { drop(dialogue.server_said(tag, &body)) }
            }
            dialogue.client_said(b'Q');
            prop_assert!(!dialogue.idle(), "an unanswered query is never idle");
        }
    }
}
