//! The last words of a program that may say any amount: heard as they come, so that it is never held up,
//! and never more of them kept than asked for.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, Read as _};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// What was said so far.
pub(super) struct Said {
    kept: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when nobody holds the other end of the pipe any more.
    ended: mpsc::Receiver<()>,
}

impl Said {
    /// Hears what comes through `pipe`, on a thread of its own, and keeps the last `most` bytes.
    pub(super) fn hear(mut pipe: PipeReader, most: usize) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (open, ended) = mpsc::channel();
        let into = Arc::clone(&kept);
        thread::Builder::new().name("hear".to_owned()).spawn(move || {
            let _closed_at_the_end: mpsc::Sender<()> = open;
            let mut chunk = [0; CHUNK];
            loop {
                let heard = match pipe.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(count) => chunk.get(..count).unwrap_or_default(),
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => return,
                };
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(heard);
                let surplus = kept.len().saturating_sub(most);
                kept.drain(..surplus);
            }
        })?;
        Ok(Self { kept, ended })
    }

    /// What is kept when the program has ended. Who has left its group may still hold the pipe: that is not
    /// waited for.
    pub(super) fn end(self) -> String {
        let _closed_or_late = self.ended.recv_timeout(LAST_WORDS_WITHIN);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous()).into_owned();
        // The first character may have lost its beginning.
        text.trim_start_matches(char::REPLACEMENT_CHARACTER).to_owned()
    }
}

const CHUNK: usize = 8 << 10;
/// What is in the pipe when a program ends is read in microseconds.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
