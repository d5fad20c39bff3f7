//! `meridian check`: is this spec sound? Every fault at once, each with its place.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use meridian_lab::drill::file::Drill;
use meridian_model::System;
use meridian_planner::{in_seconds, timeline};
use meridian_spec::{Diagnostic, Inspection, Severity, SourceFile, inspect, inspect_some, reading};
use serde_json::{Value, json};

use crate::output::{Output, print};

/// Parse and validate specs and drills: every error at once, each with its place.
///
/// They are read as `meridian run`, the lab and `meridian drill run` would, without running anything.
///
/// All that is named is one spec, in one file or in several, with one Topology. Files with a Topology each are specs of
/// their own: that is told, with their names, and each is checked by a command of its own. Drills are always checked each
/// by itself.
///
/// All errors are told at once. A file that cannot be understood hides none of the others', and what they refer to
/// may be in it: that is not missed.
///
/// Exit code: 0 sound, perhaps with warnings; 1 errors were found; 2 a file could not be read.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The files of one spec, or drill files; folders stand for the .yaml and .yml files in them. `-` is standard
    /// input. Several specs: `for spec in examples/*.yaml; do meridian check "$spec"; done`.
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// How to answer.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Checks and prints what was found.
pub(crate) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let (inspection, drills) = with_drills(texts(&args.specs)?);
    print(&match args.output {
        Output::Table => table(&inspection, &drills, io::stdout().is_terminal()),
        Output::Json => format!("{:#}\n", as_json(&inspection, &drills)),
    });
    Ok(if is_sound(&inspection) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the files hold.
struct Texts {
    files: Vec<SourceFile>,
    /// Those that are no text: that is a fault of the spec, and the others are looked at all the same.
    faults: Vec<Diagnostic>,
}

fn inspected(texts: &Texts) -> Inspection {
    if texts.faults.is_empty() {
        return inspect(&texts.files);
    }
    let mut found = inspect_some(&texts.files);
    found.diagnostics.splice(0..0, texts.faults.iter().cloned());
    found
}

/// Checks drills each by itself, with their systems, and all other files as one spec.
fn with_drills(texts: Texts) -> (Inspection, Vec<Drill>) {
    let is_drill = |file: &SourceFile| reading::is_of_kind(file, "Drill");
    let (drill_files, spec): (Vec<SourceFile>, Vec<SourceFile>) = texts.files.into_iter().partition(is_drill);
    let mut whole = match spec.is_empty() {
        true => Inspection { system: None, diagnostics: texts.faults },
        false => inspected(&Texts { files: spec, ..texts }),
    };
    let mut drills = Vec::new();
    for file in drill_files {
        match crate::drill::read(file, None) {
            Ok((drill, _)) => drills.push(drill),
            Err(faults) => whole.diagnostics.extend(faults),
        }
    }
    // A drill's system is told its faults once, however many drills name it.
    let mut told: Vec<Diagnostic> = Vec::new();
    whole.diagnostics.retain(|d| {
        let new = !told.contains(d);
        told.extend(new.then(|| d.clone()));
        new
    });
    (whole, drills)
}

/// No error was found. A spec with one has no system; drills have none here.
fn is_sound(inspection: &Inspection) -> bool {
    inspection.diagnostics.iter().all(|d| d.severity != Severity::Error)
}

/// The system of a spec whose faults, if it has any, were told before; none: it has faults.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn read_again(spec: PathBuf) -> anyhow::Result<Option<System>> {
    Ok(inspected(&texts(&[spec])?).system)
}

/// The system that the specs say; none when they have errors, which are then told on standard error.
/// Warnings are told too.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn read_or_report(specs: &[PathBuf]) -> anyhow::Result<Option<System>> {
    let inspection = inspected(&texts(specs)?);
    let color = io::stderr().is_terminal();
    let mut told: String = inspection.diagnostics.iter().map(|d| d.render(color) + "\n").collect();
    if inspection.system.is_none() {
        let (errors, warnings) = counts(&inspection);
        let _ = writeln!(told, "{}{}: nothing was started", many(errors, "error"), noted(warnings));
    }
    io::stderr().write_all(told.as_bytes())?;
    Ok(inspection.system)
}

