//! `wlc`: the least connections for the weight (spec `scheduling.md` §5).

use super::load::{lightest, overhead};
use crate::board::Boards;
use crate::tables::Candidate;

/// The open server with the least overhead for its weight; of equals the first.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    lightest(servers, boards, overhead)
}
