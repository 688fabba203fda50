//! Data connections that control connections announced, and that have not come yet.
//!
//! A data connection has other ports than its control connection, so it may belong to any worker: what is expected is
//! known to all of them, behind one lock per shard. Only FTP's commands and new flows take one, and new flows only while
//! something is expected of the same shard.

use super::named::{ControlId, Named};
use crate::conn::{Address, Conn, Direction, Tuple, flag};
use crate::forward::nat;
use crate::state::{protocol, tcp};
use crate::tables::{Family, ForwardingMethod, ServerId};
use crate::tick::Tick;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards of what is expected, by the client's address.
const SHARDS: usize = 64;
const _: () = assert!(SHARDS == u64::BITS as usize, "a bit for each");
const _: () = assert!(SHARDS == crate::persist::Templates::shards(), "looked through together");
/// Data connections announced by FTP in one of 64 parts of the clients: when it is full, the oldest goes.
pub const EXPECTED_MAX: usize = 128;
/// A data connection that is announced. Addresses in the low bits, ports in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) family: Family,
    pub(crate) caddr: u128,
    /// 0: not known yet.
    pub(crate) cport: u16,
    pub(crate) vaddr: u128,
    pub(crate) vport: u16,
    pub(crate) daddr: u128,
    pub(crate) dport: u16,
    pub(crate) server: ServerId,
    pub(crate) fwmark: u32,
    pub(crate) control: Option<ControlId>,
    pub(crate) timeout_ms: u32,
    pub(crate) since: Tick,
}

impl Expected {
    /// The connection as it is before its first packet (spec `forwarding.md` §8: state LISTEN).
    pub(crate) fn conn<A: Address>(&self) -> Conn<A> {
        let (src, dst) = (A::from_bits(self.caddr), A::from_bits(self.vaddr));
        let tuple = Tuple { src, dst, sport: self.cport, dport: self.vport, protocol: protocol::TCP };
        let daddr = A::from_bits(self.daddr);
        let mut conn = Conn::new(tuple, ForwardingMethod::Nat, self.server, daddr, self.dport);
        conn.state = tcp::LISTEN;
        conn.timeout_ms = self.timeout_ms;
        conn.fwmark = self.fwmark;
        if self.cport == 0 {
            conn.flags |= flag::NO_CPORT;
        }
        if let Some(control) = self.control {
            conn.control = control.word();
            // It has no template to be told.
            conn.flags |= flag::PROVEN;
        }
        nat::prepare(&mut conn);
        conn
    }

    /// Is this packet one of it?
    fn matches(&self, family: Family, tuple: &Tuple<u128>) -> Option<Direction> {
        if self.family != family || tuple.protocol != protocol::TCP {
            return None;
        }
        let request = (tuple.src, tuple.dst, tuple.dport) == (self.caddr, self.vaddr, self.vport)
            && (self.cport == 0 || self.cport == tuple.sport);
        let reply = self.cport != 0
            && (tuple.src, tuple.sport, tuple.dst, tuple.dport)
                == (self.daddr, self.dport, self.caddr, self.cport);
        match (request, reply) {
            (true, _) => Some(Direction::Request),
            (_, true) => Some(Direction::Reply),
            _ => None,
        }
    }

    /// The same announcement, made again?
    pub(crate) fn is_same(&self, other: &Expected) -> bool {
        let key = |one: &Expected| (one.family, one.caddr, one.cport, one.daddr, one.dport, one.vaddr);
        key(self) == key(other)
    }

    /// Milliseconds until nobody waits for it any more.
    pub(crate) fn remaining_ms(&self, now: Tick) -> u64 {
        (self.since.0 + u64::from(self.timeout_ms)).saturating_sub(now.0)
    }
}

/// A shard's data connections, in the order of their announcement.
type List = Mutex<Vec<Expected>>;

#[derive(Debug)]
struct Inner {
    shards: Box<[List]>,
    /// A bit for each shard that is not empty, to be read without a lock.
    filled: AtomicU64,
    controls: Named,
}

/// All that is expected, by all workers.
#[derive(Clone, Debug)]
pub struct Expectations(Arc<Inner>);

impl Default for Expectations {
    fn default() -> Self {
        Expectations::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds a lock; and if it did, what is locked would still be consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the data connections of a client are.
#[inline]
fn shard_of(caddr: u128) -> usize {
    let bits = (caddr >> 64) as u64 ^ caddr as u64;
    (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS
}

impl Expectations {
    /// Takes all memory now: some 20 MiB of addresses, of which 2 MiB are used from the start.
    #[must_use]
    pub fn new() -> Expectations {
        let shard = || Mutex::new(Vec::with_capacity(EXPECTED_MAX));
        Expectations(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            filled: AtomicU64::new(0),
            controls: Named::new(),
        }))
    }

    /// The shard's bit says whether the list, which is locked, has something in it.
    fn tell(&self, shard: usize, list: &[Expected]) {
        let bit = 1 << (shard % SHARDS);
        if list.is_empty() {
            self.0.filled.fetch_and(!bit, Relaxed);
        } else {
            self.0.filled.fetch_or(bit, Relaxed);
        }
    }

    /// Announces a data connection. Returns what had to go for it: the same one, announced before, or the oldest of a
    /// full shard.
    pub(crate) fn expect(&self, expected: Expected) -> Option<Expected> {
        let shard = shard_of(expected.caddr);
        let mut list = lock(&self.0.shards[shard]);
        let same = list.iter().position(|one| one.is_same(&expected));
        let gone = match same {
            Some(at) => Some(list.remove(at)),
            None if list.len() == EXPECTED_MAX => Some(list.remove(0)),
            None => None,
        };
        list.push(expected);
        self.tell(shard, &list);
        gone
    }

    /// Is nothing expected?
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.filled.load(Relaxed) == 0
    }

