//! `wlc`: the least connections for the weight (spec `scheduling.md` §5).

use super::load::{is_open, overhead};
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::Candidate;

/// By overhead for the weight.
#[derive(Clone, Copy)]
pub struct Wlc;

impl View for Wlc {
    #[inline(always)]
    fn of(self, boards: &Boards, server: &Candidate) -> Standing {
        if !is_open(boards, server) {
            return Standing::OUT;
        }
        Standing { cost: overhead(boards, server.id), weight: server.weight }
    }
}
