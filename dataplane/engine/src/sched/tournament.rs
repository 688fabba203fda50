//! The best of a thousand servers without looking at a thousand servers.
//!
//! A worker keeps a knock-out tournament per service: matches of eight neighbours on the list, whose winners meet in
//! matches of eight, and so on until at most [`FINALISTS`] are left; of equals the earlier wins. When a server's load
//! changes, its matches below the final are played again, one on each level. A pick looks at the finalists. Most services
//! have no more servers than that: then a change is one store. The answer is the one that a scan of the list gives, to
//! the tie.
//!
//! A worker knows what it changed itself ([`Tournaments::changed`]). What others changed it cannot know: so at the first
//! pick of every tick (1 ms) it reads the loads of the next [`READ_AGAIN`] servers again, in turn. That bounds the lag
//! (1 ms for 64 servers, 16 ms for 1,000, of a service that is busy) and the cost.
//!
//! How a server stands and where it is on the list are one number, its [key](Scale::key): `cost / weight` as a 64-bit
//! float whose last bits give way to the place. So a match is the least of eight floats, which processors find without a
//! branch, and nothing else goes up the tree. Equal fractions give equal bits, which leaves the choice to the place; of
//! different ones the bits that stay tell which is less, as long as costs and weights are below what [`Scale`] says. Where
//! there is a larger one, all are scanned.
//!
//! Trees lie in an arena that is taken at construction. They are only caches: if the arena is full, all are forgotten
//! and built again as services ask for them.

use super::ranking::{Standing, View, best};
use super::{fo, lc, nq, ovf, sed, wlc};
use crate::board::Boards;
use crate::tables::{Candidate, SchedulerKind, ServerId, Service};
use crate::tick::Tick;

/// Smaller services are scanned.
const SERVERS_MIN: usize = 2;

/// Players of a match: their keys fill a cache line.
const PLAYERS: usize = 8;

/// Players of a final at most.
const FINALISTS: usize = 64;

/// Servers whose loads are read again in a tick, as other workers may have changed them.
const READ_AGAIN: u32 = 64;

/// The serial of no plan: that of a tree without room in the arena, and that of a server in no tree.
const NO_LIST: u64 = u64::MAX;
const NO_TREE: u64 = u64::MAX - 1;

/// The key of a server that is not to be chosen, but for its place: greater than any fraction. A power of two, as no key
/// of such a server may be less.
const OUT: f64 = (1u128 << 100) as f64;

/// What stands for a fraction of 0: less than any other, and no subnormal number whatever the place.
const NOTHING: f64 = 1.0 / OUT;

/// The keys of those who meet.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Match([f64; PLAYERS]);

/// A match without players.
const EMPTY: Match = Match([OUT; PLAYERS]);

/// For each player what leaves all keys but theirs as they are. The compiler knows how this is aligned, as it does not of
/// the arena: so reading it takes no instruction of its own.
static FLOORS: [Match; PLAYERS] = {
    let mut floors = [Match([0.0; PLAYERS]); PLAYERS];
    let mut player = 0;
    while player < PLAYERS {
        floors[player].0[player] = OUT;
        player += 1;
    }
    floors
};

#[inline(always)]
fn less(one: f64, other: f64) -> f64 {
    if one < other { one } else { other }
}

#[inline(always)]
fn more(one: f64, other: f64) -> f64 {
    if one > other { one } else { other }
}

/// The lesser of each pair.
#[inline(always)]
fn lesser(ones: [f64; PLAYERS], others: [f64; PLAYERS]) -> [f64; PLAYERS] {
    std::array::from_fn(
        #[inline(always)]
        |n| less(ones[n], others[n]),
    )
}

/// The least of eight.
#[inline(always)]
fn least(keys: [f64; PLAYERS]) -> f64 {
    let pair = |n: usize| less(keys[n], keys[n + 4]);
    less(less(pair(0), pair(2)), less(pair(1), pair(3)))
}

