//! The connection table of one worker and one family.
//!
//! Memory is taken at construction and never grows: an arena of entries, buckets of one line that lead to them, a timer
//! wheel threaded through the entries. A NAT connection has two slots in the buckets (its reply has another tuple), all
//! others one (the hash is alike in both directions).

mod address;
mod buckets;
mod entry;
mod hash;
#[cfg(test)]
mod model;
mod wheel;

pub use address::Address;
pub use buckets::Probe;
pub use entry::{Conn, Direction, Index, NIL, Tuple, flag, method_of};
pub use hash::FlowKey;

use crate::announce::Note;
use crate::tables::{Family, ForwardingMethod};
use crate::tick::Tick;
use buckets::Buckets;
use wheel::{Links, Timed, Wheel};

impl<A: Address> Timed for Conn<A> {
    fn place(&mut self) -> (&mut Links, &mut u16) {
        (&mut self.links, &mut self.slot)
    }

    fn remaining_ms(&self, stamp: u32) -> i64 {
        Conn::remaining_ms(self, stamp)
    }
}

/// How far ahead of the hand buckets are asked for, as a line from memory takes longer than an eviction.
const AHEAD: u32 = 4;

/// The table.
#[derive(Debug)]
pub struct ConnTable<A> {
    entries: Box<[Conn<A>]>,
    /// By entry: when it was last announced to a peer. Zeroed memory, so it takes room only once a master runs.
    notes: Box<[u64]>,
    buckets: Buckets,
    wheel: Wheel,
    key: FlowKey,
    /// First free entry, linked through `links.next`.
    free: Index,
    len: u32,
    /// Where the search for an expendable entry goes on.
    hand: Index,
}

