//! Counters as operators see them, and rates (spec `stats.md` §2-4).
//!
//! Workers count and never stop; everything here happens on the control thread, at the tick of 2 s.

use shunt_engine::board::Boards;
use shunt_engine::tables::ServerId;

/// How many counters there are.
const KINDS: usize = 5;

/// Connections, request packets, reply packets, request bytes, reply bytes: in the order of `ipvsadm --stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub [u64; KINDS]);

impl Counters {
    /// What all workers have counted for a server since its id was last reset.
    pub(super) fn of(boards: &Boards, id: ServerId) -> Counters {
        Counters([
            boards.sum64(id, |counts| &counts.conns),
            boards.sum64(id, |counts| &counts.in_packets),
            boards.sum64(id, |counts| &counts.out_packets),
            boards.sum64(id, |counts| &counts.in_bytes),
            boards.sum64(id, |counts| &counts.out_bytes),
        ])
    }

    /// What was counted since `earlier`.
    pub(super) fn since(self, earlier: Counters) -> Counters {
        Counters(std::array::from_fn(|kind| self.0[kind].wrapping_sub(earlier.0[kind])))
    }

    pub(super) fn plus(self, more: Counters) -> Counters {
        Counters(std::array::from_fn(|kind| self.0[kind].wrapping_add(more.0[kind])))
    }
}

/// Scale of the running average of one counter.
struct Scale {
    /// The sample of 2 s is shifted left by this.
    sample: u32,
    /// The average is shifted right by this, for display.
    shown: u32,
}

/// Connections and packets count in 1/1024 per second, bytes in 1/32.
const SCALES: [Scale; KINDS] = {
    const EVENTS: Scale = Scale { sample: 9, shown: 10 };
    const BYTES: Scale = Scale { sample: 4, shown: 5 };
    [EVENTS, EVENTS, EVENTS, BYTES, BYTES]
};

/// The visible counters of one server, one service or the whole director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Counted up to the latest tick.
    seen: Counters,
    /// How much of that was counted after the last tick before its server was deleted. The kernel stops looking at such a
    /// server, so it becomes visible with the first tick after it came back.
    hidden: Counters,
    /// Counted up to the latest `-Z`.
    zero: Counters,
    /// Running averages, scaled.
    average: [u64; KINDS],
}

impl Statistics {
    /// Counted up to the latest tick, `-Z` or not.
    pub(super) fn seen(&self) -> Counters {
        self.seen
    }

    /// Would a tick with these counters change nothing?
    pub(super) fn is_still(&self, now: Counters) -> bool {
        self.visible() == now && self.average == [0; KINDS]
    }

    /// Makes what was counted visible and moves the rates: an average over about 8 s.
    pub(super) fn tick(&mut self, now: Counters) {
        let counted = now.since(self.visible());
        for (kind, scale) in SCALES.iter().enumerate() {
            let sample = counted.0[kind].wrapping_shl(scale.sample);
            // The difference is signed, and its shift rounds towards minus infinity.
            let step = (sample.wrapping_sub(self.average[kind]) as i64) >> 2;
            self.average[kind] = self.average[kind].wrapping_add_signed(step);
        }
        (self.seen, self.hidden) = (now, Counters::default());
    }

    /// Takes notice of what a deleted server has counted, which is not visible yet.
    pub(super) fn see(&mut self, now: Counters) {
        self.hidden = self.hidden.plus(now.since(self.seen));
        self.seen = now;
    }

    fn visible(&self) -> Counters {
        self.seen.since(self.hidden)
    }

    /// `-Z`: what is visible now becomes zero.
    pub(super) fn zero(&mut self) {
        self.zero = self.visible();
        self.average = [0; KINDS];
    }

    /// The counters of `--stats`.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.visible().since(self.zero)
    }

    /// The rates of `--rate`, per second.
    #[must_use]
    pub fn rates(&self) -> Counters {
        Counters(std::array::from_fn(|kind| {
            let shown = SCALES[kind].shown;
            self.average[kind].wrapping_add((1 << (shown - 1)) - 1) >> shown
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conns(conns: u64) -> Counters {
        Counters([conns, 0, 0, 0, 0])
    }

    fn rate_after_each(samples: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut statistics = Statistics::default();
        let mut total = 0;
        let tick = |sample| {
            total += sample;
            statistics.tick(conns(total));
            statistics.rates().0[0]
        };
        samples.into_iter().map(tick).collect()
    }

    #[test]
    fn rates_of_the_specification() {
        assert_eq!(rate_after_each([100; 14]), [12, 22, 29, 34, 38, 41, 43, 45, 46, 47, 48, 48, 49, 49]);
        let then_silence = rate_after_each([100; 10].into_iter().chain([0; 13]));
        assert_eq!(then_silence[10..], [35, 27, 20, 15, 11, 8, 6, 5, 4, 3, 2, 1, 1]);
        assert_eq!(rate_after_each([8, 0, 0, 0]), [1, 1, 1, 0]);
        assert_eq!(rate_after_each([1, 0]), [0, 0]);
    }

    #[test]
    fn rates_of_bytes() {
        let mut statistics = Statistics::default();
        let rates: Vec<u64> = (1..=3)
            .map(|tick| {
                statistics.tick(Counters([0, 0, 0, 250_000 * tick, 0]));
                statistics.rates().0[3]
            })
            .collect();
        assert_eq!(rates, [31_250, 54_687, 72_266]);
    }

    #[test]
    fn zero_keeps_what_is_not_visible_yet() {
        let mut statistics = Statistics::default();
        statistics.tick(conns(5));
        statistics.zero();
        assert_eq!(statistics.counters(), conns(0));
        statistics.tick(conns(7));
        assert_eq!(statistics.counters(), conns(2));
        assert!(!statistics.is_still(conns(7)), "the average has yet to decay");
    }

    #[test]
    fn what_a_deleted_server_counted_last_appears_when_it_is_back() {
        let mut statistics = Statistics::default();
        statistics.tick(conns(5));
        statistics.see(conns(7));
        assert_eq!((statistics.seen(), statistics.counters()), (conns(7), conns(5)));
        statistics.zero();
        assert_eq!(statistics.counters(), conns(0));
        assert!(!statistics.is_still(conns(7)));
        statistics.tick(conns(8));
        assert_eq!(statistics.counters(), conns(3));
    }
}
