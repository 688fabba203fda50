//! The best of a thousand servers without looking at a thousand servers.
//!
//! A worker keeps a knock-out tournament per service: matches of eight neighbours on the list, whose winners meet in
//! matches of eight, and so on until few are left for a final; of equals the earlier wins. A pick takes the best of those on
//! stage, which is known before: the work is done when a load changes, so that no packet waits for it.
//!
//! Of most services all servers are in the final, and on stage: then a change is one store, and a look at the others if it
//! was the best who got worse. Of larger ones one match of eight is on stage, that in which the best is. It has left the
//! levels above, so that its changes cost no more; at equal loads, when servers are picked in the order of the list, that
//! is true for eight picks in a row. When a load changes elsewhere, matches are played again, one on each level. The answer
//! is the one that a scan of the list gives, to the tie.
//!
//! A worker knows what it changed itself ([`Tournaments::counted`], [`Tournaments::reconsider`]). What others changed it
//! cannot know: so at the first pick of every tick (1 ms) it reads the loads of the next [`READ_AGAIN`] servers again, in
//! turn, and until then counts with what it has read. That bounds the lag (1 ms for 64 servers, 16 ms for 1,000, of a
//! service that is busy) and the cost, which does not grow with the number of workers at a new connection.
//!
//! How a server stands and where it is on the list are one number, its [key](Scale::key): `cost / weight` as a 64-bit
//! float whose last bits give way to the place. So a match is the least of eight floats, which processors find without a
//! branch, and nothing else goes up the tree. Equal fractions give equal bits, which leaves the choice to the place; of
//! different ones the bits that stay tell which is less, as long as costs and weights are below what [`Scale`] says. Where
//! there is a larger one, all are scanned.
//!
//! Trees lie in an arena that is taken at construction. They are only caches: if the arena is full, all are forgotten
//! and built again as services ask for them.

mod matches;
mod player;
mod tree;

use super::ranking::{Standing, View, best};
use super::{fo, lc, nq, ovf, sed, wlc};
use crate::board::{Boards, ServerCounts};
use crate::tables::{Candidate, SchedulerKind, ServerId, Service, ServiceId};
use crate::tick::Tick;
use matches::{EMPTY, Match, PLAYERS};
use player::Player;
use tree::{BARE, NO_LIST, Tree, matches_of};

/// Smaller services are scanned.
const SERVERS_MIN: usize = 2;

/// Servers whose loads are read again in a tick, as other workers may have changed them.
const READ_AGAIN: u32 = 64;

/// The tournaments of one worker.
#[derive(Debug, Default)]
pub struct Tournaments {
    matches: Box<[Match]>,
    /// Who has played where, for each key of the arena. Who has left no longer has that spot.
    ids: Box<[[ServerId; PLAYERS]]>,
    used: usize,
    trees: Box<[Tree]>,
    players: Box<[Player]>,
}

