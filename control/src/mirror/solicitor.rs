//! Which neighbours the kernel is asked to resolve, and how often.

use super::kernel::NeighbourKey;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Destinations that wait to be looked at: more at a time are forgotten, and asked for again by their next packet.
const WAITING_MAX: usize = 4096;
/// Neighbours whose last question is remembered; more than these are not asked for within one interval.
const REMEMBERED_MAX: usize = 65_536;
/// A neighbour is asked for at most this often. The kernel itself repeats its question each second.
const INTERVAL: Duration = Duration::from_millis(200);

/// Where any thread leaves destinations whose neighbour is missing; cheap, and never blocks for long.
pub struct NeighbourRequests {
    waiting: Mutex<HashSet<IpAddr>>,
    wake: OwnedFd,
}

impl NeighbourRequests {
    /// Nothing is asked for before a [`super::Mirror`] takes the requests.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn new() -> io::Result<NeighbourRequests> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(NeighbourRequests { waiting: Mutex::default(), wake })
    }

    /// Asks the kernel to resolve the neighbour on the way to `daddr`. Call it as often as there is a reason to.
    pub fn resolve_neighbour(&self, daddr: IpAddr) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX && waiting.insert(daddr) && waiting.len() == 1 {
            drop(waiting);
            self.wake();
        }
    }

    /// Makes the mirror look up from its waiting.
    pub(super) fn wake(&self) {
        // Fails only if the counter is full: then it is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(super) fn take(&self) -> HashSet<IpAddr> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Remembers when each neighbour was asked for last.
#[derive(Default)]
pub(super) struct Limiter {
    asked: HashMap<NeighbourKey, Instant>,
}

impl Limiter {
    /// May this neighbour be asked for now? If so, it counts as asked.
    pub fn admit(&mut self, key: NeighbourKey, now: Instant) -> bool {
        if self.asked.len() >= REMEMBERED_MAX {
            self.asked.retain(|_, asked| now.duration_since(*asked) < INTERVAL);
        }
        if self.asked.len() >= REMEMBERED_MAX
            || self.asked.get(&key).is_some_and(|asked| now.duration_since(*asked) < INTERVAL)
        {
            return false;
        }
        self.asked.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_neighbour_has_its_own_limit() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let key = |last: u8| (1, IpAddr::from([10, 0, 0, last]));
        assert!(limiter.admit(key(1), now));
        assert!(!limiter.admit(key(1), now + INTERVAL / 2));
        assert!(limiter.admit(key(2), now));
        assert!(limiter.admit(key(1), now + INTERVAL));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let key = |n: u32| (1, IpAddr::from(n.to_be_bytes()));
        let admitted = (0..100_000).filter(|n| limiter.admit(key(*n), now)).count();
        assert_eq!(admitted, REMEMBERED_MAX);
        assert!(limiter.admit(key(200_000), now + INTERVAL));
        let requests = NeighbourRequests::new().unwrap();
        (0..10_000u32).for_each(|n| requests.resolve_neighbour(n.to_be_bytes().into()));
        assert_eq!(requests.take().len(), WAITING_MAX);
        assert!(requests.take().is_empty());
    }
}
