//! The one binary: a file per subcommand, and the one place where errors are printed.
//!
//! Exit codes: 0 fine, 1 the answer is no (a check that found faults, a drill that failed, a lab that did not
//! become healthy), 2 bad use, 130 interrupted.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use meridian_lab::LabError;
use meridian_lab::drill::DrillError;

mod check;
mod dial;
mod doctor;
mod drill;
mod explain;
mod guard;
mod lab;
mod maintenance;
mod moves;
mod output;
mod plan;
mod rehearse;
mod run;
mod runs;
mod schema;
mod silent;
mod status;
mod system;
mod table;

/// Makes an application multi-region: steers users, keeps one writer, recovers from the loss of a region
/// and measures how long it took and what was lost.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = FIRST_STEPS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "First steps:
  meridian check examples/three-regions.yaml        is the spec sound?
  meridian lab up examples/three-regions.yaml       the whole system on this machine
  meridian lab kill us-east-1                       in another terminal: lose a region
  meridian status                                   what every region knows
  meridian drill run drills/region-loss.yaml        the same, scripted and measured";

// The help of those that have much to say stands at their arguments: what stood here would replace it.
#[derive(Subcommand)]
enum Command {
    Check(check::CheckArgs),
    /// Print the JSON Schema of specs, for editors.
    Schema(schema::SchemaArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Switchover(moves::SwitchoverArgs),
    Failback(moves::FailbackArgs),
    Failover(moves::FailoverArgs),
    Explain(explain::ExplainArgs),
    Doctor(doctor::DoctorArgs),
    Plan(plan::PlanArgs),
    Maintenance(maintenance::MaintenanceArgs),
    Dial(dial::DialArgs),
    Lab(lab::LabArgs),
    /// Started by a node beside its PostgreSQL; not for people.
    #[command(hide = true, name = meridian_node::GUARD)]
    Guard,
    /// Real faults with measurement, from a file.
    Drill(drill::DrillArgs),
}

#[expect(clippy::print_stderr, reason = "the one place where errors are printed")]
fn main() -> ExitCode {
    let asked = with_codes(Arguments::command()).get_matches_from(arguments(std::env::args_os().collect()));
    let asked = Arguments::from_arg_matches(&asked).unwrap_or_else(|error| error.exit());
    let done = match asked.command {
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Run(args) => run::run(args),
        Command::Status(args) => status::run(&args),
        Command::Switchover(args) => moves::switchover(&args),
        Command::Failback(args) => moves::failback(&args),
        Command::Failover(args) => moves::failover(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Maintenance(args) => maintenance::run(&args),
        Command::Dial(args) => dial::run(&args),
        Command::Lab(args) => lab::run(args),
        Command::Guard => guard::run(),
        Command::Drill(args) => drill::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("meridian: {}", told(&error));
        ExitCode::from(code(&error))
    })
}

/// What exit codes mean where a command's own help says nothing more exact.
const CODES: &str = "Exit code: 0 fine; 1 the answer is no, or nobody answers; 2 bad use; 130 interrupted.";

/// Every command's help says what its exit codes mean: in its own words, or in those that are the same for all.
fn with_codes(command: clap::Command) -> clap::Command {
    let texts = [command.get_about(), command.get_long_about(), command.get_after_help()];
    let said = texts.into_iter().flatten().any(|text| text.to_string().contains("Exit code"));
    let after = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    let command = if said { command } else { command.after_help(format!("{after}{CODES}")) };
    command.mut_subcommands(with_codes)
}

/// `meridian help --help` asks for the help that `meridian help` gives.
fn arguments(mut all: Vec<OsString>) -> Vec<OsString> {
    if let [.., help, option] = all.as_slice()
        && help == "help"
        && (option == "--help" || option == "-h")
    {
        all.pop();
    }
    all
}

/// The error with its causes. A cause that the sentence before has in it already is not told again.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The exit code of an error.
fn code(error: &anyhow::Error) -> u8 {
    let of_lab = |error: &LabError| if error.is_bad_use() { BAD_USE } else { NO };
    let of_drill = |error: &DrillError| match error {
        DrillError::Lab(error) => of_lab(error),
        DrillError::Interrupted => INTERRUPTED,
        DrillError::Nothing(_) => BAD_USE,
        _ => NO,
    };
    let of_node = |error: &meridian_node::Error| match error {
        meridian_node::Error::UnknownRegion(_) => BAD_USE,
        _ => NO,
    };
    let of = |cause: &(dyn std::error::Error + 'static)| {
        let lab = cause.downcast_ref().map(of_lab).or_else(|| cause.downcast_ref().map(of_drill));
        lab.or_else(|| cause.downcast_ref().map(of_node))
            .or_else(|| cause.downcast_ref::<output::No>().map(|_| NO))
    };
    error.chain().find_map(of).unwrap_or(BAD_USE)
}

const NO: u8 = 1;
const BAD_USE: u8 = 2;
/// By the convention of shells: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let error = LabError::Spawn {
            part: "etcd".to_owned(),
            region: meridian_model::Name::new("us").expect("a name"),
            source: missing(),
        };
        let told_once = "cannot start etcd of us: No such file or directory (os error 2)";
        assert_eq!(told(&anyhow::Error::new(error)), told_once);
        let other = Err::<(), _>(missing()).context("cannot read x").expect_err("an error");
        assert_eq!(told(&other), "cannot read x: No such file or directory (os error 2)");
    }

    #[test]
    fn the_help_of_a_command_explains_every_column_of_its_tables() {
        let tables: [(&[&str], &[table::Column]); 9] = [
            (&["status"], &status::REGIONS),
            (&["status"], &status::MEMBERS),
            (&["run", "list"], &runs::tell::RUNS),
            (&["run", "show"], &runs::tell::STEPS),
            (&["run", "watch"], &runs::tell::STEPS),
            (&["run", "lost"], &runs::lost::TRANSACTIONS),
            (&["plan", "show"], &plan::PLANNED),
            (&["dial"], &dial::DIALS_SHOWN),
            (&["lab", "status"], &lab::table::REGIONS),
        ];
        for (path, columns) in tables {
            let mut command = with_codes(Arguments::command());
            for name in path {
                command = command.find_subcommand(name).expect("it is there").clone();
            }
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let help = words(&command.render_long_help().to_string());
            for table::Column(head, means) in columns {
                assert!(help.contains(&words(&format!("{head} {means}"))), "{path:?} {head}: {help}");
                assert_eq!(columns.iter().filter(|other| other.0 == *head).count(), 1, "{path:?}: {head}");
            }
        }
    }

    #[test]
    fn codes_say_whose_fault_it_is() {
        let missing = |program: &str| LabError::ProgramMissing {
            program: program.to_owned(),
            help: "install it".to_owned(),
        };
        assert_eq!(code(&missing("etcd").into()), NO);
        assert_eq!(code(&LabError::NoLab(String::new()).into()), BAD_USE);
        let drill = anyhow::Error::new(DrillError::Lab(missing("etcd"))).context("not measured");
        assert_eq!(code(&drill), NO);
        assert_eq!(code(&DrillError::Interrupted.into()), INTERRUPTED);
        assert_eq!(code(&anyhow::anyhow!("what?")), BAD_USE);
    }
}
