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
