//! What will happen, in the order of time; of the same instant, in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Act;
use crate::schedule::Us;

/// A heap of small keys, and the acts beside it: an act is large, and a heap moves its entries often.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Us, u64, u32)>>,
    acts: Vec<Option<Act>>,
    free: Vec<u32>,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Us, act: Act) {
        self.sequence += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.acts[place as usize] = Some(act);
                place
            }
            None => {
                self.acts.push(Some(act));
                self.acts.len() as u32 - 1
            }
        };
        self.heap.push(Reverse((at, self.sequence, place)));
    }

    /// The next act, if it is due by then.
    pub(super) fn pop_until(&mut self, end: Us) -> Option<(Us, Act)> {
        let Reverse((at, _, place)) = *self.heap.peek()?;
        if at > end {
            return None;
        }
        self.heap.pop();
        self.free.push(place);
        let act = self.acts[place as usize].take()?;
        Some((at, act))
    }
}
