//! `lc`: the least connections (spec `scheduling.md` §4). Weights matter only as zero or not.

use super::load::{overhead, takes};
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::ServerId;

/// By overhead.
#[derive(Clone, Copy)]
pub struct Lc;

impl View for Lc {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        if !takes(boards, id, weight) {
            return Standing::OUT;
        }
        Standing { cost: overhead(boards, id), weight: 1 }
    }
}
