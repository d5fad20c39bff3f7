//! PostgreSQL's wire protocol as far as a gateway needs it, without sockets and without clocks.
//!
//! Why our own and not a library: the gateway must forward every byte as it came, and only wants to
//! know where messages end, so it frames in place ([`frame`]) and decodes five small messages. What it
//! must know to move a session to another server is learned from what passes ([`tracker`], [`look`]); only
//! there it is a client itself ([`login`], with the SCRAM of the `postgres-protocol` crate). All functions here take any bytes whatsoever and never panic; sizes are bounded by named constants.
//! Property tests sit beside each file, a fuzz target in the workspace's `fuzz` folder.
//!
//! Covered: protocol 3.x (the minor version is negotiated between client and server; the packet is
//! passed on unchanged), SSLRequest, GSSENCRequest, CancelRequest with keys of 4 to 256 bytes (3.2).

pub mod dialogue;
pub mod frame;
mod lexer;
pub mod login;
pub mod look;
pub mod message;
pub mod startup;
pub mod tracker;

pub use dialogue::{Dialogue, Said};
pub use frame::{FrameError, Frames, WHOLE_MAX};
pub use login::{Login, LoginError};
pub use look::{Mark, Marks};
pub use message::{Fault, Severity, sqlstate};
pub use startup::{CancelKey, Opening, OpeningError, Startup};
pub use tracker::{Replay, Tracker};
