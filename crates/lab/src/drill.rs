//! A drill: a real fault on a real system, with users on it, measured from outside.
//!
//! [`run`] is the whole of it: the lab comes up, watchers and users are set to work, the timeline is
//! played, everything is stopped, the rows of every database are compared with what clients were told,
//! and the facts are drawn up. It has no opinion about how a recovery is done; it only looks.

pub mod expect;
pub mod file;

mod acting;
mod conclude;
mod environment;
mod observe;
mod rows;
mod script;
mod stage;
mod turns;
mod witness;

use std::time::Duration;

use meridian_model::{RegionName, System};
use meridian_telemetry::clock;
use tokio::sync::watch;

use crate::error::LabError;
use crate::plan::LabOptions;
use crate::regions::Lab;
use crate::report::Facts;
use file::Drill;
use turns::Moved;

/// How long the system may take until everything is healthy, the first initialisation included.
const HEALTHY_WITHIN: Duration = Duration::from_secs(180);

/// How a drill is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How the lab is started.
    pub lab: LabOptions,
    /// Keep the lab's data afterwards.
    pub keep: bool,
}

/// Tells people how it goes: one line at a time.
pub type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Why a drill could not be measured. A drill that was measured and failed is no error.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Somebody wanted it to end.
    #[error("it was interrupted")]
    Interrupted,
    /// The system has nothing to drill.
    #[error("the system has no {0}: a drill needs a service for its users and a database to write to")]
    Nothing(&'static str),
    /// The lab's secret.
    #[error(transparent)]
    Secret(#[from] meridian_node::secret::SecretError),
    /// A password.
    #[error("cannot read the password {path}: {source}; the lab writes it when it starts")]
    Password {
        /// Its file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system says that it is healthy, and its users are not served.
    #[error("nothing is broken yet and users are not served: {0}; the logs of the lab's nodes say why")]
    NotServed(String),
    /// Nobody could be asked for the rows.
    #[error("no database of {group} could be read after the drill, so the loss cannot be counted: {reasons}")]
    NoRows {
        /// The group.
        group: String,
        /// What each member said.
        reasons: String,
    },
    /// The hour to which the schedule was moved is past.
    #[error(
        "the lab was up {by:?} too late for the first turn of the schedule, which was moved for this drill when it \
         started; nothing was measured: run it again when the machine is less busy"
    )]
    TurnMissed {
        /// How much too late.
        by: Duration,
    },
    /// The witness has no place to write.
    #[error("the table of the writers' witness cannot be made in {region}: {reason}")]
    Witness {
        /// Where the writer is.
        region: RegionName,
        /// What the database said.
        reason: String,
    },
}

/// Runs a drill on a lab of its own and says what was measured. `stop` counts the requests to end: the first
/// ends the measurement, the second the lab at once.
///
/// # Errors
/// [`DrillError`] when it could not be measured.
pub async fn run(
    drill: &Drill,
    system: &System,
    options: Options,
    tell: Tell<'_>,
    mut stop: watch::Receiver<u32>,
) -> Result<Facts, DrillError> {
    let moved = turns::moved(system, drill, clock::wall());
    let lab = Lab::up_with(&moved.system, options.lab.clone(), tell).await?;
    tell(&format!("lab {} starts in {}", lab.number(), lab.dir().display()));
    for told in &moved.told {
        tell(&format!("the schedule is moved: {told}"));
    }
    let measured = tokio::select! {
        measured = measure(&lab, drill, (system, &moved), &options, tell) => measured,
        () = asked(&mut stop, 1) => Err(DrillError::Interrupted),
    };
    let what = if options.keep { "its data stays" } else { "its data is removed" };
    tell(&format!("stopping the lab; {what}"));
    let stopped = tokio::select! {
        stopped = lab.shutdown(!options.keep) => stopped,
        // What still runs dies with this process; the next lab removes the data.
        () = asked(&mut stop, 2) => Ok(()),
    };
    if let Err(error) = stopped {
        tell(&format!("the lab did not stop cleanly: {error}"));
    }
    measured
}

/// Waits until the end was asked for so many times.
async fn asked(stop: &mut watch::Receiver<u32>, times: u32) {
    if stop.wait_for(|asked| *asked >= times).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

/// Everything between the lab's start and its end.
async fn measure(
    lab: &Lab,
    drill: &Drill,
    (system, moved): (&System, &Moved),
    options: &Options,
    tell: Tell<'_>,
) -> Result<Facts, DrillError> {
    tell("waiting until everything is healthy");
    lab.wait_healthy(HEALTHY_WITHIN).await?;
    let stage = stage::Stage::set(lab, drill, moved.begin, options.lab.seed).await?;
    tell(&format!(
        "load on: {} requests/s from {} populations",
        drill.load.rate,
        system.topology.users.len()
    ));
    let played = script::play(lab, drill, &stage, tell).await?;
    tell("load off; comparing every row with what clients were told");
    let seen = stage.strike(lab).await?;
    let (all, writes) = (seen.recorded.samples.len(), seen.recorded.ledger.acknowledged.len());
    let failed = seen.recorded.samples.iter().filter(|s| !s.outcome.good()).count();
    tell(&format!(
        "{all} requests, {failed} failed, {writes} writes acknowledged in all, those counted that ended since the last line"
    ));
    Ok(conclude::facts(&conclude::Evidence { drill, system, moved, played: &played, seen: &seen, options }))
}
