//! One answer to "where should this go", for DNS, edge and gateway alike.
//!
//! A [`View`] joins the checked spec with one snapshot and says, always with the reason in words:
//! which regions a client should go to ([`View::answer`], for DNS), where an edge should send a
//! request of a service ([`View::backends`]), who takes the writes of a data group
//! ([`View::writer`]) and who its reads ([`View::readers`]). The three data planes therefore never
//! disagree about a region: they read the same state through the same rules.
//!
//! This crate knows no socket, no clock and no chance. The same view gives the same answer to the
//! same client, on every node that holds the same snapshot. Open [`answer`] first, the rules of
//! order are in [`rank`].

pub mod answer;
pub mod choice;
pub mod distance;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod networks;
pub mod rank;
mod shares;
pub mod succession;
pub mod view;

pub use answer::{Answer, Candidate, Class, Client};
pub use choice::{BackendChoice, ReaderChoice, Via, WriterChoice};
pub use distance::RoundTrip;
pub use rank::Rank;
pub use succession::Next;
pub use view::View;
