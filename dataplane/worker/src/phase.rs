//! What all threads are to do.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The life of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// No snapshot of control is in force yet. NIC ports are not read: what a restart finds there belongs to services
    /// that we do not know yet, and the kernel would reset their connections.
    Waiting = 0,
    /// Packets flow.
    Open = 1,
    /// Threads end.
    Ending = 2,
}

/// The phase, as all threads see it.
#[derive(Debug, Default)]
pub(crate) struct SharedPhase(AtomicU8);

impl SharedPhase {
    #[inline]
    pub(crate) fn get(&self) -> Phase {
        // A plain flag: nothing else is read because of it.
        match self.0.load(Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Open,
            _ => Phase::Ending,
        }
    }

    /// Goes on to `phase`; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Relaxed);
    }
}
