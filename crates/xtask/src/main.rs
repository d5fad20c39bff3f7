//! Tasks of the workspace itself: `cargo xtask tidy` checks what can be checked, `cargo xtask diagrams`
//! writes the generated parts of the documents anew, `cargo xtask simulate` runs the simulator,
//! `cargo xtask mutants` shows that it can fail. Never shipped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

mod diagrams;
mod mutants;
mod simulate;
mod tidy;

/// Tasks of the workspace itself.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what reviews should not have to: arrows, purity of minds, sizes, documents, licences.
    Tidy,
    /// Write the generated parts of the documents anew.
    Diagrams,
    /// Run the machines under seeded faults, on all cores: `--schedules N --seed S`, `--help` for more.
    #[command(disable_help_flag = true)]
    Simulate {
        /// What the simulator is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Put each deliberate fault into a copy of the minds and simulate that until a law is broken.
    Mutants {
        /// How many schedules a fault may survive.
        #[arg(long, default_value_t = 1_000_000)]
        schedules: u64,
        /// Which faults; all if none is named.
        names: Vec<String>,
    },
}

#[expect(clippy::print_stderr, reason = "a task talks to the person who runs it")]
fn main() -> anyhow::Result<ExitCode> {
    let root = root()?;
    match Arguments::parse().task {
        Task::Tidy => {
            let faults = tidy::check(&root)?;
            for fault in &faults {
                eprintln!("tidy: {fault}");
            }
            Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Task::Diagrams => {
            for (path, text) in diagrams::generate() {
                let path = root.join(path);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Task::Mutants { schedules, names } => mutants::run(&root, &names, schedules),
        Task::Simulate { arguments } => simulate::run(&root, &arguments),
    }
}

fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_owned).context("xtask is not two folders below the workspace")
}
