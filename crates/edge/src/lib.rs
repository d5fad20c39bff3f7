//! The edge: takes the users' HTTP requests and passes each to the nearest healthy backend.
//!
//! [`bind`] opens the listeners, [`Server::serve`] works until it is told to stop and then drains. One
//! thread for each core with a current-thread runtime, its own listeners (`SO_REUSEPORT`) and its own
//! pools of upstream connections: nothing is shared on the way of a request but the view, which is
//! swapped whole.
//!
//! A request goes to the own region's instances, else to the *edge* of the nearest healthy region,
//! never past it to its instances; and one that already came from another edge is served here or
//! refused, so that no request goes around in circles. What may be tried again is in `forward.rs`.
//!
//! What this crate does not know: why a region is up or down, caching, and how instances are run.
//! Open `request.rs` first.

mod body;
mod budget;
mod connection;
mod error;
mod forward;
mod headers;
mod limits;
mod pool;
mod refusal;
mod request;
mod routes;
mod serve;
mod tls;
mod worker;

pub use error::Error;
pub use limits::Limits;
pub use request::HEALTH_PATH;
pub use serve::{Config, Server, bind};
