//! `cargo xtask simulate`: runs schedules, says how fast, and tells the story of one that breaks a law.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use meridian_failover::{Machine, TABLE};
use meridian_simulation::campaign::{Failure, Totals};
use meridian_simulation::run::{Stage, moves};
use meridian_simulation::schedule::{FOR_GOOD, SECOND, Schedule};
use meridian_simulation::{Campaign, Shape, shrink, story};

mod timing;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run the machines under seeded faults.
#[derive(Parser)]
struct Arguments {
    /// How many schedules.
    #[arg(long, default_value_t = 20_000)]
    schedules: u64,
    /// The first seed; schedule N has seed + N.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On how many threads; all cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Only systems of this size: 1, 3, 5 regions, or 2w for two and a witness.
    #[arg(long, value_parser = ["1", "2w", "3", "5"])]
    nodes: Option<String>,
    /// Stop after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Tell the story of the first schedule, whether it breaks a law or not.
    #[arg(long)]
    story: bool,
    /// Say how many of the schedules walk each row of the transition table.
    #[arg(long)]
    rows: bool,
    /// Say how long the machines take for a step, and for one in which they decide something.
    #[arg(long)]
    time: bool,
    /// Print one line that a program can read, and shrink nothing.
    #[arg(long)]
    brief: bool,
}

/// Between two lines of progress.
const SPEAK_EVERY: Duration = Duration::from_secs(5);

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shapes = shapes(arguments.nodes.as_deref());
    if arguments.story {
        let schedule = Schedule::new(arguments.seed, &shapes);
        tell(&schedule);
        return ExitCode::SUCCESS;
    }
    if arguments.rows {
        count_rows(&arguments, &shapes);
        return ExitCode::SUCCESS;
    }
    let threads =
        arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let serve = if arguments.time { timing::timed } else { Machine::step };
    let campaign = Campaign { seed: arguments.seed, schedules: arguments.schedules, shapes, threads, serve };
    let began = now();
    let end = arguments.minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
    let spoken = AtomicU64::new(0);
    let progress = |done: u64| {
        let took = began.elapsed();
        let turn = took.as_secs() / SPEAK_EVERY.as_secs();
        if !arguments.brief && spoken.fetch_max(turn, Ordering::Relaxed) < turn {
            println!("{done} schedules, {:.0} a second", done as f64 / took.as_secs_f64());
        }
        end.is_none_or(|end| now() < end)
    };
    let (totals, failure) = campaign.run(progress);
    match (failure, arguments.brief) {
        (None, false) => {
            sum_up(&totals, began.elapsed());
            if arguments.time {
                timing::say();
            }
            ExitCode::SUCCESS
        }
        (None, true) => {
            println!("passed {}", totals.schedules);
            ExitCode::SUCCESS
        }
        (Some(failure), true) => {
            let number = failure.schedule.seed.wrapping_sub(arguments.seed) + 1;
            println!("broken {} {number} {}", failure.broken.invariant, failure.schedule.seed);
            ExitCode::FAILURE
        }
        (Some(failure), false) => {
            explain(&failure);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
fn count_rows(arguments: &Arguments, shapes: &[Shape]) {
    let mut stage = Stage::default();
    let mut count: BTreeMap<String, u64> = BTreeMap::new();
    for seed in arguments.seed..arguments.seed + arguments.schedules {
        for row in moves(&Schedule::new(seed, shapes), &mut stage) {
            *count.entry(row).or_default() += 1;
        }
    }
    for row in TABLE {
        let row = format!("{} -> {}: {}", row.from, row.to, row.trigger);
        println!("{:>8} {row}", count.get(&row).copied().unwrap_or(0));
    }
}

fn shapes(nodes: Option<&str>) -> Vec<Shape> {
    match nodes {
        Some("1") => vec![Shape::Alone],
        Some("2w") => vec![Shape::TwoAndWitness],
        Some("3") => vec![Shape::ThreeQuorum, Shape::ThreePatient, Shape::ThreeAsync],
        Some("5") => vec![Shape::FiveQuorum],
        _ => Shape::ALL.to_vec(),
    }
}

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
fn sum_up(totals: &Totals, took: Duration) {
    let Totals { schedules, events, simulated, epochs, slowest } = totals;
    let rate = *schedules as f64 / took.as_secs_f64();
    println!("{schedules} schedules in {:.1} s: {rate:.0} a second; no law was broken", took.as_secs_f64());
    println!(
        "{events} events, {} hours of simulated time, {epochs} epochs; protected again after {:.1} s at most (seed {})",
        simulated / (3_600 * SECOND),
        slowest.0 as f64 / SECOND as f64,
        slowest.1
    );
}

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
fn explain(failure: &Failure) {
    let Failure { schedule, broken } = failure;
    println!("seed {} broke {}: {}", schedule.seed, broken.invariant, broken.evidence);
    println!("shrinking {} faults ...", schedule.faults.len());
    tell(&shrink(schedule, &mut Stage::default()));
}

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
fn tell(schedule: &Schedule) {
    println!("seed {}: {}; faults:", schedule.seed, schedule.shape);
    for fault in &schedule.faults {
        let at = fault.at as f64 / SECOND as f64;
        let lasts = match fault.lasts {
            FOR_GOOD => "good".to_owned(),
            lasts => format!("{:.3} s", lasts as f64 / SECOND as f64),
        };
        println!("  at {at:.3} s for {lasts}: {}", fault.kind);
    }
    println!("  calm from {:.3} s", schedule.calm_from as f64 / SECOND as f64);
    for line in story(schedule, &mut Stage::default()) {
        println!("{line}");
    }
}

#[expect(clippy::disallowed_methods, reason = "only how fast it runs is measured, here alone")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
