//! Waiting with an end: every deadline says what was waited for and why it is that long.

use std::future::Future;
use std::time::Duration;

use crate::error::ActuatorError;

/// A limit on waiting, with its reason.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// How long.
    pub after: Duration,
    /// Why that long, for the error message.
    pub reason: &'static str,
}

impl Deadline {
    /// A limit of `after`, because of `reason`.
    #[must_use]
    pub const fn new(after: Duration, reason: &'static str) -> Self {
        Self { after, reason }
    }

    /// Runs `work` to its end or to the deadline.
    ///
    /// # Errors
    /// [`ActuatorError::TimedOut`], or the work's own.
    pub async fn run<T>(
        self,
        what: &str,
        work: impl Future<Output = Result<T, ActuatorError>>,
    ) -> Result<T, ActuatorError> {
        match tokio::time::timeout(self.after, work).await {
            Ok(result) => result,
            Err(_) => Err(self.passed(what)),
        }
    }

    /// The error that says that it has passed.
    #[must_use]
    pub fn passed(self, what: &str) -> ActuatorError {
        ActuatorError::TimedOut { what: what.to_owned(), after: self.after, reason: self.reason.to_owned() }
    }
}