impl Match {
    /// Puts a key in the place of a player's, and returns the winner's.
    ///
    /// Written so that the compiler makes it a dozen instructions of SSE2, and that what takes time does not wait for
    /// the key, which comes from the match below: the best of the others is found first.
    #[inline(always)]
    fn play(&mut self, player: usize, key: f64) -> f64 {
        let player = player % PLAYERS;
        let Match(floors) = &FLOORS[player];
        let Match(keys) = *self;
        let best = least(std::array::from_fn(|n| more(keys[n], floors[n])));
        self.0[player] = key;
        less(key, best)
    }
}

/// How the keys of a service's servers are made.
///
/// Of two fractions `a / b < c / d` the greater is greater by at least 1 of `b × c` parts of it. If 52 - p bits stay
/// behind the point and `b × c` is at most 2^(51 - p), the rounding of the division (2^-53 of each) cannot hide that.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// All but the last bits, in which the place is.
    fractions: u64,
    /// Costs up to here are told apart.
    cost_max: u64,
}

impl Scale {
    fn of(servers: &[Candidate]) -> Scale {
        let bits = usize::BITS - servers.len().saturating_sub(1).leading_zeros();
        let weight_max = servers.iter().map(|server| server.weight).max().unwrap_or(1).max(1);
        Scale { fractions: !0 << bits, cost_max: (1 << (51 - bits)) / u64::from(weight_max.unsigned_abs()) }
    }

    /// What is compared. `None` if it would not be exact.
    #[inline(always)]
    fn key(self, standing: Standing, place: u32) -> Option<f64> {
        let fraction = if standing.weight == 0 {
            OUT
        } else if standing.cost <= self.cost_max {
            // As a number with a sign it takes one instruction to convert, and it is below 2^51.
            (standing.cost as i64 as f64 / f64::from(standing.weight)).max(NOTHING)
        } else {
            return None;
        };
        Some(f64::from_bits(fraction.to_bits() & self.fractions | u64::from(place)))
    }

    fn place(self, key: f64) -> usize {
        (key.to_bits() & !self.fractions) as usize
    }
}

/// One service's tournament.
///
/// Its matches lie in the arena as a heap: the final first, in as many matches as its players fill, then those whose
/// winners are the finalists, and so on, the servers' last. So players are numbered through, and player `n` of any level
/// but the last has won match `n` behind the final.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Tree {
    /// Which list it was built for; [`NO_LIST`] if it has no room in the arena.
    serial: u64,
    /// When loads were read again, and up to where.
    read: Tick,
    hand: u32,
    /// Are all keys exact?
    exact: bool,
    /// Have all been since the hand was at the first server?
    exact_lately: bool,
    /// By what servers are compared.
    kind: SchedulerKind,
    scale: Scale,
    /// Its first match in the arena.
    first: u32,
    /// Matches reserved there.
    room: u32,
    /// Matches of the final.
    finals: u32,
    /// The player who is the first server of the list.
    servers: u32,
}

/// Where a server is, and in which list: of another one its place is no longer right.
#[derive(Clone, Copy, Debug)]
struct Place {
    serial: u64,
    service: u32,
    place: u32,
    weight: i32,
}

/// The tournaments of one worker.
#[derive(Debug, Default)]
pub struct Tournaments {
    matches: Box<[Match]>,
    used: usize,
    trees: Box<[Tree]>,
    places: Box<[Place]>,
}

/// Matches of the final for so many servers, and matches in front of those in which they play.
fn matches_above(servers: usize) -> (usize, usize) {
    let mut level = servers;
    let mut levels_below = 0;
    while level > FINALISTS {
        level = level.div_ceil(PLAYERS);
        levels_below += 1;
    }
    let finals = level.div_ceil(PLAYERS);
    (finals, (0..levels_below).map(|level| finals * PLAYERS.pow(level)).sum())
}

