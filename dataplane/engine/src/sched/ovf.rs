//! `ovf`: weighted overflow (spec `scheduling.md` §13). A server of weight w takes w + 1 active connections; then the
//! next one gets them.

use super::fo::Fo;
use super::ranking::{Standing, View};
use crate::board::Boards;
use crate::tables::Candidate;

/// By weight alone, but only while there are no more active connections than the weight says.
#[derive(Clone, Copy)]
pub struct Ovf;

impl View for Ovf {
    #[inline(always)]
    fn of(self, boards: &Boards, server: &Candidate) -> Standing {
        let standing = Fo.of(boards, server);
        let has_room = || i64::from(boards.active(server.id)) <= i64::from(server.weight);
        if standing != Standing::OUT && has_room() { standing } else { Standing::OUT }
    }
}
