//! Giving the core back when there is nothing to do.

use crate::Idle;
use std::thread;
use std::time::Duration;

/// Empty rounds before the thread gives way to others at all.
const SPIN_ROUNDS: u32 = 64;
/// Empty rounds before it sleeps: gives way for some 100 µs first.
const YIELD_ROUNDS: u32 = 256;
/// First and longest sleep. Linux adds up to 50 µs of its own (timer slack).
const SLEEP_MIN_US: u64 = 20;
const SLEEP_MAX_US: u64 = 100;
/// Empty rounds after which the sleep grows by its minimum.
const GROW_ROUNDS: u32 = 64;

/// How long a thread has had nothing to do.
#[derive(Debug)]
pub(crate) struct Rest {
    idle: Idle,
    empty_rounds: u32,
}

impl Rest {
    pub(crate) fn new(idle: Idle) -> Rest {
        Rest { idle, empty_rounds: 0 }
    }

    /// Called after each round of the poll loop. Returns whether others may have had the core.
    #[inline]
    pub(crate) fn after(&mut self, busy: bool) -> bool {
        if busy {
            self.empty_rounds = 0;
        } else if self.idle == Idle::Sleep {
            self.empty_rounds = self.empty_rounds.saturating_add(1);
            return self.pause();
        } else {
            std::hint::spin_loop();
        }
        false
    }

    fn pause(&self) -> bool {
        if self.empty_rounds <= SPIN_ROUNDS {
            std::hint::spin_loop();
            return false;
        }
        if self.empty_rounds <= YIELD_ROUNDS {
            thread::yield_now();
        } else {
            let steps = u64::from((self.empty_rounds - YIELD_ROUNDS) / GROW_ROUNDS) + 1;
            thread::sleep(Duration::from_micros((steps * SLEEP_MIN_US).min(SLEEP_MAX_US)));
        }
        true
    }
}
