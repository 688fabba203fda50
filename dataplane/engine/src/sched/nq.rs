//! `nq`: never queue (spec `scheduling.md` §6).

use super::ranking::Standing;
use super::sed;
use crate::board::Boards;
use crate::tables::Candidate;

/// As `sed`, but idle servers stand before all others, whatever their weights.
pub fn standing(boards: &Boards, server: &Candidate) -> Standing {
    match sed::standing(boards, server) {
        Standing { cost: 1, weight } => Standing { cost: 0, weight },
        busy => busy,
    }
}