impl<A: Address> ConnTable<A> {
    /// A table for `capacity` connections, all of which may be NAT.
    #[must_use]
    pub fn new(capacity: u32, key: FlowKey, now: Tick) -> ConnTable<A> {
        let mut entries = shunt_hint::filled(capacity as usize, Conn::vacant());
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.links.next = if index + 1 < capacity as usize { index as Index + 1 } else { NIL };
        }
        ConnTable {
            entries,
            notes: vec![0; capacity as usize].into(),
            buckets: Buckets::new(capacity as usize * 2),
            wheel: Wheel::new(now),
            key,
            free: if capacity > 0 { 0 } else { NIL },
            len: 0,
            hand: 0,
        }
    }

    /// Connections in the table.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Is there no room for another?
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many fit.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Stage 1 of a lookup: hash and ask the cache for the bucket.
    #[inline]
    #[must_use]
    pub fn probe(&self, tuple: &Tuple<A>) -> Probe {
        let probe = self.buckets.probe(self.key.hash(tuple));
        self.buckets.prefetch(probe.bucket());
        probe
    }

    /// Stage 2: guess the entry by its tag and ask the cache for it.
    #[inline]
    #[must_use]
    pub fn guess(&self, probe: Probe) -> Index {
        let index = self.buckets.guess(probe);
        if let Some(entry) = self.entries.get(index as usize) {
            shunt_hint::prefetch(entry);
            if A::FAMILY == Family::V6 {
                // The second line of an IPv6 connection: its time stamp.
                shunt_hint::prefetch(&entry.last_seen);
            }
        }
        index
    }

    /// Stage 3: the connection of a packet. `guess` may be stale or wrong; the entry itself decides.
    #[inline]
    #[must_use]
    pub fn find(&self, tuple: &Tuple<A>, probe: Probe, guess: Index) -> Option<(Index, Direction)> {
        if let Some(direction) = self.entries.get(guess as usize).and_then(|entry| entry.matches(tuple)) {
            return Some((guess, direction));
        }
        self.buckets.find(probe, |index| {
            self.entries[index as usize].matches(tuple).map(|direction| (index, direction))
        })
    }

    /// Is it certain, from the bucket alone, that no connection has this probe?
    #[inline]
    #[must_use]
    pub fn is_absent(&self, probe: Probe) -> bool {
        self.buckets.is_absent(probe)
    }

    /// All stages at once.
    #[must_use]
    pub fn lookup(&self, tuple: &Tuple<A>) -> Option<(Index, Direction)> {
        self.find(tuple, self.buckets.probe(self.key.hash(tuple)), NIL)
    }

    /// An entry.
    #[inline]
    #[must_use]
    pub fn get(&self, index: Index) -> &Conn<A> {
        &self.entries[index as usize]
    }

    /// What is at a place that was guessed: a connection, a free entry, or no place at all. As with
    /// [`ConnTable::get_mut`], not everything may be changed.
    #[inline]
    #[must_use]
    pub fn at(&mut self, guess: Index) -> Option<&mut Conn<A>> {
        self.entries.get_mut(guess as usize)
    }

    /// Is there a connection in this place?
    #[must_use]
    pub fn is_used(&self, index: Index) -> bool {
        self.get(index).has(flag::HASHED)
    }

    /// An entry, to be changed. Its key and flags [`flag::METHOD`] and [`flag::HASHED`] must stay as they are.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, index: Index) -> &mut Conn<A> {
        &mut self.entries[index as usize]
    }

    /// When the entry was last announced to a peer; `None` if it never was.
    pub(crate) fn note(&self, index: Index) -> Option<Note> {
        self.get(index).has(flag::NOTED).then(|| Note::from_bits(self.notes[index as usize]))
    }

    /// Remembers that the entry was announced.
    pub(crate) fn set_note(&mut self, index: Index, note: Note) {
        self.notes[index as usize] = note.bits();
        self.get_mut(index).flags |= flag::NOTED;
    }

    /// Puts a connection into the table, its time stamp set to `now`. `None` if the table is full.
    pub fn insert(&mut self, conn: Conn<A>, now: Tick) -> Option<Index> {
        let request = self.buckets.probe(self.key.hash(&conn.request()));
        self.insert_at(request, conn, now)
    }

    /// The same for who has the probe of its requests already.
    #[inline(always)]
    pub fn insert_at(&mut self, request: Probe, conn: Conn<A>, now: Tick) -> Option<Index> {
        let index = self.free;
        let place = self.entries.get_mut(index as usize)?;
        let (next_free, life_ms) = (place.links.next, u64::from(conn.timeout_ms));
        *place = conn;
        place.flags |= flag::HASHED;
        place.last_seen = now.stamp();
        place.bucket = request.bucket();
        let is_nat = place.method() == ForwardingMethod::Nat;
        // The next connection will be written there, maybe a few packets from now.
        if let Some(next) = self.entries.get(next_free as usize) {
            shunt_hint::prefetch(next);
        }
        if !self.buckets.insert(request, index) {
            return self.take_back(index, next_free);
        }
        if is_nat && !self.buckets.insert(self.nat_reply_probe(index), index) {
            self.buckets.remove(request.bucket(), index);
            return self.take_back(index, next_free);
        }
        self.free = next_free;
        self.len += 1;
        self.wheel.file(&mut self.entries, index, now, life_ms);
        Some(index)
    }

    /// Undoes the first half of an insertion for which the buckets had no room.
    #[cold]
    fn take_back(&mut self, index: Index, next_free: Index) -> Option<Index> {
        self.entries[index as usize] = Conn::vacant();
        self.entries[index as usize].links.next = next_free;
        None
    }

    /// That of its replies. Those of NAT have a place of their own in the buckets, all others hash as requests do.
    fn nat_reply_probe(&self, index: Index) -> Probe {
        self.buckets.probe(self.key.hash(&self.entries[index as usize].reply()))
    }

    /// Takes a connection out of the table and returns what it was.
    #[inline]
    pub fn remove(&mut self, index: Index) -> Conn<A> {
        self.wheel.remove(&mut self.entries, index);
        self.release(index)
    }

    /// Removes an entry that is in no slot of the wheel.
    #[inline(always)]
    fn release(&mut self, index: Index) -> Conn<A> {
        if self.get(index).method() == ForwardingMethod::Nat {
            self.buckets.remove(self.nat_reply_probe(index).bucket(), index);
        }
        let entry = &mut self.entries[index as usize];
        let conn = entry.clone();
        entry.vacate();
        entry.links.next = self.free;
        self.free = index;
        self.len -= 1;
        self.buckets.remove(conn.bucket, index);
        conn
    }

    /// A packet was seen: stamps the entry and sets its timeout. Only a timeout that became shorter touches the wheel.
    #[inline]
    pub fn touch(&mut self, index: Index, timeout_ms: u32, now: Tick) {
        let entry = &mut self.entries[index as usize];
        entry.last_seen = now.stamp();
        if timeout_ms != entry.timeout_ms {
            self.set_timeout(index, timeout_ms, now);
        }
    }

    #[inline(never)]
    fn set_timeout(&mut self, index: Index, timeout_ms: u32, now: Tick) {
        let entry = &mut self.entries[index as usize];
        let shorter = timeout_ms < entry.timeout_ms;
        entry.timeout_ms = timeout_ms;
        if shorter {
            self.wheel.hasten(&mut self.entries, index, now);
        }
    }

    /// The entry was idle for so long already: its time runs out the earlier.
    pub fn backdate(&mut self, index: Index, idle_ms: u32, now: Tick) {
        self.entries[index as usize].last_seen = now.stamp().wrapping_sub(idle_ms);
        self.wheel.hasten(&mut self.entries, index, now);
    }

    /// Looks at the next `looks` entries, like the hand of a clock, for one that `expendable` gives up; if there is none, at
    /// as many in some other places. Connections that were made together lie together, so a place may hold only such as
    /// stay.
    pub fn sweep(&mut self, looks: u32, expendable: impl Fn(&Conn<A>) -> bool) -> Option<Index> {
        const PLACES: u32 = 4;
        // A fraction (the golden ratio's) that leads everywhere.
        let stride = ((u64::from(self.capacity()) * 0x9e37_79b9) >> 32) as u32;
        for _ in 0..PLACES {
            for _ in 0..looks {
                if let Some(index) = self.take_under_hand(&expendable) {
                    return Some(index);
                }
                self.advance_hand(1);
            }
            self.advance_hand(stride);
        }
        None
    }

    /// The next connection that [`ConnTable::sweep`] would look at, if it may go.
    #[inline(always)]
    pub fn take_under_hand(&mut self, expendable: impl Fn(&Conn<A>) -> bool) -> Option<Index> {
        let index = self.hand;
        let entry = self.entries.get(index as usize)?;
        let found = entry.has(flag::HASHED) && expendable(entry);
        if found {
            self.advance_hand(1);
        }
        found.then_some(index)
    }

    #[inline(always)]
    fn advance_hand(&mut self, by: u32) {
        let next = u64::from(self.hand) + u64::from(by);
        self.hand =
            if next < u64::from(self.capacity()) { next } else { next - u64::from(self.capacity()) } as u32;
    }

    /// Asks the cache for what the removal of a connection will need that [`ConnTable::sweep`] will probably find soon.
    #[inline(always)]
    pub fn expect_sweep(&self) {
        let index = self.hand + AHEAD - 1;
        if let Some(later) = self.entries.get(index as usize + 8) {
            shunt_hint::prefetch(later);
        }
        if let Some(entry) = self.entries.get(index as usize)
            && entry.has(flag::HASHED)
        {
            self.buckets.prefetch(entry.bucket);
            if entry.method() == ForwardingMethod::Nat {
                self.buckets.prefetch(self.nat_reply_probe(index).bucket());
            }
        }
    }

    /// The next connection that is due. The caller must call [`ConnTable::expired`] on it.
    pub fn due(&mut self, now: Tick, budget: &mut u32) -> Option<Index> {
        while *budget > 0 {
            *budget -= 1;
            let index = self.wheel.pop(&mut self.entries, now)?;
            if self.entries[index as usize].remaining_ms(now.stamp()) <= 0 {
                return Some(index);
            }
            self.wheel.insert(&mut self.entries, index, now);
        }
        None
    }

    /// May something be due? If not, [`ConnTable::due`] has nothing.
    #[inline(always)]
    #[must_use]
    pub fn may_be_due(&self, now: Tick) -> bool {
        !self.wheel.is_worked_off(now)
    }

    /// Gives an entry that [`ConnTable::due`] returned another life of this length.
    pub fn revive(&mut self, index: Index, timeout_ms: u32, now: Tick) {
        let entry = &mut self.entries[index as usize];
        (entry.timeout_ms, entry.last_seen) = (timeout_ms, now.stamp());
        self.wheel.insert(&mut self.entries, index, now);
    }

    /// Removes an entry that [`ConnTable::due`] returned.
    pub fn expired(&mut self, index: Index) -> Conn<A> {
        self.release(index)
    }

    /// Entries among these places, in their order, each with its place.
    pub fn iter_in(&self, places: std::ops::Range<Index>) -> impl Iterator<Item = (Index, &Conn<A>)> {
        let until = (places.end as usize).min(self.entries.len());
        let from = (places.start as usize).min(until);
        (places.start..).zip(&self.entries[from..until]).filter(|(_, entry)| entry.has(flag::HASHED))
    }
}
