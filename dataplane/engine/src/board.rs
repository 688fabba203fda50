//! Counts and statistics per real server, one board per worker.
//!
//! A worker writes its own board only, with plain stores; everyone may read all of them. So a least-connection scheduler
//! sees the load of the whole director without a shared write (design: "Shared counts").

use crate::path_mtu::PathMtus;
use crate::tables::ServerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What one worker knows of one real server: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServerCounts {
    /// Active connections.
    pub active: AtomicU32,
    /// All connections but templates.
    pub total: AtomicU32,
    /// Persistence templates.
    pub persistent: AtomicU32,
    /// Connections scheduled, ever.
    pub conns: AtomicU64,
    /// Request packets.
    pub in_packets: AtomicU64,
    /// Reply packets.
    pub out_packets: AtomicU64,
    /// Bytes of request packets, IP header included.
    pub in_bytes: AtomicU64,
    /// Bytes of reply packets, IP header included.
    pub out_bytes: AtomicU64,
}

impl ServerCounts {
    /// Active connections, and active and inactive ones.
    #[inline(always)]
    #[must_use]
    pub fn active_and_total(&self) -> (u32, u32) {
        (self.active.load(Relaxed), self.total.load(Relaxed))
    }
}

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
#[inline]
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// The same for a 32-bit count; `by` may be negative.
#[inline]
pub fn step(counter: &AtomicU32, by: i32) {
    counter.store(counter.load(Relaxed).wrapping_add_signed(by), Relaxed);
}

/// The boards of all workers, seen by one of them (or by control).
#[derive(Clone, Debug)]
pub struct Boards {
    boards: Arc<[Arc<[ServerCounts]>]>,
    overloaded: Arc<[AtomicBool]>,
    path_mtus: PathMtus,
    /// One of `boards`, two steps nearer.
    mine: Arc<[ServerCounts]>,
}

impl Boards {
    /// Boards for `workers` workers and `servers_max` servers. Takes all memory now.
    #[must_use]
    pub fn new(workers: usize, servers_max: usize) -> Boards {
        let board = || (0..servers_max).map(|_| ServerCounts::default()).collect();
        let boards: Arc<[Arc<[ServerCounts]>]> = (0..workers).map(|_| board()).collect();
        Boards {
            overloaded: (0..servers_max).map(|_| AtomicBool::new(false)).collect(),
            path_mtus: PathMtus::new(servers_max),
            mine: boards.first().cloned().unwrap_or_default(),
            boards,
        }
    }

    /// The same boards as worker `index` sees them.
    #[must_use]
    pub fn for_worker(&self, index: usize) -> Boards {
        Boards { mine: self.boards[index].clone(), ..self.clone() }
    }

    /// Number of servers that fit.
    #[must_use]
    pub fn servers_max(&self) -> usize {
        self.overloaded.len()
    }

    /// This worker's own line for a server; `None` for [`ServerId::NONE`] and ids out of range.
    #[inline]
    #[must_use]
    pub fn mine(&self, id: ServerId) -> Option<&ServerCounts> {
        self.mine.get(id.0 as usize)
    }

    /// Sums one 32-bit count over all workers. A worker that steps down while another steps up may be read in between,
    /// so the sum may be wrong by a few for a moment, but never drifts.
    #[inline]
    #[must_use]
    pub fn sum(&self, id: ServerId, count: impl Fn(&ServerCounts) -> &AtomicU32) -> u32 {
        self.boards
            .iter()
            .filter_map(|board| board.get(id.0 as usize))
            .fold(0, |sum: u32, counts| sum.wrapping_add(count(counts).load(Relaxed)))
    }

    /// Sums one 64-bit counter over all workers.
    #[must_use]
    pub fn sum64(&self, id: ServerId, counter: impl Fn(&ServerCounts) -> &AtomicU64) -> u64 {
        self.boards
            .iter()
            .filter_map(|board| board.get(id.0 as usize))
            .fold(0, |sum: u64, counts| sum.wrapping_add(counter(counts).load(Relaxed)))
    }

    /// Active connections over all workers.
    #[inline]
    #[must_use]
    pub fn active(&self, id: ServerId) -> u32 {
        self.sum(id, |counts| &counts.active)
    }

    /// Active and inactive connections over all workers.
    #[inline]
    #[must_use]
    pub fn total(&self, id: ServerId) -> u32 {
        self.sum(id, |counts| &counts.total)
    }

    /// [`Boards::active`] and [`Boards::total`] in one go: with one worker, two loads from one line.
    #[inline(always)]
    #[must_use]
    pub fn active_and_total(&self, id: ServerId) -> (u32, u32) {
        if let [_] = &*self.boards {
            return self.mine(id).map_or((0, 0), ServerCounts::active_and_total);
        }
        (self.active(id), self.total(id))
    }

    /// Active connections, and active and inactive ones, with other workers than this one.
    #[inline(always)]
    #[must_use]
    pub fn with_others(&self, id: ServerId) -> (u32, u32) {
        if let [_] = &*self.boards {
            return (0, 0);
        }
        let (active, total) = self.mine(id).map_or((0, 0), ServerCounts::active_and_total);
        (self.active(id).wrapping_sub(active), self.total(id).wrapping_sub(total))
    }

    /// The overload flag (spec `connections.md` §6).
    #[inline]
    #[must_use]
    pub fn is_overloaded(&self, id: ServerId) -> bool {
        self.overloaded.get(id.0 as usize).is_some_and(|flag| flag.load(Relaxed))
    }

    /// Sets or clears the overload flag: a shared write, at most once per crossing of a threshold. Returns whether it was
    /// otherwise before.
    pub fn set_overloaded(&self, id: ServerId, overloaded: bool) -> bool {
        let flag = self.overloaded.get(id.0 as usize).filter(|flag| flag.load(Relaxed) != overloaded);
        if let Some(flag) = flag {
            flag.store(overloaded, Relaxed);
        }
        flag.is_some()
    }

    /// Path MTUs learnt from ICMP.
    #[inline]
    #[must_use]
    pub(crate) fn path_mtus(&self) -> &PathMtus {
        &self.path_mtus
    }

    /// Makes the lines of a server that nobody counts any more ready for the next one with its id.
    /// Only control calls it, and only when no connection names the server.
    pub fn reset(&self, id: ServerId) {
        for board in self.boards.iter() {
            let Some(counts) = board.get(id.0 as usize) else { continue };
            for counter in
                [&counts.conns, &counts.in_packets, &counts.out_packets, &counts.in_bytes, &counts.out_bytes]
            {
                counter.store(0, Relaxed);
            }
        }
        self.set_overloaded(id, false);
        self.path_mtus.forget(id);
    }
}
