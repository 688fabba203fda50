//! The best of a thousand servers without looking at a thousand servers.
//!
//! A worker keeps a knock-out tournament per service: matches of four neighbours on the list, whose winners meet in matches
//! of four, and so on to one champion; of equals the earlier wins. A pick reads the champion. When a server's load changes,
//! its matches are played again, one on each level. The answer is the one that a scan of the list gives, to the tie.
//!
//! A worker knows what it changed itself ([`Tournaments::mark`]) and plays that again at the next pick. What others
//! changed it cannot know: so at the first pick of every tick (1 ms) it reads the loads of the next [`READ_AGAIN`] servers
//! again, in turn. That bounds the lag (1 ms for 64 servers, 16 ms for 1,000, of a service that is busy) and the cost.
//!
//! How a server stands is one number, `cost / weight` as a 64-bit float, so that a match is one comparison. A division that
//! is rounded right gives the same number for equal fractions, and different ones for any two whose cost is below 2^36 and
//! whose weight is at most 2^16: they differ by more than 2^-52 of their size. Where there is a larger one, all are scanned.
//!
//! Trees lie in an arena that is taken at construction. They are only caches: if the arena is full, all are forgotten
//! and built again as services ask for them.

use super::ranking::{Standing, best};
use crate::board::Boards;
use crate::tables::{Candidate, ServerId, Service};
use crate::tick::Tick;
use std::hint::select_unpredictable;

/// Smaller services are scanned.
const SERVERS_MIN: usize = 4;

/// Players of a match. With two there are twice as many levels, and more instructions in all.
const PLAYERS: usize = 4;

/// Servers whose loads are read again in a tick, as other workers may have changed them.
const READ_AGAIN: u32 = 64;

/// A server that is on no list of changes, and the end of such a list.
const UNCHANGED: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

/// Costs and weights beyond these are not told apart exactly.
const COST_END: u64 = 1 << 36;
const WEIGHT_MAX: i32 = 1 << 16;

/// The key of a server that is not to be chosen: greater than that of any other, and not the greatest number there is.
const OUT: u64 = u64::MAX - 1;

/// Who meets, and how they stand: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Match {
    /// The bits of floats that are not negative: they are in the order of the numbers.
    keys: [u64; PLAYERS],
    /// Places of the list.
    places: [u32; PLAYERS],
}

/// A match without players.
const EMPTY: Match = Match { keys: [OUT; PLAYERS], places: [0; PLAYERS] };

impl Match {
    /// Who stands best; of equals the first. That cannot be predicted, so nothing branches on it.
    #[inline]
    fn winner(&self) -> (u64, u32) {
        let [one, two, three, four] = self.keys;
        let (left, right) = (two < one, four < three);
        let (best_left, best_right) =
            (select_unpredictable(left, two, one), select_unpredictable(right, four, three));
        let is_right = best_right < best_left;
        let player = select_unpredictable(is_right, 2 + usize::from(right), usize::from(left));
        (select_unpredictable(is_right, best_right, best_left), self.places[player % PLAYERS])
    }
}

/// What is compared. `None` if it would not be exact.
fn key(standing: Standing) -> Option<u64> {
    if standing == Standing::OUT {
        return Some(OUT);
    }
    let exact = standing.cost < COST_END && standing.weight <= WEIGHT_MAX;
    exact.then(|| (standing.cost as f64 / f64::from(standing.weight)).to_bits())
}

/// One service's tournament.
#[derive(Clone, Copy, Debug)]
struct Tree {
    /// Which list it was built for, and in which life of the arena.
    serial: u64,
    life: u64,
    /// When loads were read again, and up to where.
    read: Tick,
    hand: u32,
    /// Are all keys exact?
    exact: bool,
    /// Its matches in the arena: those of the servers, then those of their winners, and so on to the last one.
    first: u32,
    /// Matches reserved there.
    room: u32,
    /// Matches on the first level.
    width: u32,
    /// First of the list of changes: a server's id.
    changes: u32,
    /// Who has won.
    champion: (u64, u32),
}

