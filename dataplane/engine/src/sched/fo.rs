//! `fo`: weighted failover (spec `scheduling.md` §12). All go to the heaviest server until it is overloaded or gone.

use super::load::is_open;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::Candidate;

/// By weight alone.
#[derive(Clone, Copy)]
pub struct Fo;

impl View for Fo {
    #[inline(always)]
    fn of(self, boards: &Boards, server: &Candidate) -> Standing {
        if is_open(boards, server) { Standing { cost: 1, weight: server.weight } } else { Standing::OUT }
    }
}
