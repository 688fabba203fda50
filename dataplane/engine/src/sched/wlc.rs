//! `wlc`: the least connections for the weight (spec `scheduling.md` §5).

use super::load::{overhead, takes};
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::ServerId;

/// By overhead for the weight.
#[derive(Clone, Copy)]
pub struct Wlc;

impl View for Wlc {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        if !takes(boards, id, weight) {
            return Standing::OUT;
        }
        Standing { cost: overhead(boards, id), weight }
    }
}
