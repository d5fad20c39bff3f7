//! How long a machine takes for a step. Counted in buckets that each reach twice as far as the one before.

use std::sync::atomic::{AtomicU64, Ordering};

use meridian_failover::{At, Command, Event, Machine, Purpose};

/// Up to 2^i nanoseconds.
const BUCKETS: usize = 32;

struct Times([AtomicU64; BUCKETS]);

static ALL: Times = Times::none();
/// Steps that change the state of a machine.
static MOVES: Times = Times::none();
/// Steps in which a member decides to take over.
static CLAIMS: Times = Times::none();

impl Times {
    const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }

    fn note(&self, nanos: u128) {
        let bucket = (128 - nanos.leading_zeros()) as usize;
        if let Some(count) = self.0.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many, and within how many microseconds half of them, 99 and 99.99 of a hundred end.
    fn sum_up(&self) -> String {
        let counts: Vec<u64> = self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let within = |share: f64| {
            let mut left = (all as f64 * share).ceil();
            let reached = counts.iter().position(|count| {
                left -= *count as f64;
                left <= 0.0
            });
            (1_u64 << reached.unwrap_or(BUCKETS - 1)) as f64 / 1_000.0
        };
        format!(
            "{all}, half within {:.1} µs, 99 % within {:.1} µs, 99.99 % within {:.1} µs",
            within(0.5),
            within(0.99),
            within(0.9999)
        )
    }
}

/// A step, and how long it took.
pub(crate) fn timed(machine: &mut Machine, event: Event, at: At) -> Vec<Command> {
    let state = machine.state();
    let began = crate::now();
    let commands = machine.step(event, at);
    let took = began.elapsed().as_nanos();
    ALL.note(took);
    if machine.state() != state {
        MOVES.note(took);
    }
    if commands.iter().any(|c| matches!(c, Command::Swap(swap) if swap.purpose == Purpose::Claim)) {
        CLAIMS.note(took);
    }
    commands
}

#[expect(clippy::print_stdout, reason = "it talks to the person who runs it")]
pub(crate) fn say() {
    println!("steps: {}", ALL.sum_up());
    println!("steps that change the state: {}", MOVES.sum_up());
    println!("steps that claim an epoch: {}", CLAIMS.sum_up());
}
