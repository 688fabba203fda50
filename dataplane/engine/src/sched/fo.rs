//! `fo`: weighted failover (spec `scheduling.md` §12). All go to the heaviest server until it is overloaded or gone.

use super::load::is_open;
use super::ranking::Standing;
use crate::board::Boards;
use crate::tables::Candidate;

/// By weight alone.
pub fn standing(boards: &Boards, server: &Candidate) -> Standing {
    if is_open(boards, server) { Standing { cost: 1, weight: server.weight } } else { Standing::OUT }
}
