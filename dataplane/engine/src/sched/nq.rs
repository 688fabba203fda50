//! `nq`: never queue (spec `scheduling.md` §6).

use super::ranking::{Standing, View};
use super::sed::Sed;
use crate::board::Boards;
use crate::tables::ServerId;

/// As `sed`, but idle servers stand before all others, whatever their weights.
#[derive(Clone, Copy)]
pub struct Nq;

impl View for Nq {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        match Sed.of(boards, id, weight) {
            Standing { cost: 1, weight } => Standing { cost: 0, weight },
            busy => busy,
        }
    }
}