/// The text of every named file; every file of a named folder.
///
/// # Errors
/// The first file that cannot be read or is no text, with what to do.
pub(crate) fn read_specs(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    let Texts { files, faults } = texts(paths)?;
    match faults.first() {
        Some(Diagnostic { file, line, message, .. }) => {
            anyhow::bail!("{file}: {message} (line {line}): save it as UTF-8")
        }
        None => Ok(files),
    }
}

/// The same, with those that are no text.
fn texts(paths: &[PathBuf]) -> anyhow::Result<Texts> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(of_folder(path)?);
        } else {
            all.push(path.clone());
        }
    }
    let mut texts = Texts { files: Vec::new(), faults: Vec::new() };
    for path in &all {
        let name = path.display().to_string();
        match String::from_utf8(bytes(path).with_context(|| format!("the spec {name} cannot be read"))?) {
            Ok(text) => texts.files.push(SourceFile { name, text }),
            Err(error) => texts.faults.push(not_text(name, &error, all.len() == 1)),
        }
    }
    Ok(texts)
}

fn of_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        folder.read_dir().with_context(|| format!("the folder {} cannot be read", folder.display()))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_yaml).collect();
    anyhow::ensure!(!paths.is_empty(), "there is no .yaml file in the folder {}", folder.display());
    paths.sort();
    Ok(paths)
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::stdin().lock(), &mut bytes).map(|_| bytes)
}

fn not_text(file: String, error: &std::string::FromUtf8Error, alone: bool) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let line = error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
    let help =
        if alone { "save it as UTF-8; is it the right file?" } else { "save it as UTF-8, or leave it out" };
    Diagnostic {
        severity: Severity::Error,
        file,
        line,
        column: 1,
        length: 1,
        source_line: String::new(),
        message: "this is not UTF-8".to_owned(),
        details: Vec::new(),
        suggestion: Some(help.to_owned()),
    }
}

/// For people: the diagnostics, then what the spec says in a few lines, or how many faults there are.
fn table(inspection: &Inspection, drills: &[Drill], color: bool) -> String {
    let mut text = String::new();
    for diagnostic in &inspection.diagnostics {
        text += &diagnostic.render(color);
        text.push('\n');
    }
    let (errors, warnings) = counts(inspection);
    for drill in drills {
        let (name, system, faults) = (&drill.name, drill.system.display(), drill.timeline.len());
        let _ =
            writeln!(text, "{name} is a sound drill of {system}: {} on its timeline.", many(faults, "entry"));
    }
    match &inspection.system {
        None if errors == 0 => {}
        Some(system) => {
            let topology = &system.topology;
            let regions: Vec<&str> = topology.regions.iter().map(|r| r.name.as_str()).collect();
            let _ = writeln!(text, "{} is sound{}.", topology.name, noted(warnings));
            let _ = writeln!(text, "  regions    {}", regions.join(", "));
            let services = system.services.len();
            let databases = system.databases.len();
            let _ =
                writeln!(text, "  holds      {}, {}", many(services, "service"), many(databases, "database"));
            if let Some(why) = no_recovery(system) {
                let _ = writeln!(text, "\nNo recovery from the loss of the writer's region: {why}.");
            } else {
                let _ = writeln!(text, "\nRecovery from the loss of the writer's region, as planned:");
                for line in timeline(system).table() {
                    let _ = writeln!(text, "  {line}");
                }
                let _ = writeln!(text, "  objective  {} (rto)", in_seconds(topology.objectives.rto));
            }
        }
        None => {
            let _ = writeln!(text, "{}{}", many(errors, "error"), noted(warnings));
        }
    }
    text
}

/// Why no recovery can be foretold; none: there is one.
fn no_recovery(system: &System) -> Option<&'static str> {
    let alone = system.databases.iter().all(|database| database.members.len() < 2);
    match system.databases.is_empty() {
        true => Some("the spec has no database, and so no writer"),
        false if alone => Some("no database has a second member that could take over"),
        false => None,
    }
}

