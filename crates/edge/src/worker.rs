//! What the requests of one worker share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use meridian_steering::View;
use meridian_telemetry::Metrics;
use tokio::sync::watch;

use crate::limits::Limits;
use crate::pool::Pool;
use crate::routes::Routes;

/// One thread's state. Locks in here are never contended: the thread has them for itself.
pub(crate) struct Worker {
    pub(crate) limits: Limits,
    pub(crate) pool: Pool,
    pub(crate) draining: watch::Receiver<bool>,
    metrics: Metrics,
    current: Mutex<Current>,
    in_work: AtomicUsize,
    turn: AtomicUsize,
}

struct Current {
    views: watch::Receiver<Arc<View>>,
    routes: Arc<Routes>,
}

impl Worker {
    pub(crate) fn new(
        limits: Limits,
        mut views: watch::Receiver<Arc<View>>,
        draining: watch::Receiver<bool>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let view = views.borrow_and_update().clone();
        let routes = Arc::new(Routes::new(&view, &metrics, None));
        Arc::new(Self {
            limits,
            pool: Pool::new(limits),
            draining,
            metrics,
            current: Mutex::new(Current { views, routes }),
            in_work: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        })
    }

    /// The routes of the newest view. A request keeps those it began with.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.views.has_changed().unwrap_or(false) {
            let view = current.views.borrow_and_update().clone();
            current.routes = Arc::new(Routes::new(&view, &self.metrics, Some(&current.routes)));
        }
        Arc::clone(&current.routes)
    }

    /// Takes one of the places for requests in work, if there is one.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<InWork> {
        let taken = InWork(Arc::clone(self));
        let before = self.in_work.fetch_add(1, Ordering::Relaxed);
        // Dropping `taken` gives the place back.
        (before < self.limits.requests).then_some(taken)
    }

    /// Whose turn it is among equals.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// A place among the requests in work; held until the answer's body is done with.
pub(crate) struct InWork(Arc<Worker>);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.in_work.fetch_sub(1, Ordering::Relaxed);
    }
}
