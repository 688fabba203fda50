//! `sed`: the shortest expected delay (spec `scheduling.md` §6). Inactive connections do not count.

use super::load::takes;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::ServerId;

/// By the delay that one more connection would see.
#[derive(Clone, Copy)]
pub struct Sed;

impl View for Sed {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        if !takes(boards, id, weight) {
            return Standing::OUT;
        }
        Standing { cost: u64::from(boards.active(id)) + 1, weight }
    }
}
