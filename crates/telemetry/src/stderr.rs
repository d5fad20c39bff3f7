//! Standard error behind a queue, so that a log line never waits for whoever reads it.
//!
//! The lab reads each node's standard error through a pipe. Were it to stop reading, a direct write
//! would block the thread that logs, and with it the lease or the edge. So lines go to a bounded
//! queue and a thread writes them; when the queue is full they are dropped, counted, and the count is
//! written as soon as there is room.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Metrics;

/// Hands lines over; cheap to clone.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    drained: Condvar,
    metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    lost: u64,
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`. It lives as long as the process.
    pub(crate) fn start(mut out: impl Write + Send + 'static, metrics: Metrics) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            metrics,
        });
        let lines = Self(Arc::clone(&shared));
        let forever = move || {
            loop {
                shared.write_batch(&mut out);
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(forever)?;
        Ok(lines)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.lines.len() >= QUEUE_LINES_MAX {
            queue.lost += 1;
            drop(queue);
            self.0.metrics.own().log_lines_lost.at([]).inc();
            return;
        }
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits until all lines are written, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let busy = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
        drop(self.0.drained.wait_timeout_while(self.0.lock(), limit, busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_batch(&self, out: &mut impl Write) {
        let empty = |queue: &mut Queue| queue.lines.is_empty();
        let waited = self.filled.wait_while(self.lock(), empty);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut queue.lines);
        let lost = std::mem::take(&mut queue.lost);
        queue.writing = true;
        drop(queue);
        // Nobody can be told that telling does not work; lines of a closed pipe are dropped.
        for line in &lines {
            let _ = out.write_all(line);
        }
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines were dropped here: nobody read them in time");
        }
        let _ = out.flush();
        self.lock().writing = false;
        self.drained.notify_all();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line(self.clone())
    }
}

/// One line on its way: tracing writes each event with a single call.
pub(crate) struct Line(Lines);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that wait for their reader: about a second of `debug` under load, under 2 MiB.
const QUEUE_LINES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes nothing until it is told to.
    struct Stuck {
        go: mpsc::Receiver<()>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.seen.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_stops_nobody_and_the_loss_is_told() {
        let (go, wait) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let metrics = Metrics::new(None);
        let lines = Lines::start(Stuck { go: wait, seen: Arc::clone(&seen) }, metrics.clone()).unwrap();
        let sent = QUEUE_LINES_MAX * 3;
        for n in 0..sent {
            lines.make_writer().write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        drop(go); // from here on every write succeeds
        lines.flush(Duration::from_secs(10));
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        let written = text.lines().filter(|l| l.starts_with("line ")).count();
        let lost = metrics.own().log_lines_lost.at([]).get();
        assert!(lost >= (QUEUE_LINES_MAX as u64), "{lost}");
        assert_eq!(written as u64 + lost, sent as u64);
        assert!(text.starts_with("line 0\n"));
        // The loss may be told in parts: whatever was lost before the first batch was taken comes with it.
        let told =
            |l: &str| l.strip_suffix(" log lines were dropped here: nobody read them in time")?.parse().ok();
        let told: u64 = text.lines().filter_map(|l| -> Option<u64> { told(l) }).sum();
        assert_eq!(told, lost);
    }

    #[test]
    fn flushing_a_stuck_reader_ends_in_time() {
        let (_go, wait) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Lines::start(Stuck { go: wait, seen }, Metrics::new(None)).unwrap();
        lines.make_writer().write_all(b"x\n").unwrap();
        let before = crate::clock::now();
        lines.flush(Duration::from_millis(50));
        assert!(crate::clock::now().since(before) < Duration::from_secs(5));
    }
}
