//! `sed`: the shortest expected delay (spec `scheduling.md` §6).

use super::load::lightest;
use crate::board::Boards;
use crate::tables::{Candidate, ServerId};

/// The delay to be expected by one more connection, before it is divided by the weight. Inactive ones do not count.
pub fn delay(boards: &Boards, id: ServerId) -> u64 {
    u64::from(boards.active(id)) + 1
}

/// The open server with the shortest delay for its weight; of equals the first.
pub fn pick<'a>(servers: &'a [Candidate], boards: &Boards) -> Option<&'a Candidate> {
    lightest(servers, boards, delay)
}
