//! The program as its users meet it: from the command line, with the clients that they have.

#[path = "it/commands.rs"]
mod commands;
#[path = "it/evidence.rs"]
mod evidence;
#[path = "it/spec.rs"]
mod spec;
#[path = "it/system.rs"]
mod system;
#[path = "it/tool.rs"]
mod tool;
