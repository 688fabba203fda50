//! `ovf`: weighted overflow (spec `scheduling.md` §13). A server of weight w takes w + 1 active connections; then the
//! next one gets them.

use super::fo::Fo;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::ServerId;

/// By weight alone, but only while there are no more active connections than the weight says.
#[derive(Clone, Copy)]
pub struct Ovf;

impl View for Ovf {
    #[inline(always)]
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        let standing = Fo.of(boards, id, weight);
        let has_room = || i64::from(boards.active(id)) <= i64::from(weight);
        if standing != Standing::OUT && has_room() { standing } else { Standing::OUT }
    }
}
