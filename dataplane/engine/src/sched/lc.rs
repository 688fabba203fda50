//! `lc`: the least connections (spec `scheduling.md` §4). Weights matter only as zero or not.

use super::load::{is_open, overhead};
use super::ranking::Standing;
use crate::board::Boards;
use crate::tables::Candidate;

/// By overhead.
pub fn standing(boards: &Boards, server: &Candidate) -> Standing {
    if !is_open(boards, server) {
        return Standing::OUT;
    }
    Standing { cost: overhead(boards, server.id), weight: 1 }
}
