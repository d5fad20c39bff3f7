//! How many requests may be tried again: a share of those of the last seconds, so that retries can
//! never become a storm that keeps a sick backend down.

use std::sync::Mutex;
use std::time::Duration;

use meridian_model::{Moment, Share};

/// Counts requests and retries in a window that slides in steps.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    slots: [Slot; SLOTS],
}

/// One step of the window; stale when its number is too old.
#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    number: u64,
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A request came.
    pub(crate) fn request(&self, now: Moment) {
        self.change(now, |slot, _| slot.requests += 1);
    }

    /// Takes one retry, if `share` of the requests in the window (and never fewer than
    /// [`RETRIES_FREE`]) leaves one.
    pub(crate) fn retry(&self, now: Moment, share: Share) -> bool {
        self.change(now, |slot, (requests, retries)| {
            let allowed = (requests * u64::from(share.millionths()) / 1_000_000).max(RETRIES_FREE);
            let allowed = if share == Share::ZERO { 0 } else { allowed };
            let granted = retries < allowed;
            slot.retries += u64::from(granted);
            granted
        })
    }

    /// Works on the present slot, knowing the sums of the window.
    fn change<T>(&self, now: Moment, with: impl FnOnce(&mut Slot, (u64, u64)) -> T) -> T {
        let number = now.as_nanos() / u64::try_from(SLOT.as_nanos()).unwrap_or(u64::MAX);
        let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = |slot: &&Slot| slot.number + SLOTS_U64 > number;
        let sums =
            window.slots.iter().filter(fresh).fold((0, 0), |(a, b), s| (a + s.requests, b + s.retries));
        let at = usize::try_from(number % SLOTS_U64).unwrap_or_default();
        let mut spare = Slot::default();
        let slot = window.slots.get_mut(at).unwrap_or(&mut spare);
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        with(slot, sums)
    }
}

/// Retries that even a quiet service may make in a window.
pub(crate) const RETRIES_FREE: u64 = 10;
const SLOTS: usize = 10;
const SLOTS_U64: u64 = 10;
const SLOT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let budget = Budget::default();
        let share = Share::from_percent(20.0).unwrap();
        for _ in 0..200 {
            budget.request(at(0));
        }
        let granted = (0..200).filter(|_| budget.retry(at(1), share)).count();
        assert_eq!(granted, 40);
    }

    #[test]
    fn a_quiet_service_may_try_a_few_again_and_none_when_told_so() {
        let budget = Budget::default();
        let share = Share::from_percent(20.0).unwrap();
        assert_eq!((0..50).filter(|_| budget.retry(at(0), share)).count(), 10);
        assert!(!budget.retry(at(0), Share::ZERO));
    }

    #[test]
    fn what_is_past_the_window_is_forgotten() {
        let budget = Budget::default();
        let share = Share::from_percent(20.0).unwrap();
        assert_eq!((0..50).filter(|_| budget.retry(at(0), share)).count(), 10);
        assert!(!budget.retry(at(9), share));
        assert!(budget.retry(at(10), share));
    }
}
