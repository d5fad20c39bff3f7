//! wan: to be written.
