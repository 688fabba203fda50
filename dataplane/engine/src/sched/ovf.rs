//! `ovf`: weighted overflow (spec `scheduling.md` §13). A server of weight w takes w + 1 active connections; then the
//! next one gets them.

use super::fo;
use super::ranking::Standing;
use crate::board::Boards;
use crate::tables::Candidate;

/// By weight alone, but only while there are no more active connections than the weight says.
pub fn standing(boards: &Boards, server: &Candidate) -> Standing {
    let standing = fo::standing(boards, server);
    let has_room = || i64::from(boards.active(server.id)) <= i64::from(server.weight);
    if standing != Standing::OUT && has_room() { standing } else { Standing::OUT }
}
