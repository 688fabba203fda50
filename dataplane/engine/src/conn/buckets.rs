//! From the hash of a flow to its entry: buckets of one cache line.
//!
//! A bucket holds 8 tags (15 bits of the hash and a bit that is set; 0 = empty) and 8 indices. A full bucket passes on to
//! the next one and counts how many it passed on, so that a search knows when to stop (as in F14: no tombstones, and
//! removal needs no clean-up). At the load that the table is sized for, 5 of 8 slots, 97 of 100 flows are in their first
//! bucket.

use super::entry::{Index, NIL};

/// Slots in a bucket.
pub const SLOTS: usize = 8;

/// One cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u16; SLOTS],
    indices: [Index; SLOTS],
    /// Insertions that found this bucket full and went on.
    passed_on: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The slots with this tag, as bits. Compares all at once: which slot it is cannot be predicted, and a branch that is
    /// guessed wrong costs as much as the rest of the look-up.
    #[inline]
    fn slots_with(&self, tag: u16) -> u32 {
        shunt_hint::equal_lanes(&self.tags, tag)
    }
}

/// Where a hash begins to look, and what it looks for.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    bucket: u32,
    tag: u16,
}

impl Probe {
    /// Not computed yet.
    pub const NOWHERE: Probe = Probe { bucket: 0, tag: 0 };

    /// Where to look first.
    #[inline]
    #[must_use]
    pub fn bucket(self) -> u32 {
        self.bucket
    }
}

/// All buckets.
#[derive(Debug)]
pub struct Buckets {
    buckets: Box<[Bucket]>,
}

impl Buckets {
    /// Room for `slots` slots at a load of five eighths: 12.8 bytes a slot.
    #[must_use]
    pub fn new(slots: usize) -> Buckets {
        let empty = Bucket { tags: [0; SLOTS], indices: [NIL; SLOTS], passed_on: 0 };
        let count = (slots * 8).div_ceil(SLOTS * 5).max(1);
        Buckets { buckets: shunt_hint::filled(count, empty) }
    }

    /// Reduces a hash to a place and a tag.
    #[inline]
    #[must_use]
    pub fn probe(&self, hash: u64) -> Probe {
        let bucket = ((hash >> 32) * self.buckets.len() as u64) >> 32;
        Probe { bucket: bucket as u32, tag: hash as u16 | 1 }
    }

    /// Asks the cache for a bucket.
    #[inline]
    pub fn prefetch(&self, bucket: u32) {
        shunt_hint::prefetch_nth(&self.buckets, bucket as usize);
    }

    /// The first index whose tag fits in the first bucket or, if that passed any on, in the next; or [`NIL`]: a guess to
    /// prefetch by, nothing more.
    #[inline]
    #[must_use]
    pub fn guess(&self, probe: Probe) -> Index {
        let bucket = &self.buckets[probe.bucket as usize];
        let slots = bucket.slots_with(probe.tag);
        if slots != 0 {
            return bucket.indices[slots.trailing_zeros() as usize % SLOTS];
        }
        if bucket.passed_on == 0 { NIL } else { self.guess_next(probe) }
    }

    #[inline(never)]
    fn guess_next(&self, probe: Probe) -> Index {
        let bucket = &self.buckets[self.after(probe.bucket as usize)];
        let slots = bucket.slots_with(probe.tag);
        if slots == 0 { NIL } else { bucket.indices[slots.trailing_zeros() as usize % SLOTS] }
    }

    /// The first index with a fitting tag that `accept` takes.
    #[inline]
    pub fn find<R>(&self, probe: Probe, mut accept: impl FnMut(Index) -> Option<R>) -> Option<R> {
        let mut place = probe.bucket as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[place];
            let mut slots = bucket.slots_with(probe.tag);
            while slots != 0 {
                if let Some(found) = accept(bucket.indices[slots.trailing_zeros() as usize % SLOTS]) {
                    return Some(found);
                }
                slots &= slots - 1;
            }
            if bucket.passed_on == 0 {
                return None;
            }
            place = self.after(place);
        }
        None
    }

    /// Is nothing here, nor passed on from here, that a search with this probe would look at?
    #[inline]
    pub fn is_absent(&self, probe: Probe) -> bool {
        let bucket = &self.buckets[probe.bucket as usize];
        bucket.passed_on == 0 && bucket.slots_with(probe.tag) == 0
    }

    /// Adds an index. Returns false if there is no slot left in the whole table.
    #[must_use]
    pub fn insert(&mut self, probe: Probe, index: Index) -> bool {
        let first = probe.bucket as usize;
        let Some((place, slot)) = self.vacancy(first) else { return false };
        let mut passed = first;
        while passed != place {
            self.buckets[passed].passed_on += 1;
            passed = self.after(passed);
        }
        self.buckets[place].tags[slot] = probe.tag;
        self.buckets[place].indices[slot] = index;
        true
    }

    fn vacancy(&self, first: usize) -> Option<(usize, usize)> {
        let mut place = first;
        for _ in 0..self.buckets.len() {
            let free = self.buckets[place].slots_with(0);
            if free != 0 {
                return Some((place, free.trailing_zeros() as usize % SLOTS));
            }
            place = self.after(place);
        }
        None
    }

    /// Removes an index that was added with a probe of this bucket. If it was added with others as well, and those are
    /// still there, it may be the slot of one of them that is given up: in the end all are, and nothing remains.
    #[inline]
    pub fn remove(&mut self, bucket: u32, index: Index) {
        let first = bucket as usize;
        let mut place = first;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            let slots = shunt_hint::equal_wide_lanes(&bucket.indices, index);
            if slots != 0 {
                let slot = slots.trailing_zeros() as usize % SLOTS;
                bucket.tags[slot] = 0;
                bucket.indices[slot] = NIL;
                let mut passed = first;
                while passed != place {
                    self.buckets[passed].passed_on -= 1;
                    passed = self.after(passed);
                }
                return;
            }
            place = self.after(place);
        }
        debug_assert!(false, "an index that was never added");
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.buckets.len() { 0 } else { place + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_can_be_used_and_given_back() {
        let mut buckets = Buckets::new(10);
        let probes: Vec<Probe> = (0..16u64).map(|n| buckets.probe(0xffff_0000_0000_0001 + n)).collect();
        for (index, probe) in probes.iter().enumerate() {
            assert!(buckets.insert(*probe, index as Index), "{index}");
        }
        assert!(!buckets.insert(probes[0], 99), "16 slots in 2 buckets");
        for (index, probe) in probes.iter().enumerate() {
            let found = buckets.find(*probe, |found| (found == index as Index).then_some(found));
            assert_eq!(found, Some(index as Index));
        }
        for (index, probe) in probes.iter().enumerate() {
            buckets.remove(probe.bucket(), index as Index);
            assert_eq!(buckets.find(*probe, |found| (found == index as Index).then_some(())), None);
        }
        assert!(buckets.buckets.iter().all(|bucket| bucket.passed_on == 0));
    }
}
