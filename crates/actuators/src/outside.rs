//! The steps of a run that reach beyond databases and instances: somebody is told, a program is run, the
//! running system is asked.
//!
//! Nothing here waits without end by itself, and nothing goes on when the wait is dropped: the step's
//! timeout is the caller's.

use std::path::PathBuf;

use meridian_model::Name;
use meridian_model::plan::{Check, Exec, Notify};
use meridian_model::run::Run;

use crate::check::{Access, ask};
use crate::error::ActuatorError;
use crate::notify::tell;
use crate::process::Spawner;
use crate::program::{execute, output_file};
use crate::web::Web;

/// What these steps need.
#[derive(Debug, Clone)]
pub struct Outside {
    web: Web,
    spawner: Spawner,
    data_dir: PathBuf,
}

impl Outside {
    /// Programs run in the node's data directory unless told otherwise, and their last words are kept there.
    ///
    /// # Errors
    /// The thread that starts programs cannot be started.
    pub fn new(data_dir: PathBuf) -> Result<Self, ActuatorError> {
        Ok(Self { web: Web::new(), spawner: Spawner::start()?, data_dir })
    }

    /// The same, but over `https://` only those are trusted whose certificates are in that file.
    #[must_use]
    pub fn trusting(self, bundle: PathBuf) -> Self {
        Self { web: Web::trusting(bundle), ..self }
    }

    /// Tells somebody of the run; says who has taken it.
    ///
    /// # Errors
    /// They cannot be reached or do not take it. The words give no secret address away.
    pub async fn tell(
        &self,
        run: &Run,
        step: &Name,
        to: &Notify,
        text: &str,
    ) -> Result<String, ActuatorError> {
        tell(&self.web, to, text, run, step).await
    }

    /// Runs a program to its end; says how it ended and what it said last. It is killed with all that it
    /// has started when the wait is dropped.
    ///
    /// # Errors
    /// It cannot be started, or ends with anything but 0.
    pub async fn execute(&self, run: &Run, step: &Name, exec: &Exec) -> Result<String, ActuatorError> {
        execute(&self.spawner, exec, run, step, &self.data_dir).await
    }

    /// Where the last words of a step's program are kept.
    #[must_use]
    pub fn output_file(&self, run: &Run, step: &Name) -> PathBuf {
        output_file(&self.data_dir, run, step)
    }

    /// Asks the running system; says what was seen when the check holds.
    ///
    /// # Errors
    /// It does not hold, or cannot be asked.
    pub async fn ask(&self, check: &Check, access: &Access) -> Result<String, ActuatorError> {
        ask(&self.web, access, check).await
    }
}
