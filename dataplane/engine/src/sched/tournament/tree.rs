//! One service's tournament: where its matches lie, and which of them a pick looks at.

use super::matches::{Match, OUT, PLAYERS, least_but, least_of, less};
use super::player::{Player, Scale, Seat};
use crate::tables::{SchedulerKind, Service, ServiceId};
use crate::tick::Tick;

/// Players of a final at most.
const FINALISTS: usize = 64;

/// The serial of no plan: that of a tree that is not built.
pub const NO_LIST: u64 = u64::MAX;

/// No key is less: so every winner of the matches that a pick looks at has to be compared with the rest of the tree.
const STALE: f64 = 0.0;

/// The matches that a pick looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    first: u32,
    count: u32,
}

/// One service's tournament.
///
/// Its matches lie in the arena as a heap: the final first, in as many matches as its players fill, then those whose
/// winners are the finalists, and so on, the servers' last. So players are numbered through, and player `n` of any level
/// but the last has won match `n` behind the final.
///
/// What a pick asks is in the first of its two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Tree {
    /// Which list it was built for; [`NO_LIST`] if it is not built.
    pub serial: u64,
    /// When loads were read again.
    pub read: Tick,
    pub scale: Scale,
    /// The least key on stage; at most [`OUT`]. It is known before a pick asks for it, so that nothing waits for it.
    best: f64,
    /// At most the least key of who is not on stage; at most [`OUT`].
    rival: f64,
    stage: Stage,
    /// Its first match in the arena.
    pub first: u32,
    /// Matches of the final.
    finals: u32,
    /// The player who is the first server of the list.
    servers: u32,
    /// Are all keys exact?
    pub exact: bool,
    /// Have all been since the hand was at the first server?
    pub exact_lately: bool,
    /// By what servers are compared.
    pub kind: SchedulerKind,
    /// Matches reserved in the arena.
    pub room: u32,
    /// Up to where loads were read again.
    pub hand: u32,
}

/// A service without a tree.
pub const BARE: Tree = Tree {
    serial: NO_LIST,
    read: Tick(0),
    scale: Scale::NONE,
    best: OUT,
    rival: STALE,
    stage: Stage { first: 0, count: 0 },
    first: 0,
    finals: 0,
    servers: 0,
    exact: true,
    exact_lately: true,
    kind: SchedulerKind::None,
    room: 0,
    hand: 0,
};

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

/// Matches of a tree for so many servers.
pub fn matches_of(servers: usize) -> u32 {
    (matches_above(servers).1 + servers.div_ceil(PLAYERS)) as u32
}

impl Tree {
    /// A tree for a service's list, in the place of this one, in which nobody has played yet.
    pub fn for_list(&self, service: &Service, now: Tick) -> Tree {
        let (finals, above) = matches_above(service.servers.len());
        let is_small = above == 0;
        Tree {
            serial: service.plan.serial(),
            read: now,
            scale: Scale::of(&service.servers),
            rival: if is_small { OUT } else { STALE },
            stage: Stage { first: self.first, count: if is_small { finals as u32 } else { 0 } },
            finals: finals as u32,
            servers: (above * PLAYERS) as u32,
            kind: service.scheduler,
            first: self.first,
            room: self.room,
            ..BARE
        }
    }

    /// Are servers compared by what connections weigh, and by nothing else that changes often?
    pub fn is_plain(&self) -> bool {
        use SchedulerKind::{Lblc, Lblcr, Lc, Wlc};
        matches!(self.kind, Lc | Wlc | Lblc | Lblcr)
    }

    /// The server at this place of the list, of which nothing is known yet.
    pub fn player(&self, service: ServiceId, place: u32, weight: i32) -> Player {
        Player::new(Seat { spot: self.spot_of(place), place }, service, weight)
    }

    fn spot_of(&self, place: u32) -> u32 {
        self.first * PLAYERS as u32 + self.servers + place
    }

    /// The place in the list of who has won, if that is someone on stage and all keys are exact. Otherwise it takes
    /// [`Tree::winner`] to tell.
    #[inline(always)]
    pub fn winner_on_stage(&self) -> Option<usize> {
        (self.best < self.rival).then(|| self.scale.place(self.best))
    }

    /// The place in the list of who has won, if all keys are exact. `None` if nobody is to be chosen.
    pub fn winner(&mut self, arena: &mut [Match]) -> Option<usize> {
        let is_small = self.servers == 0;
        if !is_small {
            self.rival = self.best_finalist(arena);
            if self.best >= self.rival {
                self.change_stage(arena);
            }
        }
        self.winner_on_stage()
    }

    /// The match of the best of the others comes on stage; that on stage goes.
    fn change_stage(&mut self, arena: &mut [Match]) {
        if self.stage.count > 0 {
            self.enter(arena, self.spot_above(self.stage.first), self.best);
        }
        let on_stage = self.spot_of(self.scale.place(self.rival) as u32) / PLAYERS as u32;
        (self.stage, self.best) = (Stage { first: on_stage, count: 1 }, self.rival);
        self.enter(arena, self.spot_above(on_stage), OUT);
        self.rival = self.best_finalist(arena);
    }

    fn best_finalist(&self, arena: &[Match]) -> f64 {
        let first = self.first as usize;
        arena.get(first..first + self.finals as usize).and_then(least_of).map_or(OUT, |best| less(best, OUT))
    }

    /// The spot of a match's winner. Match `n` behind the first is match `first + n` of the arena, and its winner player
    /// `n - finals`.
    fn spot_above(&self, of: u32) -> u32 {
        self.first * PLAYERS as u32 + (of - self.first - self.finals)
    }

    /// A server's key is another.
    #[inline(always)]
    pub fn play(&mut self, arena: &mut [Match], spot: u32, key: f64) {
        if (spot / PLAYERS as u32).wrapping_sub(self.stage.first) >= self.stage.count {
            self.enter(arena, spot, key);
            self.rival = less(self.rival, key);
            return;
        }
        let was_best = self.scale.place(key) == self.scale.place(self.best);
        let (first, count, spot) = (self.stage.first as usize, self.stage.count as usize, spot as usize);
        // Before the key is stored: a load of several keys would wait for it.
        let others = if was_best && key > self.best {
            least_but(arena, first, count, spot).unwrap_or(OUT)
        } else {
            self.best
        };
        self.best = less(key, others);
        if let Some(Match(players)) = arena.get_mut(spot / PLAYERS) {
            players[spot % PLAYERS] = key;
        }
    }

    /// Puts a key in its place and plays its matches, up to the final.
    #[inline(always)]
    fn enter(&self, arena: &mut [Match], spot: u32, mut key: f64) {
        let finals_end = (self.first + self.finals) as usize * PLAYERS;
        // As in `spot_above`.
        let shift = (self.first as usize * (PLAYERS - 1)).wrapping_sub(self.finals as usize);
        let mut spot = spot as usize;
        while spot >= finals_end {
            let Some(played) = arena.get_mut(spot / PLAYERS) else { return };
            key = played.play(spot % PLAYERS, key);
            spot = (spot / PLAYERS).wrapping_add(shift);
        }
        if let Some(Match(finalists)) = arena.get_mut(spot / PLAYERS) {
            finalists[spot % PLAYERS] = key;
        }
    }
}
