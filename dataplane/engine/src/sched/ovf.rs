//! `ovf`: weighted overflow (spec `scheduling.md` §13).

use super::load::is_open;
use crate::board::Boards;
use crate::tables::Candidate;

/// Of the open servers with no more active connections than their weight, the one with the largest weight; of equals the
/// first. So a server of weight w takes w + 1 connections.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    let has_room = |server: &Candidate| i64::from(boards.active(server.id)) <= i64::from(server.weight);
    // Of equals `max_by_key` takes the last: hence the reversed walk.
    servers
        .iter()
        .rev()
        .filter(|server| is_open(boards, server) && has_room(server))
        .max_by_key(|server| server.weight)
}