/// Where a server is. Possibly out of date: then a change of it is noted in another service, which does no harm.
#[derive(Clone, Copy, Debug)]
struct Place {
    service: u32,
    place: u32,
    /// Next on the list of changes.
    next: u32,
}

/// The tournaments of one worker.
#[derive(Debug, Default)]
pub struct Tournaments {
    matches: Box<[Match]>,
    used: usize,
    life: u64,
    trees: Box<[Tree]>,
    places: Box<[Place]>,
}

/// Matches of a tournament whose first level has so many.
fn matches_of(width: u32) -> u32 {
    let above =
        std::iter::successors(Some(width), |&width| (width > 1).then(|| width.div_ceil(PLAYERS as u32)));
    above.sum()
}

impl Tournaments {
    /// Memory for services and servers with ids below these: 80 and 76 bytes each.
    pub fn new(services_max: usize, servers_max: usize) -> Tournaments {
        let tree = Tree {
            serial: 0,
            life: 0,
            read: Tick(0),
            hand: 0,
            exact: true,
            first: 0,
            room: 0,
            width: 0,
            changes: END,
            champion: (OUT, 0),
        };
        let place = Place { service: u32::MAX, place: 0, next: UNCHANGED };
        Tournaments {
            // Five servers need three matches; no other number needs more for each.
            matches: vec![EMPTY; servers_max].into(),
            used: 0,
            life: 1,
            trees: vec![tree; services_max].into(),
            places: vec![place; servers_max].into(),
        }
    }

    /// The server that stands best; of equals the first.
    pub fn pick<'a>(
        &mut self,
        service: &'a Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> Option<&'a Candidate> {
        match self.trees.get(service.id.0 as usize) {
            Some(tree)
                if tree.life == self.life && tree.serial == service.plan.serial() && tree.read == now => {}
            _ => return self.pick_anew(service, boards, now, standing),
        }
        self.play(service, boards, standing)
    }

    /// The same where the list or the time is another than at the last pick.
    #[inline(never)]
    fn pick_anew<'a>(
        &mut self,
        service: &'a Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> Option<&'a Candidate> {
        if service.servers.len() < SERVERS_MIN || !self.bring_up(service, boards, now, &standing) {
            return best(&service.servers, boards, standing);
        }
        self.play(service, boards, standing)
    }

    /// Plays again what changed since the last pick: who has won?
    #[inline]
    fn play<'a>(
        &mut self,
        service: &'a Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> Option<&'a Candidate> {
        let nth = service.id.0 as usize;
        while self.trees[nth].changes != END {
            self.play_change(service, boards, &standing);
        }
        self.trees[nth].winner(service, boards, standing)
    }

    /// Plays again what changed first since the last pick. A function of its own, so that it has the registers for itself.
    #[inline(never)]
    fn play_change(
        &mut self,
        service: &Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let Some(tree) = self.trees.get_mut(service.id.0 as usize) else { return };
        let id = std::mem::replace(&mut tree.changes, END);
        let Some(known) = self.places.get_mut(id as usize) else { return };
        tree.changes = std::mem::replace(&mut known.next, UNCHANGED);
        if let Some(server) = service.servers.get(known.place as usize) {
            tree.update(&mut self.matches, known.place, standing(boards, server));
        }
    }

    /// This worker changed a count or the overload flag of a server.
    #[inline]
    pub fn mark(&mut self, id: ServerId) {
        let Some(known) = self.places.get_mut(id.0 as usize) else { return };
        let Some(tree) = self.trees.get_mut(known.service as usize) else { return };
        if known.next == UNCHANGED {
            known.next = std::mem::replace(&mut tree.changes, id.0);
        }
    }

