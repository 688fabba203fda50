//! `sed`: the shortest expected delay (spec `scheduling.md` §6). Inactive connections do not count.

use super::load::is_open;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::Candidate;

/// By the delay that one more connection would see.
#[derive(Clone, Copy)]
pub struct Sed;

impl View for Sed {
    #[inline(always)]
    fn of(self, boards: &Boards, server: &Candidate) -> Standing {
        if !is_open(boards, server) {
            return Standing::OUT;
        }
        Standing { cost: u64::from(boards.active(server.id)) + 1, weight: server.weight }
    }
}
