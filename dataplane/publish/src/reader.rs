//! A worker's end.

use crate::shared::{Generation, PARKED, Shared, Versioned};
use crate::sync::{Arc, AtomicU64, Ordering, lock, try_lock};

/// A worker's view of the newest snapshot. It belongs to one thread at a time.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    /// Place of this reader's cell.
    index: usize,
    /// The snapshot in use; `None` if parked.
    cached: Option<Arc<Versioned<T>>>,
}

impl<T> Reader<T> {
    /// A reader that is online with the newest snapshot.
    pub(crate) fn new(shared: Arc<Shared<T>>, index: usize) -> Reader<T> {
        let mut reader = Reader { shared, index, cached: None };
        reader.unpark();
        reader
    }

    /// The quiescent point, once per burst: takes the newest snapshot if it is another one, and says so to the
    /// publisher. If the publisher is just exchanging it, the old one serves another burst.
    ///
    /// It neither waits nor allocates, except that it unparks a parked reader.
    #[inline]
    pub fn observe(&mut self) -> &T {
        // Acquire: pairs with the Release in `publish`, so that behind the lock lies at least this generation.
        let newest = self.shared.generation.load(Ordering::Acquire);
        if self.cached.as_ref().is_none_or(|cached| cached.generation != newest) {
            self.refresh();
        }
        match &self.cached {
            Some(cached) => &cached.value,
            None => unreachable!("a refreshed reader holds a snapshot"),
        }
    }

    #[cold]
    fn refresh(&mut self) {
        if self.cached.is_none() {
            return self.unpark();
        }
        let Some(current) = try_lock(&self.shared.current) else { return };
        let newest = Arc::clone(&current);
        // Before the old snapshot goes: nobody shall wait for the lock while this thread does anything else.
        drop(current);
        let generation = newest.generation;
        // First replaced, then reported. The drop of the old one is never the last while the cell still names it.
        self.cached = Some(newest);
        self.cell().store(generation, Ordering::Release);
    }

    /// Lets go of the snapshot, so that a worker that sleeps, or no longer polls, holds no publication back.
    pub fn park(&mut self) {
        // First dropped, then reported: as in `refresh`.
        self.cached = None;
        self.cell().store(PARKED, Ordering::Release);
    }

    /// Comes back with the newest snapshot. Waits for a publication that is being made. Does nothing if not parked.
    pub fn unpark(&mut self) {
        if self.cached.is_some() {
            return;
        }
        let current = lock(&self.shared.current);
        // Stored under the lock: a publication that retires this snapshot comes after it and sees the reader online.
        self.cell().store(current.generation, Ordering::Release);
        let newest = Arc::clone(&current);
        drop(current);
        self.cached = Some(newest);
    }

    /// Generation of the snapshot in use; `None` if parked.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.cached.as_ref().map(|cached| Generation(cached.generation))
    }

    /// Place among the readers of the publisher.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    fn cell(&self) -> &AtomicU64 {
        &self.shared.cells[self.index]
    }
}

/// A worker that ends holds nothing back.
impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.park();
    }
}

impl<T> std::fmt::Debug for Reader<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reader")
            .field("index", &self.index)
            .field("generation", &self.generation())
            .finish()
    }
}
