//! How a report looks: one HTML file that needs nothing else, with drawings, in light, dark and on paper.
//!
//! Plain string building, no template engine and no script. What is told, and what it means, is the
//! caller's: nothing here knows a drill or a run. Every text from outside goes through [`escape`].

pub mod html;
pub mod scale;
mod style;
pub mod svg;

pub use html::Page;
pub use svg::{Anchor, Drawing, escape};
