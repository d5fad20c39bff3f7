//! What a text of SQL does to its session, from a look at it.
//!
//! A session can be moved to another server when all that it has set up there can be set up again. The
//! server's answers tell most of it (`SET`, `LISTEN`, `PREPARE` are in the tag of CommandComplete); this look
//! finds what they do not tell: *which* setting, and what functions do. It is not complete, for a
//! function of the user may do anything, but it errs on the side of [`Mark`]s where it can see.

use super::lexer::{Lexer, Token};

/// Why a session cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It listens to notifications.
    Listen,
    /// It prepared a statement by SQL.
    Prepare,
    /// It holds a cursor beyond its transaction.
    Cursor,
    /// It has temporary tables, or other things in `pg_temp`.
    Temporary,
    /// It may hold advisory locks of the session.
    AdvisoryLock,
    /// It set something by a function.
    SetConfig,
    /// It asks for the last value of a sequence, or for repeatable chance.
    Sequence,
    /// It loaded a library, or opened connections to others.
    Load,
    /// A block of code did something that cannot be seen.
    Procedural,
    /// A text was too long to be looked at.
    Long,
    /// A setting was made in a transaction that was rolled back in part.
    Savepoint,
    /// More has been set up than is kept.
    TooMuch,
    /// What passed was not understood.
    Unread,
}

/// Some [`Mark`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u16);

/// What a text does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// Holds as soon as the text is sent: a function may have done it although the statement failed.
    pub marks: Marks,
    /// What each statement does when it completes. Missing ones at the end do nothing.
    pub does: Vec<Does>,
}

/// What a completed statement has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Does {
    /// Nothing that outlives it, as far as its text tells.
    #[default]
    Nothing,
    /// A setting, or its reset.
    Set {
        /// A later one with the same key takes the place of this one.
        key: Box<[u8]>,
        /// The statement.
        text: Box<[u8]>,
    },
    /// A setting for the transaction only.
    SetLocal,
    /// All settings are as they were at the start.
    ResetAll,
    /// A part of the transaction is undone.
    RollbackTo,
    /// A prepared statement of that name is gone.
    Deallocate(Box<[u8]>),
    /// These marks do not hold any more.
    Clear(Marks),
}

// === impl Mark, Marks ===

const ALL: [Mark; 13] = [
    Mark::Listen,
    Mark::Prepare,
    Mark::Cursor,
    Mark::Temporary,
    Mark::AdvisoryLock,
    Mark::SetConfig,
    Mark::Sequence,
    Mark::Load,
    Mark::Procedural,
    Mark::Long,
    Mark::Savepoint,
    Mark::TooMuch,
    Mark::Unread,
];

impl Mark {
    /// A fixed word for metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Prepare => "prepare",
            Self::Cursor => "cursor",
            Self::Temporary => "temporary",
            Self::AdvisoryLock => "advisory-lock",
            Self::SetConfig => "set-config",
            Self::Sequence => "sequence",
            Self::Load => "load",
            Self::Procedural => "procedural",
            Self::Long => "long",
            Self::Savepoint => "savepoint",
            Self::TooMuch => "too-much",
            Self::Unread => "unread",
        }
    }
}

impl Marks {
    /// None.
    pub const NONE: Self = Self(0);

    /// The first of them, if there is one.
    #[must_use]
    pub fn first(self) -> Option<Mark> {
        ALL.into_iter().find(|mark| self.has(*mark))
    }

    /// That one is among them.
    #[must_use]
    pub const fn has(self, mark: Mark) -> bool {
        self.0 & Self::of(mark).0 != 0
    }

    /// That one alone.
    #[must_use]
    pub const fn of(mark: Mark) -> Self {
        Self(1 << mark as u16)
    }

