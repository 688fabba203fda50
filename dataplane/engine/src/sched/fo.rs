//! `fo`: weighted failover (spec `scheduling.md` §12).

use super::load::is_open;
use crate::board::Boards;
use crate::tables::Candidate;

/// The open server with the largest weight; of equals the first.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    // Of equals `max_by_key` takes the last: hence the reversed walk.
    servers.iter().rev().filter(|server| is_open(boards, server)).max_by_key(|server| server.weight)
}
