//! Time as the engine sees it: a number that its caller supplies.

/// Milliseconds since an arbitrary start. Never goes backwards; wraps in 584 million years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The low 32 bits, as a connection stores them. They wrap after 49.7 days, which is longer than the longest
    /// timeout (31 days), so the difference of two stamps taken within a timeout is exact.
    #[must_use]
    pub const fn stamp(self) -> u32 {
        self.0 as u32
    }
}

/// From here on the time between two stamps is none: 40 days, which leaves 9 days to whatever looks late for what ran out
/// after the longest timeout, and as many to clocks that were read in another order than they are compared.
const IDLE_MAX_MS: u32 = 40 * 24 * 3600 * 1000;
const _: () = assert!(IDLE_MAX_MS > crate::state::TIMEOUT_MAX_MS);

/// Milliseconds between two stamps that workers took by themselves: each reads its clock once a round, so the other one's
/// `last_seen` may be a little later than `stamp`. A plain difference would be 49 days then.
#[must_use]
pub(crate) const fn idle_ms(stamp: u32, last_seen: u32) -> u32 {
    let idle_ms = stamp.wrapping_sub(last_seen);
    if idle_ms > IDLE_MAX_MS { 0 } else { idle_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::TIMEOUT_MAX_MS;

    #[test]
    fn stamps_of_two_workers_compare_in_both_orders() {
        for last_seen in [0, 5, u32::MAX - 7, u32::MAX] {
            for passed_ms in [0, 1, 100, TIMEOUT_MAX_MS, TIMEOUT_MAX_MS + 86_400_000] {
                assert_eq!(idle_ms(last_seen.wrapping_add(passed_ms), last_seen), passed_ms);
            }
            for ahead_ms in [1, 100, 86_400_000] {
                assert_eq!(idle_ms(last_seen.wrapping_sub(ahead_ms), last_seen), 0);
            }
        }
    }
}