    /// Adds others.
    pub const fn add(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Takes others away.
    pub const fn remove(&mut self, others: Self) {
        self.0 &= !others.0;
    }

    /// Takes all away but others.
    pub const fn keep(&mut self, others: Self) {
        self.0 &= others.0;
    }
}

// === impl Look ===

impl Look {
    /// Looks at a text; at its beginning, when that is all that is there (not `whole`).
    #[must_use]
    pub fn at(text: &[u8], whole: bool) -> Self {
        let (mut look, mut lexer) = (Self::default(), Lexer::new(text));
        let (mut statement, mut start, mut count) = (Statement::default(), 0, 0);
        while let Some(token) = lexer.next() {
            if token == Token::Semicolon {
                let end = lexer.at().saturating_sub(1);
                look.complete(&mut count, &statement, text.get(start..end).unwrap_or_default());
                (statement, start) = (Statement::default(), lexer.at());
            } else {
                look.marks.add(statement.note(token));
            }
        }
        if whole {
            look.complete(&mut count, &statement, text.get(start..).unwrap_or_default());
        } else if count > 0 || !statement.carries_data() {
            look.marks.add(Marks::of(Mark::Long));
        }
        look
    }

    /// Nothing of it needs to be remembered.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.marks == Marks::NONE && self.does.is_empty()
    }

    /// `count` statements that are not blank came before.
    fn complete(&mut self, count: &mut usize, statement: &Statement<'_>, text: &[u8]) {
        if statement.first.is_none() {
            return;
        }
        let does = statement.does(text.trim_ascii(), self.marks);
        if does != Does::Nothing {
            self.does.resize(*count, Does::Nothing);
            self.does.push(does);
        }
        *count += 1;
    }
}

/// One statement, word by word.
#[derive(Debug, Default)]
struct Statement<'a> {
    /// Its first word; empty when it begins with something else.
    first: Option<&'a [u8]>,
    before: &'a [u8],
    unlocks: bool,
}

impl<'a> Statement<'a> {
    /// What the next token means for the session.
    fn note(&mut self, token: Token<'a>) -> Marks {
        let (word, plain) = match token {
            Token::Word(word) => (word, true),
            Token::Name(word) | Token::Hidden(word) => (word, false),
            Token::Semicolon | Token::Sign(_) => {
                self.first.get_or_insert(b"");
                return Marks::NONE;
            }
        };
        let first = *self.first.get_or_insert(if plain { word } else { b"" });
        let before = if plain { std::mem::replace(&mut self.before, word) } else { self.before };
        let is = |a: &[u8], b: &[u8]| a.eq_ignore_ascii_case(b);
        if !plain && is(first, b"do") && IN_A_BLOCK.iter().any(|hidden| is(word, hidden)) {
            return Marks::of(Mark::Procedural);
        }
        // Most words are none of these: the first letter says so.
        match word.first().map(u8::to_ascii_lowercase) {
            Some(b't') if plain && (is(word, b"temp") || is(word, b"temporary")) => {
                let makes = is(first, b"create") || is(before, b"into");
                if makes { Marks::of(Mark::Temporary) } else { Marks::NONE }
            }
            Some(b'h') if plain && is(word, b"hold") && is(before, b"with") => Marks::of(Mark::Cursor),
            Some(b'p' | b's' | b'c' | b'l' | b'd') => {
                self.unlocks |= is(word, b"pg_advisory_unlock_all");
                function(word).map_or(Marks::NONE, Marks::of)
            }
            _ => Marks::NONE,
        }
    }

    fn begins_with(&self, words: &[&[u8]]) -> bool {
        self.first.is_some_and(|first| words.iter().any(|word| first.eq_ignore_ascii_case(word)))
    }

    /// A long one is long because of the values in it.
    fn carries_data(&self) -> bool {
        self.begins_with(&[b"insert", b"update", b"delete", b"merge", b"values"])
    }

    /// What the statement with that `text` does, when it completes.
    fn does(&self, text: &[u8], marks: Marks) -> Does {
        let mut rest = Lexer::new(text).skip(1);
        if self.begins_with(&[b"set"]) {
            set(text)
        } else if self.begins_with(&[b"reset"]) {
            reset(text)
        } else if self.begins_with(&[b"rollback", b"abort"]) {
            if rest.any(|token| is_word(Some(token), b"to")) { Does::RollbackTo } else { Does::Nothing }
        } else if self.begins_with(&[b"deallocate"]) {
            deallocate(rest)
        } else if self.begins_with(&[b"unlisten"]) && rest.next() == Some(Token::Sign(b'*')) {
            Does::Clear(Marks::of(Mark::Listen))
        } else if self.unlocks && !marks.has(Mark::AdvisoryLock) {
            Does::Clear(Marks::of(Mark::AdvisoryLock))
        } else {
            Does::Nothing
        }
    }
}

