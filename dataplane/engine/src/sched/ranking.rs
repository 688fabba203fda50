//! Which of several servers stands best: `lc`, `wlc`, `sed`, `nq`, `fo` and `ovf` differ only in how they see a server.

use crate::board::Boards;
use crate::tables::{Candidate, ServerId};

/// How a scheduler sees a server at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The less for its weight, the better.
    pub cost: u64,
    /// 0: the server is not to be chosen.
    pub weight: i32,
}

impl Standing {
    /// Not to be chosen: as dear as can be, so that no comparison needs to know.
    pub const OUT: Standing = Standing { cost: u64::MAX, weight: 0 };

    /// Is this strictly better?
    #[inline]
    pub fn beats(self, other: Standing) -> bool {
        self.cost_against(other) < other.cost_against(self)
    }

    /// Costs of two servers are compared as fractions, `cost / weight`; this is one side of that, multiplied out. 128
    /// bits, because a cost has up to 41 and a weight up to 31. Of two that are out both sides are 0.
    #[inline]
    pub fn cost_against(self, other: Standing) -> u128 {
        u128::from(self.cost) * u128::from(other.weight.unsigned_abs())
    }
}

/// A scheduler's way of seeing. A trait, as a function that is passed on is not reliably inlined where it counts.
pub trait View: Copy {
    /// How a server of this weight stands now.
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing;
}

#[cfg(test)]
impl<F: Fn(&Boards, ServerId, i32) -> Standing + Copy> View for F {
    fn of(self, boards: &Boards, id: ServerId, weight: i32) -> Standing {
        self(boards, id, weight)
    }
}

/// The server that stands best; of equals the first.
pub fn best<'a>(servers: &'a [Candidate], boards: &Boards, view: impl View) -> Option<&'a Candidate> {
    let mut best: (Option<&Candidate>, Standing) = (None, Standing::OUT);
    for server in servers {
        let standing = view.of(boards, server.id, server.weight);
        if standing.beats(best.1) {
            best = (Some(server), standing);
        }
    }
    best.0
}
