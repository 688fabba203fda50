//! How busy servers are.

use crate::board::Boards;
use crate::tables::{Candidate, ServerId};

/// May new flows go to this server?
#[inline]
pub fn is_open(boards: &Boards, server: &Candidate) -> bool {
    takes(boards, server.id, server.weight)
}

/// The same of a server with this weight.
#[inline(always)]
pub fn takes(boards: &Boards, id: ServerId, weight: i32) -> bool {
    weight > 0 && !boards.is_overloaded(id)
}

/// What connections weigh: an active one as much as 257 inactive ones (spec `scheduling.md` §1, overhead formula).
#[inline(always)]
pub fn weight_of(active: u32, total: u32) -> u64 {
    u64::from(active) * 256 + u64::from(total)
}

/// What the connections of a server weigh.
#[inline]
pub fn overhead(boards: &Boards, id: ServerId) -> u64 {
    let (active, total) = boards.active_and_total(id);
    weight_of(active, total)
}

/// Is `cost / weight` strictly less than `than_cost / than_weight`? For a weight of 0 or less: no.
#[inline]
pub fn is_lighter(cost: u64, weight: i32, than_cost: u64, than_weight: i32) -> bool {
    // 128 bits, because a cost has up to 41 and a weight up to 31.
    i128::from(than_cost) * i128::from(weight) > i128::from(cost) * i128::from(than_weight)
}
