//! Control's end.

use crate::reader::Reader;
use crate::shared::{Generation, PARKED, Shared, Versioned};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;

/// Hands out versions of a value and frees them when all readers have passed them.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    /// Versions that were current once, oldest first. Its lock also puts publications in order.
    retired: Mutex<VecDeque<Arc<Versioned<T>>>>,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderState {
    /// It uses snapshots.
    Online {
        /// The generation that it has observed.
        observed: Generation,
        /// Publications that it has not observed yet.
        lag: u64,
    },
    /// It uses none, and takes the newest when it comes back.
    Parked,
}

/// A reader has not observed a generation in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagging {
    /// The first reader that is behind.
    pub reader: usize,
    /// How long the publisher waited.
    pub waited: std::time::Duration,
}

impl std::fmt::Display for Lagging {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "reader {} has not observed the publication within {:?}", self.reader, self.waited)
    }
}

impl std::error::Error for Lagging {}

impl<T> Publisher<T> {
    /// A publisher with its first version, generation 0, and `readers` readers, which are online with it: park those
    /// that do not run yet.
    #[must_use]
    pub fn new(value: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
        let cell = |_| CachePadded::new(AtomicU64::new(PARKED));
        let shared = Arc::new(Shared {
            generation: CachePadded::new(AtomicU64::new(0)),
            current: Mutex::new(Arc::new(Versioned { generation: 0, value })),
            cells: (0..readers).map(cell).collect(),
        });
        let readers = (0..readers).map(|index| Reader::new(Arc::clone(&shared), index)).collect();
        (Publisher { shared, retired: Mutex::new(VecDeque::new()) }, readers)
    }

    /// Makes a value the newest version, and frees those that all readers have passed. Does not wait for readers.
    pub fn publish(&self, value: T) -> Generation {
        let mut retired = lock(&self.retired);
        // Only publications write it, and the lock above puts them in order.
        let generation = self.shared.generation.load(Ordering::Relaxed) + 1;
        let new = Arc::new(Versioned { generation, value });
        let old = std::mem::replace(&mut *lock(&self.shared.current), new);
        // After the exchange: a reader that sees this generation finds its version, or a newer one.
        self.shared.generation.store(generation, Ordering::Release);
        retired.push_back(old);
        drop(retired);
        self.reclaim();
        Generation(generation)
    }

    /// Frees, on this thread, the versions that all readers have passed. Returns how many are left that some reader may
    /// still use. [`publish`](Publisher::publish) and [`wait_observed`](Publisher::wait_observed) do it too.
    pub fn reclaim(&self) -> usize {
        let mut retired = lock(&self.retired);
        // Read under the lock: a version that is in the list now was retired before these loads.
        let passed = self.oldest_observed();
        let count = retired.iter().take_while(|version| version.generation < passed).count();
        let free: Vec<_> = retired.drain(..count).collect();
        let left = retired.len();
        // Freeing takes time: not under the lock.
        drop(retired);
        drop(free);
        left
    }

    /// The generation that all online readers have observed at least; [`PARKED`] if there are none.
    fn oldest_observed(&self) -> u64 {
        // Acquire: pairs with the Release in the reader, so that its use and its drop of older versions are over.
        self.shared.cells.iter().map(|cell| cell.load(Ordering::Acquire)).min().unwrap_or(PARKED)
    }

    /// The newest generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation(self.shared.generation.load(Ordering::Acquire))
    }

    /// The first reader that may still use a snapshot older than `generation`; `None` if it is in force everywhere.
    #[must_use]
    pub fn behind(&self, generation: Generation) -> Option<usize> {
        self.shared.cells.iter().position(|cell| cell.load(Ordering::Acquire) < generation.0)
    }

    /// Waits until `generation` is in force everywhere, then frees what it replaced.
    ///
    /// # Errors
    /// [`Lagging`] if that takes longer than `timeout`. The publication stands.
    #[cfg(not(loom))]
    pub fn wait_observed(&self, generation: Generation, timeout: std::time::Duration) -> Result<(), Lagging> {
        /// Polling readers pass in microseconds.
        const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_micros(20);
        let start = std::time::Instant::now();
        while let Some(reader) = self.behind(generation) {
            let waited = start.elapsed();
            if waited >= timeout {
                return Err(Lagging { reader, waited });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.reclaim();
        Ok(())
    }

    /// Where each reader is, in their order.
    pub fn readers(&self) -> impl Iterator<Item = ReaderState> {
        let newest = self.shared.generation.load(Ordering::Acquire);
        self.shared.cells.iter().map(move |cell| match cell.load(Ordering::Acquire) {
            PARKED => ReaderState::Parked,
            // A publication after the load above makes the difference negative.
            observed => {
                ReaderState::Online { observed: Generation(observed), lag: newest.saturating_sub(observed) }
            }
        })
    }
}

impl<T> std::fmt::Debug for Publisher<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let readers: Vec<_> = self.readers().collect();
        out.debug_struct("Publisher")
            .field("generation", &self.generation())
            .field("readers", &readers)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A worker that finds the lock taken goes on with what it has, and comes back for the new snapshot.
    #[test]
    fn a_taken_lock_is_not_waited_for() {
        let (publisher, mut readers) = Publisher::new(0, 1);
        let reader = &mut readers[0];
        let generation = publisher.publish(1);
        let exchange = lock(&publisher.shared.current);
        assert_eq!(*reader.observe(), 0);
        assert_eq!(publisher.behind(generation), Some(0));
        drop(exchange);
        assert_eq!(*reader.observe(), 1);
        assert_eq!(publisher.behind(generation), None);
    }
}