    /// May a packet of these two ends be expected? Without a lock.
    pub(crate) fn may_know(&self, src: u128, dst: u128) -> bool {
        let filled = self.0.filled.load(Relaxed);
        [src, dst].into_iter().any(|end| filled & 1 << shard_of(end) != 0)
    }

    /// Takes out what this packet begins.
    pub(crate) fn take(&self, family: Family, tuple: &Tuple<u128>) -> Option<(Expected, Direction)> {
        [tuple.src, tuple.dst].into_iter().find_map(|client| {
            let shard = shard_of(client);
            let mut list = lock(&self.0.shards[shard]);
            let (at, direction) = list
                .iter()
                .enumerate()
                .rev()
                .find_map(|(at, one)| one.matches(family, tuple).map(|direction| (at, direction)))?;
            let expected = list.remove(at);
            self.tell(shard, &list);
            Some((expected, direction))
        })
    }

    /// Gives up what did not come in time, telling `gone` of each.
    pub(crate) fn expire(&self, shard: usize, now: Tick, gone: impl FnMut(Expected)) {
        self.give_up(shard, |expected| expected.remaining_ms(now) == 0, gone);
    }

    /// Gives up those of a shard of which this is true, telling `gone` of each.
    pub(crate) fn give_up(
        &self,
        shard: usize,
        which: impl Fn(&Expected) -> bool,
        mut gone: impl FnMut(Expected),
    ) {
        if self.0.filled.load(Relaxed) & 1 << (shard % SHARDS) == 0 {
            return;
        }
        let mut list = lock(&self.0.shards[shard % SHARDS]);
        list.retain(|expected| {
            let goes = which(expected);
            if goes {
                gone(*expected);
            }
            !goes
        });
        self.tell(shard, &list);
    }

    /// Number of shards.
    pub(crate) const fn shards() -> usize {
        SHARDS
    }

    /// Tells of all that is expected of one shard.
    pub(crate) fn each(&self, shard: usize, mut each: impl FnMut(&Expected)) {
        lock(&self.0.shards[shard % SHARDS]).iter().for_each(&mut each);
    }

    /// Is this one expected already?
    pub(crate) fn knows(&self, expected: &Expected) -> bool {
        lock(&self.0.shards[shard_of(expected.caddr)]).iter().any(|one| one.is_same(expected))
    }

    /// The control connections that have data connections.
    pub(crate) fn controls(&self) -> &Named {
        &self.0.controls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(caddr: u128, cport: u16, vport: u16) -> Expected {
        Expected {
            family: Family::V4,
            caddr,
            cport,
            vaddr: 100,
            vport,
            daddr: 11,
            dport: vport,
            server: ServerId(0),
            fwmark: 0,
            control: None,
            timeout_ms: 120_000,
            since: Tick(1000),
        }
    }

    fn tuple(src: u128, sport: u16, dst: u128, dport: u16) -> Tuple<u128> {
        Tuple { src, dst, sport, dport, protocol: protocol::TCP }
    }

    #[test]
    fn what_is_expected_is_taken_once() {
        let all = Expectations::new();
        assert!(!all.may_know(9, 100));
        assert_eq!(all.expect(expected(9, 0, 50_000)), None);
        assert_eq!(all.expect(expected(9, 40_960, 20)), None);
        assert!(all.may_know(9, 100) && all.may_know(11, 9));
        let take = |tuple| all.take(Family::V4, &tuple).map(|(one, direction)| (one.vport, direction));
        assert_eq!(take(tuple(9, 1234, 100, 50_001)), None);
        assert_eq!(all.take(Family::V6, &tuple(9, 1234, 100, 50_000)), None);
        assert_eq!(take(tuple(11, 50_000, 9, 0)), None, "no client port, no reply");
        assert_eq!(take(tuple(9, 1234, 100, 50_000)), Some((50_000, Direction::Request)));
        assert_eq!(take(tuple(9, 1234, 100, 50_000)), None);
        assert_eq!(take(tuple(11, 20, 9, 40_960)), Some((20, Direction::Reply)));
        assert!(!all.may_know(9, 9));
    }

    #[test]
    fn announcements_are_bounded_renewed_and_expire() {
        let all = Expectations::new();
        let first = expected(9, 0, 1);
        all.expect(first);
        for dport in 2..=EXPECTED_MAX as u16 {
            assert_eq!(all.expect(expected(9, 0, dport)), None);
        }
        let again = Expected { since: Tick(9000), ..first };
        assert_eq!(all.expect(again), Some(first), "renewed");
        assert_eq!(all.expect(expected(9, 0, 60_000)).map(|gone| gone.vport), Some(2), "the oldest");
        let mut gone = 0;
        for shard in 0..SHARDS {
            all.expire(shard, Tick(121_000), |_| gone += 1);
        }
        assert_eq!(gone, EXPECTED_MAX - 1);
        assert_eq!(all.take(Family::V4, &tuple(9, 5, 100, 1)).map(|(one, _)| one), Some(again));
    }
}
