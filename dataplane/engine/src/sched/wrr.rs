//! `wrr`: in turn, and as often as the weight says (spec `scheduling.md` §3).
//!
//! The round is made of passes over the list. Each pass has a level and takes the servers of at least that weight; the
//! level falls from the largest weight to 1, in steps of the weights' greatest common divisor, and rises again.

use super::position::Position;
use crate::board::Boards;
use crate::tables::Candidate;

/// What of a round follows from the weights alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// How far the level falls from pass to pass: the greatest common divisor of the weights above 0; 1 if there are none.
    pub step: i32,
    /// The level of the first pass; 0 if no weight is above 0.
    pub top: i32,
}

impl Default for Cycle {
    fn default() -> Self {
        Cycle { step: 1, top: 0 }
    }
}

impl Cycle {
    /// The cycle of a list.
    pub fn of(servers: &[Candidate]) -> Cycle {
        let weights = || servers.iter().map(|server| server.weight).filter(|&weight| weight > 0);
        let step = weights().fold(0, gcd).max(1);
        Cycle { step, top: weights().max().map_or(0, |largest| largest - (step - 1)) }
    }

    /// The level after an edit that led to this cycle.
    pub fn level_after(self, level: i32) -> i32 {
        if level > self.top || level == 0 {
            self.top
        } else if self.step > 1 {
            level / self.step * self.step + 1
        } else {
            level
        }
    }
}

/// Greatest common divisor; of 0 and `b`, `b`.
pub fn gcd(mut a: i32, mut b: i32) -> i32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The next server of the round.
///
/// If none qualifies, the search ends after a complete pass at the lowest level, and the position stays where it ended:
/// the kernel's does, and the next pick depends on it.
pub fn pick<'a>(
    servers: &'a [Candidate],
    boards: &Boards,
    cycle: Cycle,
    position: &mut Position,
) -> Option<&'a Candidate> {
    if cycle.top <= 0 {
        return None;
    }
    let start = (position.cursor as usize).min(servers.len());
    let mut behind = start;
    let (mut rose, mut lowest, mut last) = (false, false, None);
    loop {
        for (place, server) in servers.iter().enumerate().skip(behind) {
            let qualifies = server.weight >= position.level && !boards.is_overloaded(server.id);
            if qualifies || last == Some(place) {
                position.cursor = place as u32 + 1;
                return qualifies.then_some(server);
            }
        }
        behind = 0;
        position.cursor = 0;
        position.level -= cycle.step;
        if position.level <= 0 {
            position.level = cycle.top;
            if lowest || start == 0 {
                return None;
            }
            rose = true;
        }
        skip_empty_passes(servers, boards, cycle, position);
        lowest = position.level <= cycle.step;
        if lowest && rose && start > 0 {
            last = Some(start - 1);
        }
    }
}

/// Lets the level fall at once to the next pass that finds somebody, or to the lowest. Without it one server of weight
/// 65,535 at its threshold would cost 65,535 passes.
fn skip_empty_passes(servers: &[Candidate], boards: &Boards, cycle: Cycle, position: &mut Position) {
    if position.level <= cycle.step {
        return;
    }
    let largest = servers.iter().fold(0, |largest, server| {
        if server.weight > largest && !boards.is_overloaded(server.id) { server.weight } else { largest }
    });
    let target = largest.max(cycle.step);
    if position.level > target {
        let passes = (position.level - target + cycle.step - 1) / cycle.step;
        position.level -= passes * cycle.step;
    }
}
