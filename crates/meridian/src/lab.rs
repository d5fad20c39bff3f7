//! `meridian lab`: the whole system on this machine. Up runs it; all others speak to a running one.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use meridian_lab::{Fault, FaultPart};
use meridian_model::RegionName;

use crate::output::Output;

pub(crate) mod amounts;
pub(crate) mod beside;
mod detach;
mod logs;
mod reach;
mod remote;
mod screen;
pub(crate) mod table;
mod up;

/// The whole system on this machine: bring it up, break it, watch it.
///
/// Each region gets loopback addresses of its own, an etcd member, a node, PostgreSQL and the application;
/// all traffic between them crosses a WAN emulator with the regions' real round-trip times.
#[derive(Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the system and stay, with a live view on a terminal; Ctrl-C ends it.
    ///
    /// Labs run side by side, each with a number of its own; a second one says which run already.
    ///
    /// Exit code: 0 it was healthy, and then somebody ended it (Ctrl-C, SIGTERM, `meridian lab down`: that is how
    /// a lab ends); 1 it could not be started or was not healthy in time; 2 bad use; 130 it was ended before it was
    /// healthy (143 by SIGTERM, 129 by SIGHUP). With --detach: 0 it is healthy and goes on in the background.
    Up(UpArgs),
    /// End a lab; its data stays for the next `up` unless --purge.
    Down(DownArgs),
    /// Show the regions of a running lab: conditions, verdicts, roles, epochs, lag.
    Status(StatusArgs),
    /// Show the log of a part of a region.
    Logs(LogsArgs),
    /// The power goes: kill all processes of a region at once (it also goes dark), or of one part.
    Kill(PartArgs),
    /// Make a region (or one part) stand still, as a paused virtual machine, until it is restored.
    Freeze(PartArgs),
    /// Start again what was killed, let go on what was frozen, bring an isolated region back on the network.
    ///
    /// Partitions between two regions and bad links stay: `meridian lab heal` ends these.
    Restore(RegionArgs),
    /// Swallow the packets between two regions.
    Partition(PartitionArgs),
    /// Swallow the packets between a region and everybody else, users included.
    Isolate(RegionArgs),
    /// Make the link between two regions bad.
    Slow(SlowArgs),
    /// End every partition, isolation and bad link. Killed and frozen regions stay so.
    Heal(Which),
}

/// Which lab, and how to answer.
#[derive(Args)]
struct Which {
    /// The lab: its number, or the name of its topology. Needed when several run.
    #[arg(long)]
    lab: Option<String>,
    /// How to answer.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
#[command(after_help = crate::table::help("Columns", &table::REGIONS))]
struct StatusArgs {
    #[command(flatten)]
    which: Which,
    /// Show everything that is missing, not the gravest only.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Args)]
struct UpArgs {
    /// The files of one spec; folders stand for the .yaml and .yml files in them. `-` is standard input.
    #[arg(required = true)]
    spec: Vec<PathBuf>,
    /// Run in the background; return when all is healthy.
    #[arg(long)]
    detach: bool,
    /// The number of the lab, 10 to 250: its addresses are 127.NUMBER.*.*. [default: that of the stopped lab
    /// which was made for this very spec, if there is one; else the lowest that nobody runs or has data of]
    #[arg(long, value_name = "NUMBER", value_parser = crate::lab::amounts::lab_number)]
    lab: Option<u8>,
    /// Where its data lies: an empty or new folder, or one that a lab has made.
    /// [default: /var/tmp/meridian-lab-UID/TOPOLOGY-NUMBER]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Remove the data of an earlier run first.
    #[arg(long)]
    fresh: bool,
    /// Seed of the WAN's jitter and loss.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to wait until all is healthy.
    #[arg(long, default_value = "120s", value_parser = amounts::duration, value_name = "TIME")]
    wait: std::time::Duration,
    /// Stay up when it does not become healthy in time, to look into it.
    #[arg(long)]
    keep: bool,
    /// How to tell where things are reached; logs and the live view go to standard error with `json`.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Args)]
struct DownArgs {
    #[command(flatten)]
    which: Which,
    /// Remove its data, too.
    #[arg(long)]
    purge: bool,
}

#[derive(Args)]
struct LogsArgs {
    /// Whose log.
    region: RegionName,
    /// Of which part.
    #[arg(long, value_enum, default_value = "node")]
    part: Part,
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    /// Go on as the log grows.
    #[arg(short, long)]
    follow: bool,
    /// The lab: its number, or the name of its topology.
    #[arg(long)]
    lab: Option<String>,
}

#[derive(Args)]
struct RegionArgs {
    /// Which region.
    region: RegionName,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct PartArgs {
    /// Which region.
    region: RegionName,
    /// Only this part.
    #[arg(long, value_enum)]
    part: Option<Part>,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct PartitionArgs {
    /// One side; with --one-way the side whose packets are lost.
    from: RegionName,
    /// The other side.
    to: RegionName,
    /// Only packets from the first to the second are lost.
    #[arg(long)]
    one_way: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true))]
struct SlowArgs {
    /// One side.
    from: RegionName,
    /// The other side.
    to: RegionName,
    /// The whole round trip, such as `300ms`.
    #[arg(long, value_parser = amounts::duration, value_name = "TIME", group = "how")]
    rtt: Option<std::time::Duration>,
    /// The share of packets lost, such as `1%`.
    #[arg(long, value_parser = amounts::share, value_name = "PERCENT", group = "how")]
    loss: Option<f64>,
    /// The limit of each direction, such as `10MiB/s`.
    #[arg(long, value_parser = amounts::bandwidth, value_name = "RATE", group = "how")]
    bandwidth: Option<u64>,
    #[command(flatten)]
    which: Which,
}

/// A part of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// PostgreSQL.
    Postgres,
    /// The etcd member.
    Etcd,
    /// The node; what it has started ends with it.
    Node,
    /// The instances of the application.
    App,
}

impl From<Part> for FaultPart {
    fn from(part: Part) -> Self {
        match part {
            Part::Postgres => Self::Postgres,
            Part::Etcd => Self::Etcd,
            Part::Node => Self::Node,
            Part::App => Self::App,
        }
    }
}

pub(crate) fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    let part = |part: Option<Part>| part.map(FaultPart::from);
    let (fault, which) = match args.command {
        Command::Up(args) if args.detach => return detach::run(&args),
        Command::Up(args) => return up::run(args),
        Command::Down(args) => return remote::down(&args),
        Command::Status(args) => return remote::status(&args),
        Command::Logs(args) => return logs::run(&args),
        Command::Kill(a) => (Fault::Kill { region: a.region, part: part(a.part) }, a.which),
        Command::Freeze(a) => (Fault::Freeze { region: a.region, part: part(a.part) }, a.which),
        Command::Restore(a) => (Fault::Restore { region: a.region }, a.which),
        Command::Partition(a) => (Fault::Partition { from: a.from, to: a.to, one_way: a.one_way }, a.which),
        Command::Isolate(a) => (Fault::Isolate { region: a.region }, a.which),
        Command::Slow(a) => {
            let SlowArgs { from, to, rtt, loss, bandwidth, which } = a;
            (Fault::Slow { from, to, rtt, loss, bandwidth }, which)
        }
        Command::Heal(which) => (Fault::Heal, which),
    };
    remote::fault(fault, &which)
}

/// Writes a line to standard output.
fn say(text: &str) {
    crate::output::print(&format!("{text}\n"));
}

/// Writes to standard error: progress, which is no part of the answer.
pub(crate) fn tell(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}
