//! PostgreSQL's wire protocol as far as a gateway needs it, without sockets and without clocks.
//!
//! Why our own and not a library: the gateway must forward every byte as it came, and only wants to
//! know where messages end, so it frames in place ([`frame`]) and decodes five small messages. All
//! functions here take any bytes whatsoever and never panic; sizes are bounded by named constants.
//! Property tests sit beside each file, a fuzz target in the workspace's `fuzz` folder.
//!
//! Covered: protocol 3.x (the minor version is negotiated between client and server; the packet is
//! passed on unchanged), SSLRequest, GSSENCRequest, CancelRequest with keys of 4 to 256 bytes (3.2).

pub mod dialogue;
pub mod frame;
pub mod message;
pub mod startup;

pub use dialogue::{Dialogue, Said};
pub use frame::{FrameError, Frames, WHOLE_MAX};
pub use message::{Fault, Severity, sqlstate};
pub use startup::{CancelKey, Opening, OpeningError, Startup};
