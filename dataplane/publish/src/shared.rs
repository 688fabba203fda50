//! What the publisher and its readers share.

use crate::sync::{Arc, AtomicU64, Mutex};
use crossbeam_utils::CachePadded;

/// Number of a version: 0 for the first, one more with each publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// The number itself, for people and metrics.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// In a reader's cell instead of a generation: holds no snapshot. Greater than any generation, so that a parked reader
/// holds nothing back.
pub(crate) const PARKED: u64 = u64::MAX;

/// A value and its generation, which a reader must learn together.
pub(crate) struct Versioned<T> {
    pub(crate) generation: u64,
    pub(crate) value: T,
}

pub(crate) struct Shared<T> {
    /// The newest generation. Written by publications only, so that readers find it in their own caches.
    pub(crate) generation: CachePadded<AtomicU64>,
    /// The newest version.
    pub(crate) current: Mutex<Arc<Versioned<T>>>,
    /// For each reader the generation it has observed, or [`PARKED`]. Each cell is written by its reader alone, and has
    /// cache lines of its own: one reader's progress must not cost another a miss.
    pub(crate) cells: Box<[CachePadded<AtomicU64>]>,
}
