//! The timer wheel, lazy: a packet only writes a time stamp into its connection; the wheel looks at it when the slot in
//! which the connection was last filed comes up, and files it anew if it is still alive.
//!
//! One level of 4,096 slots of 128 ms reaches 8.7 minutes ahead. Longer timeouts are filed at the far end and looked at
//! again from there: an idle connection of 15 minutes is touched twice in its life.

use super::entry::{Index, NIL};
use crate::tick::Tick;

/// Milliseconds per slot, as a shift: 128 ms. The kernel's own timers are coarser (spec: up to 12.5 % late).
const SLOT_SHIFT: u32 = 7;
/// Number of slots.
const SLOTS: u64 = 4096;

/// Neighbours in a doubly linked list.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Links {
    /// Next entry, or [`NIL`].
    pub next: Index,
    /// Previous entry, or [`NIL`] at the head.
    pub prev: Index,
}

impl Default for Links {
    fn default() -> Self {
        Links { next: NIL, prev: NIL }
    }
}

/// What the wheel asks of the entries it files.
pub trait Timed {
    /// Its neighbours and the slot that it is filed in.
    fn place(&mut self) -> (&mut Links, &mut u16);
    /// Milliseconds left.
    fn remaining_ms(&self, stamp: u32) -> i64;
}

/// Heads of the slots' lists.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[Index]>,
    /// The slot (not reduced) that is being worked off; those before it are empty.
    position: u64,
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    #[must_use]
    pub fn new(now: Tick) -> Wheel {
        Wheel { heads: vec![NIL; SLOTS as usize].into(), position: now.0 >> SLOT_SHIFT }
    }

    /// The slot for an entry with so many milliseconds left: the first that begins after it is due. Never the one that
    /// is being worked off.
    #[inline(always)]
    fn slot(&self, now: Tick, remaining_ms: u64) -> u16 {
        let due = now.0.wrapping_add(remaining_ms);
        let slot = (due >> SLOT_SHIFT) + 1;
        (slot.max(self.position + 1).min(self.position + SLOTS - 1) % SLOTS) as u16
    }

    /// Files an entry that is in no slot.
    pub fn insert<T: Timed>(&mut self, entries: &mut [T], index: Index, now: Tick) {
        let remaining = entries[index as usize].remaining_ms(now.stamp());
        self.file(entries, index, now, remaining.max(0) as u64);
    }

    /// The same for an entry with so many milliseconds left.
    #[inline(always)]
    pub fn file<T: Timed>(&mut self, entries: &mut [T], index: Index, now: Tick, remaining_ms: u64) {
        let slot = self.slot(now, remaining_ms);
        let head = std::mem::replace(&mut self.heads[usize::from(slot)], index);
        let (links, place) = entries[index as usize].place();
        *links = Links { next: head, prev: NIL };
        *place = slot;
        if head != NIL {
            entries[head as usize].place().0.prev = index;
        }
    }

    /// Takes an entry out of its slot.
    #[inline]
    pub fn remove<T: Timed>(&mut self, entries: &mut [T], index: Index) {
        let (links, slot) = entries[index as usize].place();
        let (Links { next, prev }, slot) = (*links, *slot);
        *links = Links::default();
        if prev == NIL {
            self.heads[usize::from(slot)] = next;
        } else {
            entries[prev as usize].place().0.next = next;
        }
        if next != NIL {
            entries[next as usize].place().0.prev = prev;
        }
    }

    /// Files an entry anew if it is now due before the time it was filed for.
    #[inline]
    pub fn hasten<T: Timed>(&mut self, entries: &mut [T], index: Index, now: Tick) {
        let remaining = entries[index as usize].remaining_ms(now.stamp());
        let wanted = self.slot(now, remaining.max(0) as u64);
        let filed = *entries[index as usize].place().1;
        // Distances from the position: slots are a ring.
        let ahead = |slot: u16| (u64::from(slot) + SLOTS - self.position % SLOTS) % SLOTS;
        if ahead(wanted) < ahead(filed) {
            self.remove(entries, index);
            self.insert(entries, index, now);
        }
    }

    /// Has no slot come up that [`Wheel::pop`] has not emptied?
    #[inline]
    pub fn is_worked_off(&self, now: Tick) -> bool {
        self.position == now.0 >> SLOT_SHIFT && self.heads[(self.position % SLOTS) as usize] == NIL
    }

    /// The next entry whose slot has come up, taken out of the wheel. The caller expires it or files it anew.
    pub fn pop<T: Timed>(&mut self, entries: &mut [T], now: Tick) -> Option<Index> {
        let current = now.0 >> SLOT_SHIFT;
        loop {
            let index = self.heads[(self.position % SLOTS) as usize];
            if index != NIL {
                self.remove(entries, index);
                return Some(index);
            }
            if self.position >= current {
                return None;
            }
            // After a long stop every slot is visited once, not once per elapsed slot.
            self.position = self.position.max(current.saturating_sub(SLOTS)) + 1;
        }
    }
}
