//! `rr`: each in turn (spec `scheduling.md` §2).

use super::load::is_open;
use super::position::Position;
use crate::board::Boards;
use crate::tables::Candidate;

/// The first open server behind the position; the round goes on at the head and ends at the server chosen last.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards, position: &mut Position) -> Option<&'a Candidate> {
    let behind = (position.cursor as usize).min(servers.len());
    let round = (behind..servers.len()).chain(0..behind);
    let place = round.into_iter().find(|&place| is_open(boards, &servers[place]))?;
    position.cursor = place as u32 + 1;
    Some(&servers[place])
}