fn counts(inspection: &Inspection) -> (usize, usize) {
    let errors = inspection.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    (errors, inspection.diagnostics.len() - errors)
}

fn noted(warnings: usize) -> String {
    if warnings == 0 { String::new() } else { format!(", with {}", many(warnings, "warning")) }
}

fn many(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// For programs: `{"sound", "drills", "errors", "warnings", "diagnostics", "timeline"}`.
fn as_json(inspection: &Inspection, drills: &[Drill]) -> Value {
    let (errors, warnings) = counts(inspection);
    let recovers = |system: &&System| no_recovery(system).is_none();
    let plan = inspection.system.as_ref().filter(recovers).map(|system| {
        let plan = timeline(system);
        json!({
            "steps": crate::plan::rows(&plan, &[]),
            "total_seconds": plan.total().as_secs_f64(),
            "rto_seconds": system.topology.objectives.rto.as_secs_f64(),
        })
    });
    json!({
        "sound": is_sound(inspection),
        "drills": drills.iter().map(|d| &d.name).collect::<Vec<_>>(),
        "errors": errors,
        "warnings": warnings,
        "diagnostics": inspection.diagnostics,
        "timeline": plan,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspection_of(text: &str) -> Inspection {
        inspect(&[SourceFile { name: "x.yaml".to_owned(), text: text.to_owned() }])
    }

    const GOOD: &str = include_str!("../../../examples/three-regions.yaml");

    #[test]
    fn a_sound_spec_shows_its_plan() {
        let text = table(&inspection_of(GOOD), &[], false);
        assert!(text.starts_with("shop is sound.\n"), "{text}");
        assert!(text.contains("us-east-1, eu-central-1, ap-southeast-1"), "{text}");
        assert!(text.contains("1 service, 1 database") && text.contains("detect"), "{text}");
        let json = as_json(&inspection_of(GOOD), &[]);
        assert_eq!((&json["sound"], &json["errors"]), (&json!(true), &json!(0)));
        assert_eq!(json["timeline"]["rto_seconds"], json!(60.0));
    }

    /// Recoveries were foretold of systems that have none.
    #[test]
    fn no_recovery_is_foretold_where_there_can_be_none() {
        let without = GOOD.rsplit_once("---").unwrap().0.to_owned();
        let members = |these: &str| GOOD.replace("[us-east-1, eu-central-1, ap-southeast-1]", these);
        for (spec, why) in
            [(without, "no database, and so no writer"), (members("[us-east-1]"), "no database has a second")]
        {
            let inspection = inspection_of(&spec);
            let text = table(&inspection, &[], false);
            assert!(text.contains("\nNo recovery") && text.contains(why), "{text}");
            assert!(!text.contains("promote") && !text.contains("recovered"), "{text}");
            assert_eq!(as_json(&inspection, &[])["timeline"], Value::Null);
        }
        let text = table(&inspection_of(&members("[us-east-1, eu-central-1]")), &[], false);
        assert!(text.contains("only when the lost region is back"), "{text}");
        assert!(!text.contains("a standby streams from the new writer"), "{text}");
    }

    /// One fault of a drill file hid those that only its system shows.
    #[test]
    fn a_drill_is_told_its_wrong_regions_beside_its_other_faults() {
        let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/three-regions.yaml");
        let text = include_str!("../../../drills/region-loss.yaml")
            .replace("../examples/three-regions.yaml", spec)
            .replace("kill: us-east-1", "kill: us-east-7")
            .replace("rtoRead", "rtoReed");
        let file = SourceFile { name: "x.yaml".to_owned(), text };
        let (found, drills) = with_drills(Texts { files: vec![file], faults: Vec::new() });
        let told: Vec<&str> = found.diagnostics.iter().map(|d| d.message.as_str()).collect();
        for part in ["us-east-7", "rtoReed"] {
            assert!(told.iter().any(|message| message.contains(part)), "{part}: {told:?}");
        }
        assert_eq!((told.len(), drills.len()), (2, 0), "{told:?}");
    }

    #[test]
    fn faults_are_counted_and_painted_only_on_a_terminal() {
        let broken = GOOD.replace("40%", "40").replace("active-passive", "passive");
        let inspection = inspection_of(&broken);
        let plain = table(&inspection, &[], false);
        assert!(plain.ends_with("2 errors\n"), "{plain}");
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(table(&inspection, &[], true).contains("\u{1b}[1;31merror"));
        let json = as_json(&inspection, &[]);
        assert_eq!(json["diagnostics"][0]["severity"], "error");
        assert_eq!(json["diagnostics"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["timeline"], Value::Null);
    }

    #[test]
    fn files_folders_and_what_cannot_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = read_specs(&[folder.path().to_owned()]).expect_err("nothing there").to_string();
        assert!(empty.contains("no .yaml file"), "{empty}");
        std::fs::write(folder.path().join("b.yml"), "b").expect("written");
        std::fs::write(folder.path().join("a.yaml"), "a").expect("written");
        std::fs::write(folder.path().join("notes.txt"), "c").expect("written");
        let read: Vec<String> =
            read_specs(&[folder.path().to_owned()]).expect("read").into_iter().map(|f| f.text).collect();
        assert_eq!(read, ["a", "b"]);
        let latin = folder.path().join("latin.yaml");
        std::fs::write(&latin, b"a: 1\nb: \xe4\n").expect("written");
        let told = read_specs(std::slice::from_ref(&latin)).expect_err("not UTF-8").to_string();
        assert!(told.contains("line 2"), "{told}");
        let (refused, _) = with_drills(texts(&[latin]).expect("read"));
        assert_eq!((refused.diagnostics[0].line, is_sound(&refused)), (2, false));
        let told = format!("{:#}", read_specs(&[folder.path().join("none.yaml")]).expect_err("not there"));
        assert!(told.contains("none.yaml cannot be read: No such file"), "{told}");
    }

    /// One file that is no YAML and one that is no text hid the faults of all others; and what these refer to may
    /// be in the two.
    #[test]
    fn a_file_that_cannot_be_read_hides_no_fault_of_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).expect("written");
        write("a-latin.yaml", b"kind: Service # \xe4\n");
        write("b-broken.yaml", b"kind: Topology\nmetadata: [\n");
        let head = "apiVersion: meridian.dev/v1alpha1\nkind: ";
        let service = "Service\nmetadata: { name: web }\nspec:\n  hosts: [\"not a host\"]\n  healthCheck: \
                       { path: health }\n  backends: [{ region: eu, endpoints: [\"10.0.0.1:80\"] }]\n";
        write("c-service.yaml", format!("{head}{service}").as_bytes());
        let plan = "RecoveryPlan\nmetadata: { name: orders-plan }\nspec:\n  database: orders\n  steps:\n    - \
                    { name: database, promoteDatabase: {} }\n    - { name: more, scaleCompute: { service: shop } \
                    }\n    - { name: nap, wait: 0s }\n";
        write("d-plan.yaml", format!("{head}{plan}").as_bytes());
        let (found, _) = with_drills(texts(&[folder.path().to_owned()]).expect("read"));
        let told: Vec<(&str, &str)> = found
            .diagnostics
            .iter()
            .map(|d| (d.file.rsplit('/').next().expect("a name"), d.message.as_str()))
            .collect();
        for (file, message) in [
            ("a-latin.yaml", "not UTF-8"),
            ("b-broken.yaml", ""),
            ("c-service.yaml", "`not a host` is no host name"),
            ("c-service.yaml", "`health` is no path"),
            ("d-plan.yaml", "a wait is a number of whole milliseconds"),
        ] {
            assert!(told.iter().any(|(f, m)| *f == file && m.contains(message)), "{file}: {told:?}");
        }
        assert_eq!(told.len(), 5, "nothing is missed that may be in what was not read: {told:?}");
        assert!(found.system.is_none());
    }
}
