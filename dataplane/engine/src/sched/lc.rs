//! `lc`: the least connections (spec `scheduling.md` §4). Weights matter only as zero or not.

use super::load::{is_open, overhead};
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::Candidate;

/// By overhead.
#[derive(Clone, Copy)]
pub struct Lc;

impl View for Lc {
    #[inline(always)]
    fn of(self, boards: &Boards, server: &Candidate) -> Standing {
        if !is_open(boards, server) {
            return Standing::OUT;
        }
        Standing { cost: overhead(boards, server.id), weight: 1 }
    }
}
