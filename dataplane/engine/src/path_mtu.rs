//! Path MTUs of tunnel servers, learnt from ICMP errors (spec `connections.md` §11.3).
//!
//! One word for each server, which all workers read. It is written when a router's message says something new: at most
//! once a second for a server, however many messages come.

use crate::tables::ServerId;
use crate::tick::Tick;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long a path MTU is believed: the kernel's `net.ipv4.route.mtu_expires`, seconds.
const EXPIRES_S: u64 = 600;
/// No smaller one is believed: the kernel's `net.ipv4.route.min_pmtu`. Forged messages could else make every packet tiny.
const LEAST: u16 = 552;

/// The words: seconds of the expiry << 16 | MTU; 0 = nothing learnt.
#[derive(Clone, Debug)]
pub(crate) struct PathMtus(Arc<[AtomicU64]>);

impl PathMtus {
    /// For so many servers. Takes all memory now.
    pub(crate) fn new(servers_max: usize) -> PathMtus {
        PathMtus((0..servers_max).map(|_| AtomicU64::new(0)).collect())
    }

    /// The path MTU of a server, `u16::MAX` if nothing is known, or no more.
    #[inline]
    pub(crate) fn get(&self, id: ServerId, now: Tick) -> u16 {
        match self.0.get(id.0 as usize).map_or(0, |word| word.load(Relaxed)) {
            0 => u16::MAX,
            word if now.0 / 1000 < word >> 16 => word as u16,
            _ => u16::MAX,
        }
    }

    /// Does nothing that is known keep packets of this length from the server? One branch where nothing is known.
    #[inline(always)]
    pub(crate) fn lets_pass(&self, id: ServerId, len: u32, now: Tick) -> bool {
        self.0.get(id.0 as usize).is_none_or(|word| word.load(Relaxed) == 0)
            || len <= u32::from(self.get(id, now))
    }

    /// A router says that nothing longer than `mtu` passes.
    pub(crate) fn learn(&self, id: ServerId, mtu: u16, now: Tick) {
        let Some(word) = self.0.get(id.0 as usize) else { return };
        let mtu = mtu.max(LEAST);
        // Larger ones are not believed until the smaller one has expired: messages may come late.
        if mtu > self.get(id, now) {
            return;
        }
        let new = (now.0 / 1000 + EXPIRES_S) << 16 | u64::from(mtu);
        if word.load(Relaxed) != new {
            word.store(new, Relaxed);
        }
    }

    /// The server's id goes to another one.
    pub(crate) fn forget(&self, id: ServerId) {
        if let Some(word) = self.0.get(id.0 as usize) {
            word.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_counts_until_it_expires() {
        let (mtus, id) = (PathMtus::new(2), ServerId(1));
        let at = |seconds: u64| Tick(seconds * 1000);
        assert_eq!(mtus.get(id, at(5)), u16::MAX);
        mtus.learn(id, 1400, at(5));
        mtus.learn(id, 1300, at(6));
        mtus.learn(id, 1450, at(7));
        assert_eq!((mtus.get(id, at(605)), mtus.get(id, at(606))), (1300, u16::MAX));
        assert_eq!(mtus.get(ServerId(0), at(6)), u16::MAX);
        mtus.learn(id, 100, at(700));
        assert_eq!(mtus.get(id, at(700)), 552);
        mtus.forget(id);
        assert_eq!(mtus.get(id, at(700)), u16::MAX);
        mtus.learn(ServerId(2), 1000, at(1));
        assert_eq!(mtus.get(ServerId::NONE, at(1)), u16::MAX);
    }
}
