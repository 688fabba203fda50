//! Where a worker's time goes, for operators. It reads no clock of its own: a round ends when the next one begins.

use shunt_engine::counters::{Counter, WorkerCounters};

/// Rounds after which the fill of the tables is told again. They last a few µs when there is much to do.
const FILL_ROUNDS: u32 = 256;

/// Sizes of bursts by powers of two; the last is a full one.
const BURST_SIZES: [Counter; 6] = [
    Counter::BurstsOf1,
    Counter::BurstsOf2,
    Counter::BurstsOf4,
    Counter::BurstsOf8,
    Counter::BurstsOf16,
    Counter::BurstsOf32,
];

/// The last round.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    began_ns: u64,
    busy: bool,
    rounds: u32,
}

impl Profile {
    /// A round begins at this time: the one before has ended, and what it took is counted. Sleep counts as idle.
    #[inline]
    pub(crate) fn round_begins(&mut self, now_ns: u64, counters: &WorkerCounters) {
        let spent = now_ns.saturating_sub(self.began_ns);
        self.began_ns = now_ns;
        counters.add(if self.busy { Counter::BusyNs } else { Counter::IdleNs }, spent);
    }

    /// Whether the round found anything to do. `connections` tells how many there are of a family, 4 or 6.
    #[inline]
    pub(crate) fn round_did(
        &mut self,
        busy: bool,
        connections: impl Fn(u8) -> u32,
        counters: &WorkerCounters,
    ) {
        self.busy = busy;
        counters.add(Counter::Polls, 1);
        if self.rounds == 0 {
            self.rounds = FILL_ROUNDS;
            for (family, counter) in [(4, Counter::ConnectionsIpv4), (6, Counter::ConnectionsIpv6)] {
                counters.set(counter, u64::from(connections(family)));
            }
        }
        self.rounds -= 1;
    }
}

/// Counts a burst of this many packets, from 1 to 32.
#[inline]
pub(crate) fn count_burst(packets: usize, counters: &WorkerCounters) {
    counters.add(Counter::Bursts, 1);
    let size = packets.max(1).ilog2() as usize;
    counters.add(BURST_SIZES[size.min(BURST_SIZES.len() - 1)], 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_engine::BURST;

    #[test]
    fn bursts_fall_into_powers_of_two() {
        let counters = WorkerCounters::default();
        (1..=BURST).for_each(|packets| count_burst(packets, &counters));
        assert_eq!(BURST_SIZES.map(|size| counters.get(size)), [1, 2, 4, 8, 16, 1]);
        assert_eq!(counters.get(Counter::Bursts), BURST as u64);
    }

    /// What it costs: run with `--release -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_round() {
        const ROUNDS: u64 = 50_000_000;
        let (mut profile, counters) = (Profile::default(), WorkerCounters::default());
        let started = std::time::Instant::now();
        for round in 0..ROUNDS {
            profile.round_begins(std::hint::black_box(round * 3000), &counters);
            count_burst(std::hint::black_box(BURST), &counters);
            profile.round_did(true, |_| std::hint::black_box(7), &counters);
        }
        let nanos = started.elapsed().as_nanos() as f64 / ROUNDS as f64;
        eprintln!("{nanos:.1} ns a round, {:.3} ns for each packet of a full one", nanos / BURST as f64);
    }

    #[test]
    fn a_round_counts_when_the_next_begins() {
        let (mut profile, counters) = (Profile::default(), WorkerCounters::default());
        profile.round_begins(100, &counters);
        profile.busy = true;
        profile.round_begins(350, &counters);
        profile.busy = false;
        profile.round_begins(1000, &counters);
        assert_eq!((counters.get(Counter::BusyNs), counters.get(Counter::IdleNs)), (250, 100 + 650));
    }
}