impl Tournaments {
    /// Memory for services and servers with ids below these: 128 and 112 bytes each.
    pub fn new(services_max: usize, servers_max: usize) -> Tournaments {
        // Two servers need a match; no other number needs more for each than two do.
        let matches = servers_max.div_ceil(SERVERS_MIN);
        Tournaments {
            matches: vec![EMPTY; matches].into(),
            ids: vec![[ServerId::NONE; PLAYERS]; matches].into(),
            used: 0,
            trees: vec![BARE; services_max].into(),
            players: vec![Player::IDLE; servers_max].into(),
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
                match tree.winner_on_stage() {
                    Some(place) => service.servers.get(place),
                    None => self.pick_anew(service, boards, now, view),
                }
            }
            _ => self.pick_anew(service, boards, now, view),
        }
    }

    /// The same where the list or the time is another than at the last pick, keys are not exact, or the best is not on
    /// stage.
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
        let tree = &mut self.trees[service.id.0 as usize];
        if !tree.exact {
            return best(&service.servers, boards, view);
        }
        service.servers.get(tree.winner(&mut self.matches)?)
    }

    /// This worker changed its counts of a server, `counts`.
    #[inline(always)]
    pub fn counted(&mut self, boards: &Boards, counts: &ServerCounts, id: ServerId) {
        let Some(player) = self.players.get(id.0 as usize) else { return };
        match (player.key(counts), self.trees.get_mut(player.service as usize)) {
            (Some(key), Some(tree)) => tree.play(&mut self.matches, player.seat.spot, key),
            _ if player.plays() => self.reconsider(boards, id),
            _ => {}
        }
    }

    /// This worker changed the overload flag of a server, or its counts.
    #[inline(never)]
    pub fn reconsider(&mut self, boards: &Boards, id: ServerId) {
        let Some(player) = self.players.get_mut(id.0 as usize).filter(|player| player.plays()) else {
            return;
        };
        let Some(tree) = self.trees.get_mut(player.service as usize) else { return };
        let standing = standing(tree.kind, boards, id, player.weight);
        player.learn(tree.scale, tree.is_plain(), standing, boards.with_others(id));
        match tree.scale.key(standing, player.seat.place) {
            Some(key) => tree.play(&mut self.matches, player.seat.spot, key),
            None => (tree.exact, tree.exact_lately) = (false, false),
        }
    }

    /// The service's servers are not compared any more: changes of their loads are no news.
    #[cold]
    pub fn retire(&mut self, service: ServiceId) {
        let Some(tree) = self.trees.get_mut(service.0 as usize) else { return };
        let from = tree.first as usize;
        for (spots, ids) in (from..).zip(&self.ids[from..from + tree.room as usize]) {
            for (spot, id) in (spots * PLAYERS..).zip(ids) {
                // One who plays elsewhere by now stays.
                if let Some(player) =
                    self.players.get_mut(id.0 as usize).filter(|p| p.seat.spot as usize == spot)
                {
                    *player = Player::IDLE;
                }
            }
        }
        tree.serial = NO_LIST;
    }

    /// Is there a tree for the service?
    #[cfg(test)]
    pub fn keeps_up(&self, service: ServiceId) -> bool {
        self.trees[service.0 as usize].serial != NO_LIST
    }

    /// Makes the tree right for this moment. False if there is no room for it.
    fn bring_up(&mut self, service: &Service, boards: &Boards, now: Tick, view: impl View) -> bool {
        let Some(tree) = self.trees.get(service.id.0 as usize) else { return false };
        if tree.serial == service.plan.serial() {
            if tree.read != now {
                self.read_again(service, boards, now, view);
            }
            return true;
        }
        let room = matches_of(service.servers.len());
        self.retire(service.id);
        if self.trees[service.id.0 as usize].room < room && !self.reserve(service.id, room) {
            return false;
        }
        let tree = &mut self.trees[service.id.0 as usize];
        *tree = tree.for_list(service, now);
        self.build(service, boards, view);
        true
    }

    /// Takes room in the arena; empties it first if need be.
    fn reserve(&mut self, service: ServiceId, room: u32) -> bool {
        if room as usize > self.matches.len() {
            return false;
        }
        if self.used + room as usize > self.matches.len() {
            self.trees.fill(BARE);
            self.players.fill(Player::IDLE);
            self.used = 0;
        }
        let tree = &mut self.trees[service.0 as usize];
        (tree.first, tree.room) = (self.used as u32, room);
        self.used += room as usize;
        true
    }

    fn build(&mut self, service: &Service, boards: &Boards, view: impl View) {
        let tree = &mut self.trees[service.id.0 as usize];
        let reserved = tree.first as usize..(tree.first + tree.room) as usize;
        self.matches[reserved.clone()].fill(EMPTY);
        self.ids[reserved].fill([ServerId::NONE; PLAYERS]);
        for (place, server) in (0..).zip(&service.servers[..]) {
            let standing = view.of(boards, server.id, server.weight);
            let mut player = tree.player(service.id, place, server.weight);
            player.learn(tree.scale, tree.is_plain(), standing, boards.with_others(server.id));
            match tree.scale.key(standing, place) {
                Some(key) => tree.play(&mut self.matches, player.seat.spot, key),
                None => (tree.exact, tree.exact_lately) = (false, false),
            }
            if let Some(known) = self.players.get_mut(server.id.0 as usize) {
                *known = player;
                self.ids[player.seat.spot as usize / PLAYERS][player.seat.spot as usize % PLAYERS] =
                    server.id;
            }
        }
    }

    /// Learns what others changed, of the servers whose turn it is.
    fn read_again(&mut self, service: &Service, boards: &Boards, now: Tick, view: impl View) {
        let tree = &mut self.trees[service.id.0 as usize];
        let count = service.servers.len() as u32;
        let until = count.min(tree.hand + READ_AGAIN);
        for place in tree.hand..until {
            let Candidate { id, weight, .. } = service.servers[place as usize];
            let standing = view.of(boards, id, weight);
            let mut player = tree.player(service.id, place, weight);
            player.learn(tree.scale, tree.is_plain(), standing, boards.with_others(id));
            if let Some(known) = self.players.get_mut(id.0 as usize)
                && *known != player
            {
                *known = player;
            }
            let spot = player.seat.spot as usize;
            let key = tree.scale.key(standing, place);
            match key {
                Some(key) if key == self.matches[spot / PLAYERS].0[spot % PLAYERS] => {}
                Some(key) => tree.play(&mut self.matches, player.seat.spot, key),
                None => (tree.exact, tree.exact_lately) = (false, false),
            }
        }
        (tree.read, tree.hand) = (now, until);
        if until == count {
            tree.hand = 0;
            tree.exact = std::mem::replace(&mut tree.exact_lately, true);
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
