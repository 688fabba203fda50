//! `fo`: weighted failover (spec `scheduling.md` §12). All go to the heaviest server until it is overloaded or gone.

use super::load::takes;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::ServerId;

/// By weight alone.
#[derive(Clone, Copy)]
pub struct Fo;

impl View for Fo {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        if takes(boards, id, weight) { Standing { cost: 1, weight } } else { Standing::OUT }
    }
}
