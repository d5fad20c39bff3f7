//! A timer that acts even if everything else in this process is stuck, and after the machine slept.
//!
//! It waits on a kernel timer of the boot-time clock (`timerfd`, absolute), on a thread of its own. That
//! clock also runs while the machine sleeps, so after waking the deadline is seen at once. No runtime, no
//! lock of anybody else is involved until it fires.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use meridian_model::Moment;
use meridian_telemetry::clock;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::error::ActuatorError;

/// Does one thing when its moment comes, unless it is armed anew before.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timer: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Moment>,
    closed: bool,
}

impl Watchdog {
    /// A disarmed one. `act` runs on the watchdog's thread, with the moment that passed.
    ///
    /// # Errors
    /// The kernel gives no timer or no thread.
    pub fn start(act: impl Fn(Moment) + Send + 'static) -> Result<Self, ActuatorError> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)
            .map_err(|e| ActuatorError::file("making a timer for", "the watchdog", e.into()))?;
        let shared = Arc::new(Shared { timer, state: Mutex::default() });
        let waiting = Arc::clone(&shared);
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || waiting.watch(&act))
            .map_err(|e| ActuatorError::file("starting a thread for", "the watchdog", e))?;
        Ok(Self { shared })
    }

    /// Acts at `at` instead of whenever it was to act before.
    pub fn arm(&self, at: Moment) {
        let mut state = self.shared.lock();
        state.at = Some(at);
        self.shared.set(at.as_nanos().max(1));
    }

    /// Does not act.
    pub fn disarm(&self) {
        let mut state = self.shared.lock();
        state.at = None;
        self.shared.set(0);
    }

    /// When it acts.
    #[must_use]
    pub fn armed(&self) -> Option<Moment> {
        self.shared.lock().at
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.set(1);
    }
}

impl Shared {
    fn watch(&self, act: &impl Fn(Moment)) {
        let mut expirations = [0_u8; 8];
        loop {
            let _interrupted_or_expired = rustix::io::read(&self.timer, &mut expirations);
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let Some(at) = state.at.take_if(|at| clock::now() >= *at) else { continue };
            drop(state);
            act(at);
        }
    }

    /// 0 stops the timer.
    fn set(&self, nanos: u64) {
        let value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (nanos % 1_000_000_000).cast_signed(),
        };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: none, it_value: value };
        let _only_fails_for_a_bad_timer = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_acts_once_at_its_moment_and_not_before() {
        let (told, acted) = mpsc::channel();
        let dog = Watchdog::start(move |at| told.send((at, clock::now())).unwrap()).unwrap();
        let at = clock::now() + Duration::from_millis(60);
        dog.arm(at);
        let (which, when) = acted.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(which, at);
        assert!(when >= at);
        assert!(when.since(at) < Duration::from_millis(500), "late by {:?}", when.since(at));
        assert_eq!(dog.armed(), None);
    }

    #[test]
    fn arming_anew_moves_the_moment_and_disarming_takes_it_away() {
        let (told, acted) = mpsc::channel();
        let dog = Watchdog::start(move |at| told.send(at).unwrap()).unwrap();
        dog.arm(clock::now() + Duration::from_millis(40));
        dog.disarm();
        dog.arm(clock::now() + Duration::from_millis(50));
        let last = clock::now() + Duration::from_millis(150);
        dog.arm(last);
        assert_eq!(acted.recv_timeout(Duration::from_secs(5)).unwrap(), last);
        assert!(acted.recv_timeout(Duration::from_millis(50)).is_err(), "it must act once");
    }

    #[test]
    fn a_moment_in_the_past_acts_at_once() {
        let (told, acted) = mpsc::channel();
        let dog = Watchdog::start(move |at| told.send(at).unwrap()).unwrap();
        dog.arm(Moment::ZERO);
        assert_eq!(acted.recv_timeout(Duration::from_secs(5)).unwrap(), Moment::ZERO);
    }
}
