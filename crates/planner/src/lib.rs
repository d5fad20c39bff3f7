//! Reads a finished system and says what is wrong with it, and how long a recovery takes.
//!
//! [`check`] is the linter: independent rules, each a small function in `checks`, that take the whole
//! system and name contradictions. It trusts that single values are well formed (`spec` sees to that)
//! and looks only at how they fit together. [`derive()`] makes the plan of a database for which none is
//! written, [`complete`] makes a written one whole, and [`freeze`] gives the steps of a run; [`lint()`] is
//! the linter of such a list and knows nothing of how it was made. [`predict`] is the answer to "what
//! happens, when, how long, and why so long", [`progress()`] lays it beside a run, and [`schedule`] says when
//! the writer follows the sun.
//! [`examine`] is the linter of a running system: it reads what every region's node has looked up at home.
//!
//! Nothing here reads a file, a clock or the network: round-trip times come from `catalog`, time zones are
//! compiled in.

mod checks;
mod distance;
mod finding;
mod lint;
mod live;
mod plan;
mod progress;
pub mod schedule;
mod timeline;

pub use checks::check;
pub use finding::{Finding, Severity, Subject};
pub use lint::lint;
pub use live::{Control, LOOK_AFTER_CHANGE, Live, examine};
pub use plan::{asks_before_promotion, complete, demotion_timeout, derive, freeze, usual_timeout};
pub use progress::{StepProgress, Stuck, progress};
pub use timeline::{Timeline, TimelineStep, in_seconds, predict, timeline};

#[cfg(test)]
mod tests;
