//! How long a worker lets its queues wait: the time from the begin of one round of the poll loop to the next.
//!
//! Costs a comparison each round. Where the kernel took the core away meanwhile, the round says nothing about shunt and
//! is counted apart; to know that takes a system call, but only after a round that was long, or after a rest.

use nix::sys::resource::{UsageWho, getrusage};
use shunt_engine::counters::{Counter, WorkerCounters};
use std::time::Duration;

/// A round beyond this is long.
const LONG: Duration = Duration::from_micros(100);

/// Watches the rounds of the calling thread.
pub(crate) struct StallWatch {
    /// When the present round began; `None` after a rest.
    begun: Option<Duration>,
    longest: Duration,
    /// A round beyond this is worth a closer look.
    bar: Duration,
    /// How often the kernel has taken the core away.
    preemptions: i64,
}

fn preemptions() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

impl StallWatch {
    pub(crate) fn new() -> StallWatch {
        StallWatch { begun: None, longest: Duration::ZERO, bar: Duration::ZERO, preemptions: preemptions() }
    }

    /// A round begins.
    #[inline]
    pub(crate) fn begin(&mut self, now: Duration, counters: &WorkerCounters) {
        if let Some(begun) = self.begun.replace(now) {
            let took = now.saturating_sub(begun);
            if took > self.bar {
                self.note(took, counters);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn note(&mut self, took: Duration, counters: &WorkerCounters) {
        let before = std::mem::replace(&mut self.preemptions, preemptions());
        if self.preemptions != before {
            counters.add(Counter::PreemptedRounds, u64::from(took > LONG));
            return;
        }
        counters.add(Counter::LongRounds, u64::from(took > LONG));
        self.longest = self.longest.max(took);
        self.bar = self.longest.min(LONG);
        counters.raise(Counter::LongestRound, self.longest.as_micros() as u64);
    }

    /// The core was given back after the round: what passed until the next one is no stall.
    pub(crate) fn rested(&mut self) {
        if self.begun.take().is_some() {
            // To give way looks like a preemption to the kernel's count.
            self.preemptions = preemptions();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_rounds_count_and_rests_do_not() {
        let (mut watch, counters) = (StallWatch::new(), WorkerCounters::default());
        let mut at = |micros| watch.begin(Duration::from_micros(micros), &counters);
        at(10);
        at(30);
        at(180);
        // This thread may have been preempted for real meanwhile: then the round counts as such.
        let seen = || (counters.get(Counter::LongRounds), counters.get(Counter::PreemptedRounds));
        assert_eq!(seen().0 + seen().1, 1);
        assert!(seen().1 == 1 || counters.get(Counter::LongestRound) == 150);
        watch.rested();
        watch.begin(Duration::from_micros(9000), &counters);
        assert_eq!(seen().0 + seen().1, 1);
    }
}
