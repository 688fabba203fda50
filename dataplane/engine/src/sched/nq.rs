//! `nq`: never queue (spec `scheduling.md` §6).

use super::load::is_open;
use super::sed;
use crate::board::Boards;
use crate::tables::Candidate;

/// The first open server that is idle, whatever its weight; if there is none, as `sed`.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    let idle = servers.iter().find(|server| is_open(boards, server) && boards.active(server.id) == 0);
    idle.or_else(|| sed::pick(servers, boards))
}