impl Tournaments {
    /// Memory for services and servers with ids below these: 64 and 56 bytes each.
    pub fn new(services_max: usize, servers_max: usize) -> Tournaments {
        let tree = Tree {
            serial: NO_LIST,
            read: Tick(0),
            hand: 0,
            exact: true,
            exact_lately: true,
            kind: SchedulerKind::None,
            scale: Scale { fractions: !0, cost_max: 0 },
            first: 0,
            room: 0,
            finals: 0,
            servers: 0,
        };
        Tournaments {
            // Two servers need a match; no other number needs more for each than two do.
            matches: vec![EMPTY; servers_max.div_ceil(SERVERS_MIN)].into(),
            used: 0,
            trees: vec![tree; services_max].into(),
            places: vec![Place { serial: NO_TREE, service: 0, place: 0, weight: 0 }; servers_max].into(),
        }
    }

    /// [`Tournaments::pick`] for `wlc`.
    #[inline(never)]
    pub fn pick_lightest(&mut self, service: &Service, boards: &Boards, now: Tick) -> Option<ServerId> {
        Some(self.pick(service, boards, now, wlc::Wlc)?.id)
    }

    /// The server that stands best; of equals the first.
    #[inline(always)]
    pub fn pick<'a>(
        &mut self,
        service: &'a Service,
        boards: &Boards,
        now: Tick,
        view: impl View,
    ) -> Option<&'a Candidate> {
        match self.trees.get(service.id.0 as usize) {
            Some(tree) if tree.serial == service.plan.serial() && tree.read == now && tree.exact => {
                tree.winner(&self.matches, service)
            }
            _ => self.pick_anew(service, boards, now, view),
        }
    }

    /// The same where the list or the time is another than at the last pick, or keys are not exact.
    #[inline(never)]
    fn pick_anew<'a>(
        &mut self,
        service: &'a Service,
        boards: &Boards,
        now: Tick,
        view: impl View,
    ) -> Option<&'a Candidate> {
        if service.servers.len() < SERVERS_MIN || !self.bring_up(service, boards, now, view) {
            return best(&service.servers, boards, view);
        }
        let tree = &self.trees[service.id.0 as usize];
        if tree.exact { tree.winner(&self.matches, service) } else { best(&service.servers, boards, view) }
    }

    /// This worker changed a count or the overload flag of a server.
    #[inline(always)]
    pub fn changed(&mut self, boards: &Boards, id: ServerId) {
        let Some(known) = self.places.get(id.0 as usize) else { return };
        let Some(tree) = self.trees.get_mut(known.service as usize) else { return };
        if known.serial == tree.serial {
            let standing = match tree.kind {
                SchedulerKind::Wlc => wlc::Wlc.of(boards, id, known.weight),
                kind => standing(kind, boards, id, known.weight),
            };
            tree.update(&mut self.matches, known.place, standing);
        }
    }

    /// Makes the tree right for this moment. False if there is no room for it.
    fn bring_up(&mut self, service: &Service, boards: &Boards, now: Tick, view: impl View) -> bool {
        let Some(tree) = self.trees.get_mut(service.id.0 as usize) else { return false };
        if tree.serial == service.plan.serial() {
            if tree.read != now {
                tree.read_again(&mut self.matches, service, boards, now, view);
            }
            return true;
        }
        let (finals, above) = matches_above(service.servers.len());
        let room = (above + service.servers.len().div_ceil(PLAYERS)) as u32;
        if tree.room < room && !self.reserve(service.id.0 as usize, room) {
            return false;
        }
        let tree = &mut self.trees[service.id.0 as usize];
        *tree = Tree {
            serial: service.plan.serial(),
            read: now,
            hand: 0,
            exact: true,
            exact_lately: true,
            kind: service.scheduler,
            scale: Scale::of(&service.servers),
            finals: finals as u32,
            servers: (above * PLAYERS) as u32,
            ..*tree
        };
        self.build(service, boards, view);
        true
    }

    /// Takes room in the arena; empties it first if need be.
    fn reserve(&mut self, service: usize, room: u32) -> bool {
        if room as usize > self.matches.len() {
            return false;
        }
        if self.used + room as usize > self.matches.len() {
            self.trees.iter_mut().for_each(|tree| (tree.serial, tree.room) = (NO_LIST, 0));
            self.used = 0;
        }
        let tree = &mut self.trees[service];
        (tree.first, tree.room) = (self.used as u32, room);
        self.used += room as usize;
        true
    }

    fn build(&mut self, service: &Service, boards: &Boards, view: impl View) {
        let tree = &mut self.trees[service.id.0 as usize];
        self.matches[tree.first as usize..][..tree.room as usize].fill(EMPTY);
        for (place, server) in (0..).zip(&service.servers[..]) {
            tree.update(&mut self.matches, place, view.of(boards, server.id, server.weight));
            if let Some(known) = self.places.get_mut(server.id.0 as usize) {
                let (service, weight) = (service.id.0, server.weight);
                *known = Place { serial: tree.serial, service, place, weight };
            }
        }
    }
}

