//! Frames that wait for their neighbour, each neighbour's within a share, so that one that does not answer keeps no other
//! from being asked for.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// Frames that wait for neighbours, at most.
pub(crate) const HELD_MAX: usize = 1024;
/// And for one neighbour.
const EACH_MAX: usize = 128;

/// A frame, and until when it waits for the neighbour on the way to an address.
#[derive(Debug)]
pub(crate) struct Held<F> {
    pub(crate) frame: F,
    pub(crate) neighbour_of: IpAddr,
    pub(crate) until: Instant,
}

/// What waits, in the order in which it came.
#[derive(Debug)]
pub(crate) struct Waiting<F> {
    held: VecDeque<Held<F>>,
    each: HashMap<IpAddr, usize>,
}

impl<F> Waiting<F> {
    pub(crate) fn new() -> Waiting<F> {
        Waiting { held: VecDeque::with_capacity(HELD_MAX), each: HashMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Does any frame wait for this neighbour?
    pub(crate) fn waits_for(&self, neighbour_of: IpAddr) -> bool {
        self.each.contains_key(&neighbour_of)
    }

    /// Puts a frame behind the others; false if there is no room for it.
    pub(crate) fn push(&mut self, held: Held<F>) -> bool {
        let each = self.each.get(&held.neighbour_of).copied().unwrap_or(0);
        let fits = self.held.len() < HELD_MAX && each < EACH_MAX;
        if fits {
            self.each.insert(held.neighbour_of, each + 1);
            self.held.push_back(held);
        }
        fits
    }

    /// Takes out the frame that waits for the longest time.
    pub(crate) fn pop(&mut self) -> Option<Held<F>> {
        let held = self.held.pop_front()?;
        if let Some(each) = self.each.get_mut(&held.neighbour_of) {
            *each -= 1;
            if *each == 0 {
                self.each.remove(&held.neighbour_of);
            }
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_neighbour_takes_the_room_of_all() {
        let mut waiting = Waiting::new();
        let held =
            |frame: usize, of: u8| Held { frame, neighbour_of: [10, 0, 0, of].into(), until: Instant::now() };
        let taken = (0..2 * HELD_MAX).filter(|&frame| waiting.push(held(frame, 1))).count();
        assert_eq!((taken, waiting.len()), (EACH_MAX, EACH_MAX));
        assert!(waiting.push(held(7, 2)));
        for of in 3..20 {
            (0..EACH_MAX).for_each(|frame| _ = waiting.push(held(frame, of)));
        }
        assert_eq!(waiting.len(), HELD_MAX);
        assert!(waiting.waits_for([10, 0, 0, 2].into()));
        // In order, and the share is free again.
        assert_eq!(waiting.pop().map(|held| held.frame), Some(0));
        assert!(waiting.push(held(0, 1)));
        while waiting.pop().is_some() {}
        assert!(!waiting.waits_for([10, 0, 0, 2].into()) && waiting.each.is_empty());
    }
}
