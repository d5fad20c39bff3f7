//! The simulator must be able to fail: each deliberate fault is put into a copy of the crates, which is built
//! and run until a law is broken. No hook for this is in shipped code.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

use crate::simulate::{PACKAGE, PROFILE};

mod list;

use list::Mutant;

/// What the simulator is built from.
const CRATES: [&str; 8] =
    ["model", "catalog", "planner", "health", "failover", "steering", "invariants", "simulation"];
/// The members of the workspace, as its manifest names them, and of the copy.
const MEMBERS: (&str, &str) = ("members = [\"crates/*\", \"examples/shop\"]", "members = [\"crates/*\"]");
/// Without any fault so many schedules must pass, or the table says nothing.
const SOUND: u64 = 5_000;

/// How a mutant ended.
struct Caught {
    law: String,
    schedules: String,
    seed: String,
}

/// Runs the named mutants (all, if none is named) through at most so many schedules each.
#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub(crate) fn run(root: &Path, names: &[String], schedules: u64) -> anyhow::Result<ExitCode> {
    let mutants = list::read(root)?;
    for name in names {
        ensure!(mutants.iter().any(|m| &m.name == name), "there is no mutant `{name}` in {}", list::FOLDER);
    }
    let copy = Copy::make(root)?;
    let without = copy.sound()?;
    println!("| Deliberate fault | What it breaks | Broken law | After schedules | Seed |");
    println!("|---|---|---|---|---|");
    let mut missed = 0;
    for mutant in mutants.iter().filter(|m| names.is_empty() || names.contains(&m.name)) {
        let sound = copy.put_in(mutant)?;
        let caught = copy.build().and_then(|simulator| simulate(&simulator, "1", schedules));
        sound.iter().rev().try_for_each(|(file, text)| copy.write(file, text))?;
        let caught = caught.with_context(|| mutant.name.clone())?;
        let Mutant { name, breaks, law, .. } = mutant;
        match caught {
            Some(Caught { law, schedules, seed }) => {
                // Else the machine itself is at fault, and the mutant was not caught.
                ensure!(
                    simulate(&without, &seed, 1)?.is_none(),
                    "seed {seed} breaks `{law}` without any deliberate fault, too: cargo xtask simulate --seed {seed}"
                );
                println!("| `{name}` | {breaks} | `{law}` | {schedules} | {seed} |");
            }
            None => {
                println!("| `{name}` | {breaks} | none (`{law}` should) | over {schedules} | |");
                missed += 1;
            }
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A copy of the crates in which faults are put.
struct Copy {
    from: PathBuf,
    tree: PathBuf,
    built: PathBuf,
}

impl Copy {
    fn make(root: &Path) -> anyhow::Result<Self> {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata")?;
        let folder = metadata.target_directory.as_std_path().join("mutants");
        let copy = Self { from: root.to_owned(), tree: folder.join("tree"), built: folder.join("built") };
        let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
        ensure!(manifest.contains(MEMBERS.0), "the members of the workspace are not `{}`", MEMBERS.0);
        copy.write("Cargo.toml", &manifest.replace(MEMBERS.0, MEMBERS.1))?;
        copy.write("Cargo.lock", &std::fs::read_to_string(root.join("Cargo.lock"))?)?;
        for name in CRATES {
            copy.bring(&format!("crates/{name}/Cargo.toml"))?;
            copy.bring_folder(&PathBuf::from(format!("crates/{name}/src")))?;
        }
        // Reference data that is compiled in.
        let data = PathBuf::from("crates/catalog/data");
        if root.join(&data).is_dir() {
            copy.bring_folder(&data)?;
        }
        Ok(copy)
    }

    fn bring(&self, path: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.from.join(path)).with_context(|| path.to_owned())?;
        self.write(path, &text)
    }

    fn bring_folder(&self, folder: &Path) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(self.from.join(folder))? {
            let path = folder.join(entry?.file_name());
            if self.from.join(&path).is_dir() {
                self.bring_folder(&path)?;
            } else {
                self.bring(&path.to_string_lossy())?;
            }
        }
        Ok(())
    }

    /// What has not changed is left alone, so that it is not built again.
    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.tree.join(path);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Puts the fault in; gives the files as they were.
    fn put_in(&self, mutant: &Mutant) -> anyhow::Result<Vec<(String, String)>> {
        let mut sound = Vec::new();
        for hunk in &mutant.hunks {
            let there = std::fs::read_to_string(self.tree.join(&hunk.file))?;
            self.write(&hunk.file, &hunk.apply(&there).with_context(|| mutant.name.clone())?)?;
            sound.push((hunk.file.clone(), there));
        }
        Ok(sound)
    }

    /// Builds the copy, and gives the simulator.
    fn build(&self) -> anyhow::Result<PathBuf> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--package", PACKAGE, "--profile", PROFILE]);
        cargo
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.built)
            .env("CARGO_INCREMENTAL", "1")
            // Every mutant is built, and most of them run for seconds only.
            .env("CARGO_PROFILE_SIMULATE_LTO", "off")
            .env("CARGO_PROFILE_SIMULATE_CODEGEN_UNITS", "16");
        ensure!(cargo.status().context("cargo build")?.success(), "the copy cannot be built");
        Ok(self.built.join(PROFILE).join("simulate"))
    }

    /// Builds the copy as it is without any fault, keeps the simulator, and sees that it breaks no law.
    fn sound(&self) -> anyhow::Result<PathBuf> {
        let kept = self.built.join("sound");
        std::fs::copy(self.build()?, &kept).context("keeping the simulator")?;
        ensure!(simulate(&kept, "1", SOUND)?.is_none(), "a law is broken without any deliberate fault");
        Ok(kept)
    }
}

/// Runs so many schedules until a law is broken; `None`: none was.
fn simulate(simulator: &Path, seed: &str, schedules: u64) -> anyhow::Result<Option<Caught>> {
    let output = Command::new(simulator)
        .args(["--brief", "--seed", seed, "--schedules", &schedules.to_string()])
        .output()
        .with_context(|| simulator.display().to_string())?;
    let told = String::from_utf8_lossy(&output.stdout);
    match told.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["broken", law, schedules, seed] => Ok(Some(Caught {
            law: (*law).to_owned(),
            schedules: (*schedules).to_owned(),
            seed: (*seed).to_owned(),
        })),
        ["passed", ..] => Ok(None),
        _ => anyhow::bail!("the simulator said neither: {told}"),
    }
}
