//! Which of several servers stands best: `lc`, `wlc`, `sed`, `nq`, `fo` and `ovf` differ only in how they see a server.

use super::load::is_lighter;
use crate::board::Boards;
use crate::tables::Candidate;

/// How a scheduler sees a server at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The less for its weight, the better.
    pub cost: u64,
    /// 0: the server is not to be chosen.
    pub weight: i32,
}

impl Standing {
    /// Not to be chosen.
    pub const OUT: Standing = Standing { cost: 0, weight: 0 };

    /// Is this strictly better?
    #[inline]
    pub fn beats(self, other: Standing) -> bool {
        self.weight > 0 && (other.weight == 0 || is_lighter(self.cost, self.weight, other.cost, other.weight))
    }
}

/// The server that stands best; of equals the first.
pub fn best<'a>(
    servers: &'a [Candidate],
    boards: &Boards,
    standing: impl Fn(&Boards, &Candidate) -> Standing,
) -> Option<&'a Candidate> {
    let mut best: (Option<&Candidate>, Standing) = (None, Standing::OUT);
    for server in servers {
        let standing = standing(boards, server);
        if standing.beats(best.1) {
            best = (Some(server), standing);
        }
    }
    best.0
}
