//! Builds the simulator as fast as it can be and runs it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// The package, and the profile that it is built with.
pub(crate) const PACKAGE: &str = "meridian-simulation";
pub(crate) const PROFILE: &str = "simulate";

/// Runs the simulator with these arguments.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--package", PACKAGE, "--profile", PROFILE, "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cargo run")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
