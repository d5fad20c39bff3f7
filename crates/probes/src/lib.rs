//! The hands that ask the world: HTTP, TCP and SQL probes of every part of every region.
//!
//! A [`Prober`] looks at every target once a round and tells what it saw as one
//! [`meridian_model::health::Report`]; thresholds and hysteresis are `health`'s.

pub mod round;

pub use round::{Prober, ProberError};
