//! A server in a tournament: where it plays, and what its key is made of.

use super::matches::{OUT, more};
use crate::board::ServerCounts;
use crate::sched::load::weight_of;
use crate::sched::ranking::Standing;
use crate::tables::{Candidate, ServiceId};

/// What stands for a fraction of 0: less than any other, and no subnormal number whatever the place.
const NOTHING: f64 = 1.0 / OUT;

/// No spot: that of a server in no tournament.
const NOWHERE: u32 = u32::MAX;

/// How the keys of a service's servers are made.
///
/// Of two fractions `a / b < c / d` the greater is greater by at least 1 of `b × c` parts of it. If 52 - p bits stay
/// behind the point and `b × c` is at most 2^(51 - p), the rounding of the division (2^-53 of each) cannot hide that.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// All but the last bits, in which the place is.
    fractions: u64,
    /// Costs below are told apart. At most 2^51.
    costs_end: u64,
}

impl Scale {
    /// Of a service without servers.
    pub const NONE: Scale = Scale { fractions: !0, costs_end: 0 };

    pub fn of(servers: &[Candidate]) -> Scale {
        let bits = usize::BITS - servers.len().saturating_sub(1).leading_zeros();
        let weight_max = servers.iter().map(|server| server.weight).max().unwrap_or(1).max(1);
        Scale {
            fractions: !0 << bits,
            costs_end: (1 << (51 - bits)) / u64::from(weight_max.unsigned_abs()) + 1,
        }
    }

    /// What is compared. `None` if it would not be exact.
    pub fn key(self, standing: Standing, place: u32) -> Option<f64> {
        let fraction = if standing.weight == 0 {
            OUT
        } else if standing.cost < self.costs_end {
            more(as_float(standing.cost) / f64::from(standing.weight), NOTHING)
        } else {
            return None;
        };
        Some(filed(fraction, self.fractions, place))
    }

    pub fn place(self, key: f64) -> usize {
        (key.to_bits() & !self.fractions) as usize
    }
}

/// A fraction whose last bits tell the place.
#[inline(always)]
fn filed(fraction: f64, fractions: u64, place: u32) -> f64 {
    f64::from_bits(fraction.to_bits() & fractions | u64::from(place))
}

/// One instruction for a number with a sign, and costs are below 2^51.
#[inline(always)]
fn as_float(cost: u64) -> f64 {
    cost as i64 as f64
}

/// Where a server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Where its key is: match and player of the arena as one number.
    pub spot: u32,
    /// Its place in the list.
    pub place: u32,
}

/// A server in a tournament. It fills a cache line, with all that a change of its load needs.
///
/// What connections weigh (`256 × active + total`) this worker hears of as it happens. The rest of what makes a key is
/// found out when the tree is built and when loads are read again: connections with other workers, the overload flag.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(64))]
pub struct Player {
    fractions: u64,
    /// What the cost is divided by.
    divisor: f64,
    /// The least that the fraction may be: [`OUT`] for a server that is not to be chosen.
    floor: f64,
    /// Costs below make a key by the weight of connections alone: none if the scheduler compares by something else.
    plain_end: u64,
    /// Active and all connections with other workers.
    others: (u32, u32),
    pub seat: Seat,
    /// The service in whose tournament it is.
    pub service: u32,
    /// The server's own.
    pub weight: i32,
}

impl Player {
    /// A server in no tournament.
    pub const IDLE: Player = Player {
        fractions: !0,
        divisor: 1.0,
        floor: OUT,
        plain_end: 0,
        others: (0, 0),
        seat: Seat { spot: NOWHERE, place: 0 },
        service: 0,
        weight: 0,
    };

    /// One of whose load nothing is known yet.
    pub fn new(seat: Seat, service: ServiceId, weight: i32) -> Player {
        Player { seat, service: service.0, weight, ..Player::IDLE }
    }

    /// What its key is made of from here on, until there is news of other workers or the overload flag. `is_plain`: does
    /// the scheduler compare by the weight of connections?
    pub fn learn(&mut self, scale: Scale, is_plain: bool, standing: Standing, others: (u32, u32)) {
        self.fractions = scale.fractions;
        self.divisor = standing.weight.max(1).into();
        self.floor = if standing.weight == 0 { OUT } else { NOTHING };
        self.plain_end = if is_plain { scale.costs_end } else { 0 };
        self.others = others;
    }

    /// The key with so many connections; `None` if it takes more to make one.
    #[inline(always)]
    pub fn key(&self, counts: &ServerCounts) -> Option<f64> {
        let (active, total) = counts.active_and_total();
        let cost = weight_of(active.wrapping_add(self.others.0), total.wrapping_add(self.others.1));
        let key = || filed(more(as_float(cost) / self.divisor, self.floor), self.fractions, self.seat.place);
        (cost < self.plain_end).then(key)
    }

    /// Is it in a tournament?
    #[inline(always)]
    pub fn plays(&self) -> bool {
        self.seat.spot != NOWHERE
    }
}
