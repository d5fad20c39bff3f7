//! What can go wrong with a request, seen from the client: the difference that matters is whether
//! something may have been written.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Why a request has no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was done; asking again later makes sense.
    Unavailable(String),
    /// It was sent, and nobody can tell whether it was done; asking again with the same id is safe.
    Unknown(String),
    /// The request is wrong.
    Wrong(String),
    /// There is no such thing.
    Missing,
}

impl Fault {
    /// A connection that could not be had.
    pub(crate) fn no_connection(error: &Error) -> Self {
        Self::Unavailable(words(error))
    }

    /// A statement that failed. If the server says so and the session lives, it was not done. A session
    /// that is ended from outside (57P01) may have been ended between the commit and its answer.
    pub(crate) fn of_statement(error: &Error) -> Self {
        match error.code() {
            None => Self::Unknown(words(error)),
            Some(code) if *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN => {
                Self::Unknown(words(error))
            }
            Some(code) if code.code().starts_with("08") => Self::Unknown(words(error)),
            Some(code) if code.code().starts_with("22") => Self::Wrong(words(error)),
            Some(_) => Self::Unavailable(words(error)),
        }
    }
}

/// The server's own words with their SQLSTATE, or the whole chain of causes.
pub(crate) fn words(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut inner = std::error::Error::source(error);
    while let Some(cause) = inner {
        text = format!("{text}: {cause}");
        inner = cause.source();
    }
    text
}
