//! What a client has asked and the server not yet answered.

use crate::protocol::look::{Does, Look};

/// What keeping one thing costs beside its bytes, about.
pub(super) const ENTRY: usize = 64;

/// What the client asked, in the order in which it will be answered.
#[derive(Debug)]
pub(super) enum Asked {
    Query(Option<Box<Query>>),
    /// A Parse; with its content when the statement has a name.
    Parse(Option<Box<Named>>),
    Execute(Option<Box<Look>>),
    /// A Close, with its name when it closes a statement.
    Close(Option<Box<[u8]>>),
    Sync,
    Call,
}

/// A Parse of a named statement.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: Box<[u8]>,
    pub(super) body: Box<[u8]>,
}

/// A simple query that is not plain, or of which only the beginning was seen.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) does: std::vec::IntoIter<Does>,
    pub(super) whole: bool,
    /// Statements that have completed.
    pub(super) completed: usize,
}

impl Asked {
    /// Bytes that it keeps.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Query(Some(query)) => weight(query.does.as_slice()),
            Self::Parse(Some(parse)) => parse.name.len() + parse.body.len() + ENTRY,
            Self::Execute(Some(look)) => weight(&look.does),
            Self::Close(Some(name)) => name.len(),
            _ => 0,
        }
    }
}

/// Bytes that are kept with these.
pub(super) fn weight(does: &[Does]) -> usize {
    let text = |does: &Does| match does {
        Does::Set { key, text } => key.len() + text.len() + ENTRY,
        Does::Deallocate(name) => name.len(),
        _ => 0,
    };
    does.iter().map(|does| size_of::<Does>() + text(does)).sum()
}
