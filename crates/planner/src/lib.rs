//! Reads a finished system and says what is wrong with it, and how long a recovery takes.
//!
//! [`check`] is the linter: independent rules, each a small function in `checks`, that take the whole
//! system and name contradictions. It trusts that single values are well formed (`spec` sees to that)
//! and looks only at how they fit together. [`timeline()`] is the frozen answer to "what happens, in what
//! order, how long, and why so long" when the writer's region is lost.
//!
//! Nothing here reads a file, a clock or the network: round-trip times come from `catalog`.

mod checks;
mod distance;
mod finding;
mod timeline;

pub use checks::check;
pub use finding::{Finding, Severity, Subject};
pub use timeline::{Timeline, TimelineStep, in_seconds, timeline};

#[cfg(test)]
mod tests;