    /// Makes the tree right for this moment. False if there is no room for it.
    fn bring_up(
        &mut self,
        service: &Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> bool {
        let Some(tree) = self.trees.get_mut(service.id.0 as usize) else { return false };
        if tree.life == self.life && tree.serial == service.plan.serial() {
            tree.read_again(&mut self.matches, service, boards, now, &standing);
            return true;
        }
        let width = service.servers.len().div_ceil(PLAYERS) as u32;
        let room = matches_of(width);
        if (tree.life != self.life || tree.room < room) && !self.reserve(service.id.0 as usize, room) {
            return false;
        }
        let tree = &mut self.trees[service.id.0 as usize];
        *tree = Tree {
            serial: service.plan.serial(),
            read: now,
            hand: 0,
            exact: true,
            width,
            changes: END,
            ..*tree
        };
        self.build(service, boards, standing);
        true
    }

    /// Takes room in the arena; empties it first if need be.
    fn reserve(&mut self, service: usize, room: u32) -> bool {
        if room as usize > self.matches.len() {
            return false;
        }
        if self.used + room as usize > self.matches.len() {
            (self.used, self.life) = (0, self.life + 1);
        }
        let tree = &mut self.trees[service];
        (tree.first, tree.room, tree.life) = (self.used as u32, room, self.life);
        self.used += room as usize;
        true
    }

    fn build(
        &mut self,
        service: &Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let tree = &mut self.trees[service.id.0 as usize];
        let matches = tree.matches(&mut self.matches);
        matches.fill(EMPTY);
        for (place, server) in (0..).zip(&service.servers[..]) {
            let key = key(standing(boards, server));
            tree.exact &= key.is_some();
            let (level, player) = (place as usize / PLAYERS, place as usize % PLAYERS);
            (matches[level].keys[player], matches[level].places[player]) = (key.unwrap_or(OUT), place);
            if let Some(known) = self.places.get_mut(server.id.0 as usize) {
                *known = Place { service: service.id.0, place, next: UNCHANGED };
            }
        }
        // Winners lie behind all matches of their level, in the same order: the next place is always the next winner's.
        let width = tree.width as usize;
        for winner in 0..matches.len() - 1 {
            let (at, player) = above(width, winner);
            (matches[at].keys[player], matches[at].places[player]) = matches[winner].winner();
        }
        tree.champion = matches[matches.len() - 1].winner();
    }
}

/// Where the winner of a match plays next: in which match, as which player. `width`: matches on the first level.
fn above(width: usize, of: usize) -> (usize, usize) {
    let (mut first, mut count) = (0, width);
    while of >= first + count {
        first += count;
        count = count.div_ceil(PLAYERS);
    }
    (first + count + (of - first) / PLAYERS, (of - first) % PLAYERS)
}

impl Tree {
    /// Its part of the arena.
    #[inline]
    fn matches<'a>(&self, arena: &'a mut [Match]) -> &'a mut [Match] {
        &mut arena[self.first as usize..][..matches_of(self.width) as usize]
    }

    /// Who has won, or, where keys are not exact, who wins a scan.
    #[inline]
    fn winner<'a>(
        &self,
        service: &'a Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> Option<&'a Candidate> {
        if !self.exact {
            return best(&service.servers, boards, standing);
        }
        let (key, place) = self.champion;
        if key == OUT { None } else { service.servers.get(place as usize) }
    }

    /// Plays again what others changed, for the servers whose turn it is.
    fn read_again(
        &mut self,
        arena: &mut [Match],
        service: &Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let count = service.servers.len() as u32;
        let until = count.min(self.hand + READ_AGAIN);
        for place in self.hand..until {
            self.update(arena, place, standing(boards, &service.servers[place as usize]));
        }
        (self.read, self.hand) = (now, if until < count { until } else { 0 });
    }

    /// A server stands like this now: plays its matches again, up to the last one. Nothing is changed if the key would
    /// not be exact.
    #[inline(always)]
    fn update(&mut self, arena: &mut [Match], place: u32, standing: Standing) {
        let Some(key) = key(standing) else {
            self.exact = false;
            return;
        };
        let mut best = (key, place);
        let (mut nth, mut first, mut count) = (place as usize, self.first as usize, self.width as usize);
        if arena[first + nth / PLAYERS].keys[nth % PLAYERS] == key {
            return;
        }
        loop {
            let here = &mut arena[first + nth / PLAYERS];
            (here.keys[nth % PLAYERS], here.places[nth % PLAYERS]) = best;
            best = here.winner();
            if count <= 1 {
                break;
            }
            (nth, first, count) = (nth / PLAYERS, first + count, count.div_ceil(PLAYERS));
        }
        self.champion = best;
    }
}