/// How a server stands with one of the schedulers that compare.
#[inline(never)]
fn standing(kind: SchedulerKind, boards: &Boards, id: ServerId, weight: i32) -> Standing {
    match kind {
        SchedulerKind::Lc => lc::Lc.of(boards, id, weight),
        SchedulerKind::Sed => sed::Sed.of(boards, id, weight),
        SchedulerKind::Nq => nq::Nq.of(boards, id, weight),
        SchedulerKind::Fo => fo::Fo.of(boards, id, weight),
        SchedulerKind::Ovf => ovf::Ovf.of(boards, id, weight),
        // `lblc` and `lblcr` compare as `wlc` does; others have no tree.
        _ => wlc::Wlc.of(boards, id, weight),
    }
}

impl Tree {
    /// Who has won, if all keys are exact.
    #[inline(always)]
    fn winner<'a>(&self, arena: &[Match], service: &'a Service) -> Option<&'a Candidate> {
        let first = self.first as usize;
        let best = match arena.get(first..first + self.finals as usize)? {
            // Most services have no more than these.
            [Match(one)] => *one,
            [Match(one), Match(other)] => lesser(*one, *other),
            [Match(one), others @ ..] => {
                let mut best = *one;
                for Match(other) in others {
                    best = lesser(best, *other);
                }
                best
            }
            [] => return None,
        };
        let champion = least(best);
        if champion < OUT { service.servers.get(self.scale.place(champion)) } else { None }
    }

    /// Plays again what others changed, for the servers whose turn it is.
    fn read_again(
        &mut self,
        arena: &mut [Match],
        service: &Service,
        boards: &Boards,
        now: Tick,
        view: impl View,
    ) {
        let count = service.servers.len() as u32;
        let until = count.min(self.hand + READ_AGAIN);
        for place in self.hand..until {
            let player = (self.servers + place) as usize;
            let known = arena[self.first as usize + player / PLAYERS].0[player % PLAYERS];
            let Candidate { id, weight, .. } = service.servers[place as usize];
            let standing = view.of(boards, id, weight);
            if self.scale.key(standing, place) != Some(known) {
                self.update(arena, place, standing);
            }
        }
        (self.read, self.hand) = (now, until);
        if until == count {
            self.hand = 0;
            self.exact = std::mem::replace(&mut self.exact_lately, true);
        }
    }

    /// A server stands like this now: plays its matches again, up to the final. Nothing is changed if the key would
    /// not be exact.
    #[inline(always)]
    fn update(&mut self, arena: &mut [Match], place: u32, standing: Standing) {
        let Some(mut key) = self.scale.key(standing, place) else {
            (self.exact, self.exact_lately) = (false, false);
            return;
        };
        let (first, finals) = (self.first as usize, self.finals as usize);
        let mut player = (self.servers + place) as usize;
        while player / PLAYERS >= finals {
            key = arena[first + player / PLAYERS].play(player, key);
            player = player / PLAYERS - finals;
        }
        arena[first + player / PLAYERS].0[player % PLAYERS] = key;
    }
}
