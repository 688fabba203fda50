//! `lc`: the least connections (spec `scheduling.md` §4). Weights matter only as zero or not.

use super::load::{is_open, overhead};
use crate::board::Boards;
use crate::tables::Candidate;

/// The open server with the least overhead; of equals the first.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    servers.iter().filter(|server| is_open(boards, server)).min_by_key(|server| overhead(boards, server.id))
}