/// What a block of code must not hold. `execute` may hide anything.
const IN_A_BLOCK: [&[u8]; 9] =
    [b"set", b"reset", b"listen", b"temp", b"temporary", b"load", b"prepare", b"discard", b"execute"];

/// Functions that leave something behind in the session. Their first letters stand in [`Statement::note`].
fn function(word: &[u8]) -> Option<Mark> {
    const FUNCTIONS: [(&[u8], Mark); 8] = [
        (b"pg_advisory_lock", Mark::AdvisoryLock),
        (b"pg_try_advisory_lock", Mark::AdvisoryLock),
        (b"set_config", Mark::SetConfig),
        (b"currval", Mark::Sequence),
        (b"lastval", Mark::Sequence),
        (b"setseed", Mark::Sequence),
        (b"pg_temp", Mark::Temporary),
        (b"dblink_connect", Mark::Load),
    ];
    if word.len() < SHORTEST {
        return None;
    }
    let begins = |name: &[u8]| word.get(..name.len()).is_some_and(|w| w.eq_ignore_ascii_case(name));
    FUNCTIONS.into_iter().find(|(name, _)| begins(name)).map(|(_, mark)| mark)
}

/// No function of these has a shorter name.
const SHORTEST: usize = 7;

/// The key of who one is.
pub(super) const SESSION_AUTHORIZATION: &[u8] = b"session authorization";

/// `SET`. A setting whose name is not clear has its whole text for a key. A key too many only costs
/// space, since all are set again in the order in which they were last set.
fn set(text: &[u8]) -> Does {
    let mut words = Lexer::new(text).skip(1).peekable();
    let first = words.next();
    let qualified = words.peek() == Some(&Token::Sign(b'.'));
    let first_is = |names: &[&[u8]]| !qualified && names.iter().any(|name| is_word(first, name));
    if first_is(&[b"local", b"transaction", b"constraints"]) {
        return Does::SetLocal;
    }
    let key = if first_is(&[b"session"]) {
        let second = words.next();
        match second {
            second if is_word(second, b"authorization") => Some(SESSION_AUTHORIZATION.into()),
            second if is_word(second, b"characteristics") => None,
            second => key(second, words),
        }
    } else {
        key(first, words)
    };
    Does::Set { key: key.unwrap_or_else(|| text.into()), text: text.into() }
}

fn reset(text: &[u8]) -> Does {
    let mut words = Lexer::new(text).skip(1).peekable();
    let first = words.next();
    if is_word(first, b"all") {
        return Does::ResetAll;
    }
    let key = if is_word(first, b"session") && words.peek() != Some(&Token::Sign(b'.')) {
        Some(SESSION_AUTHORIZATION.into())
    } else {
        key(first, words)
    };
    Does::Set { key: key.unwrap_or_else(|| text.into()), text: text.into() }
}

fn is_word(token: Option<Token<'_>>, word: &[u8]) -> bool {
    matches!(token, Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
}

/// The name of a setting, which may have two parts.
fn key<'a>(name: Option<Token<'a>>, mut rest: impl Iterator<Item = Token<'a>>) -> Option<Box<[u8]>> {
    let Some(Token::Word(name)) = name else { return None };
    match (rest.next(), rest.next()) {
        (Some(Token::Sign(b'.')), Some(Token::Word(second))) => {
            Some([name, b".", second].concat().to_ascii_lowercase().into())
        }
        (Some(Token::Sign(b'.')), _) => None,
        _ => Some(name.to_ascii_lowercase().into()),
    }
}

fn deallocate<'a>(rest: impl Iterator<Item = Token<'a>>) -> Does {
    match rest.into_iter().find(|token| !is_word(Some(*token), b"prepare")) {
        Some(Token::Word(name)) => Does::Deallocate(name.to_ascii_lowercase().into()),
        Some(Token::Name(name)) => Does::Deallocate(name.into()),
        _ => Does::Nothing,
    }
}

#[cfg(test)]
mod tests;
