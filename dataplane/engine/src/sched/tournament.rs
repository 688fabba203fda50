//! The best of a thousand servers without looking at a thousand servers.
//!
//! A worker keeps a knock-out tournament per service: a binary tree over the list, in which each node knows the
//! better of its two halves, of equals the earlier. A pick reads the root. When a server's load changes its path to the
//! root is played again. The answer is the one that a scan of the list gives, to the tie.
//!
//! A worker knows what it changed itself ([`Tournaments::mark`]) and plays that again at the next pick. What others
//! changed it cannot know: so at the first pick of every tick (1 ms) it reads the loads of the next [`READ_AGAIN`] servers
//! again, in turn. That bounds the lag (1 ms for 64 servers, 16 ms for 1,000, of a service that is busy) and the cost.
//!
//! Trees lie in an arena that is taken at construction. They are only caches: if the arena is full, all are forgotten
//! and built again as services ask for them.

use super::ranking::{Standing, best};
use crate::board::Boards;
use crate::tables::{Candidate, ServerId, Service};
use crate::tick::Tick;

/// Smaller services are scanned. With 10 servers a scan already takes 600 instructions, the tree 370.
const SERVERS_MIN: usize = 4;

/// Servers whose loads are read again in a tick, as other workers may have changed them.
const READ_AGAIN: u32 = 64;

/// A leaf that is on no list of changes, and the end of such a list.
const UNCHANGED: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

/// A server in the tree. 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    cost: u64,
    weight: i32,
    /// The next on the list of changes.
    next: u32,
}

const EMPTY: Leaf = Leaf { cost: 0, weight: 0, next: UNCHANGED };

impl Leaf {
    fn standing(self) -> Standing {
        Standing { cost: self.cost, weight: self.weight }
    }
}

/// One service's tree.
#[derive(Clone, Copy, Debug)]
struct Tree {
    /// Which list it was built for, and in which life of the arena.
    serial: u64,
    life: u64,
    /// When loads were read again, and up to where.
    read: Tick,
    hand: u32,
    /// Where it lies in the arena.
    first: u32,
    /// Leaves reserved there, a power of two.
    room: u32,
    /// Leaves in use, a power of two.
    size: u32,
    /// First of the list of changes.
    changes: u32,
}

/// Where a server is. Possibly out of date: then a change of it is noted at another server, which does no harm.
#[derive(Clone, Copy, Debug)]
struct Place {
    service: u32,
    place: u32,
}

/// The trees of one worker.
#[derive(Debug, Default)]
pub struct Tournaments {
    leaves: Box<[Leaf]>,
    /// Inner nodes, numbered as in a heap: 1 is the root, 2k and 2k + 1 are below k. Each holds a place of the list.
    winners: Box<[u32]>,
    used: usize,
    life: u64,
    trees: Box<[Tree]>,
    places: Box<[Place]>,
}

impl Tournaments {
    /// Memory for services and servers with ids below these: 48 bytes each.
    pub fn new(services_max: usize, servers_max: usize) -> Tournaments {
        // Rounding each service up to a power of two at most doubles the sum.
        let leaves = servers_max * 2;
        let tree =
            Tree { serial: 0, life: 0, read: Tick(0), hand: 0, first: 0, room: 0, size: 0, changes: END };
        Tournaments {
            leaves: vec![EMPTY; leaves].into(),
            winners: vec![0; leaves].into(),
            used: 0,
            life: 1,
            trees: vec![tree; services_max].into(),
            places: vec![Place { service: u32::MAX, place: 0 }; servers_max].into(),
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
        let servers = &service.servers[..];
        if servers.len() < SERVERS_MIN || !self.bring_up(service, boards, now, &standing) {
            return best(servers, boards, standing);
        }
        let tree = self.trees[service.id.0 as usize];
        let place = self.winner(&tree, 1);
        let is_out = self.leaves[(tree.first + place) as usize].weight == 0;
        if is_out { None } else { servers.get(place as usize) }
    }

    /// This worker changed a count or the overload flag of a server.
    pub fn mark(&mut self, id: ServerId) {
        let Some(&Place { service, place }) = self.places.get(id.0 as usize) else { return };
        let Some(tree) = self.trees.get_mut(service as usize) else { return };
        if tree.life != self.life || place >= tree.size {
            return;
        }
        let leaf = &mut self.leaves[(tree.first + place) as usize];
        if leaf.next == UNCHANGED {
            leaf.next = std::mem::replace(&mut tree.changes, place);
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
        let Some(&tree) = self.trees.get(service.id.0 as usize) else { return false };
        if tree.life == self.life && tree.serial == service.plan.serial() {
            self.replay_changes(service, boards, &standing);
            if tree.read != now {
                self.read_again(service, boards, now, &standing);
            }
            return true;
        }
        let size = service.servers.len().next_power_of_two() as u32;
        if (tree.life != self.life || tree.room < size) && !self.reserve(service.id.0 as usize, size) {
            return false;
        }
        let tree = &mut self.trees[service.id.0 as usize];
        *tree = Tree { serial: service.plan.serial(), read: now, hand: 0, size, changes: END, ..*tree };
        self.build(service, boards, standing);
        true
    }

    /// Takes room in the arena; empties it first if need be.
    fn reserve(&mut self, service: usize, size: u32) -> bool {
        let room = size as usize;
        if room > self.leaves.len() {
            return false;
        }
        if self.used + room > self.leaves.len() {
            (self.used, self.life) = (0, self.life + 1);
        }
        let tree = &mut self.trees[service];
        (tree.first, tree.room, tree.life) = (self.used as u32, size, self.life);
        self.used += room;
        true
    }

    fn build(
        &mut self,
        service: &Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let tree = self.trees[service.id.0 as usize];
        let first = tree.first as usize;
        for (place, leaf) in self.leaves[first..first + tree.size as usize].iter_mut().enumerate() {
            *leaf = EMPTY;
            let Some(server) = service.servers.get(place) else { continue };
            let Standing { cost, weight } = standing(boards, server);
            *leaf = Leaf { cost, weight, ..EMPTY };
            if let Some(known) = self.places.get_mut(server.id.0 as usize) {
                *known = Place { service: service.id.0, place: place as u32 };
            }
        }
        for node in (1..tree.size).rev() {
            self.play(&tree, node);
        }
    }

    /// Plays again what changed since the last pick.
    fn replay_changes(
        &mut self,
        service: &Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let tree = self.trees[service.id.0 as usize];
        let mut place = std::mem::replace(&mut self.trees[service.id.0 as usize].changes, END);
        while place != END {
            let leaf = &mut self.leaves[(tree.first + place) as usize];
            let next = std::mem::replace(&mut leaf.next, UNCHANGED);
            let after = service.servers.get(place as usize);
            self.update(&tree, place, after.map_or(Standing::OUT, |server| standing(boards, server)));
            place = next;
        }
    }

    /// Plays again what others changed, for the servers whose turn it is.
    #[inline(never)]
    fn read_again(
        &mut self,
        service: &Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let count = service.servers.len() as u32;
        let tree = self.trees[service.id.0 as usize];
        let until = count.min(tree.hand + READ_AGAIN);
        for place in tree.hand..until {
            self.update(&tree, place, standing(boards, &service.servers[place as usize]));
        }
        let tree = &mut self.trees[service.id.0 as usize];
        (tree.read, tree.hand) = (now, if until < count { until } else { 0 });
    }

    /// A server stands like this now.
    fn update(&mut self, tree: &Tree, place: u32, standing: Standing) {
        let leaf = &mut self.leaves[(tree.first + place) as usize];
        if leaf.standing() != standing {
            (leaf.cost, leaf.weight) = (standing.cost, standing.weight);
            self.replay(tree, place);
        }
    }

    /// Plays the way from a leaf to the root again. Who wins cannot be predicted, so nothing here branches on it.
    fn replay(&mut self, tree: &Tree, place: u32) {
        let (first, size) = (tree.first as usize, tree.size as usize);
        let leaves = &self.leaves[first..first + size];
        let winners = &mut self.winners[first..first + size];
        let mut best = (place, leaves[place as usize].standing());
        let mut rival = place ^ 1;
        let mut node = size + place as usize;
        while node > 1 {
            let other = (rival, leaves[rival as usize].standing());
            // Of equals the left one wins: from the right, an equal loses.
            let from_the_right = u128::from(node as u32 & 1);
            let lost = other.1.cost_against(best.1) < best.1.cost_against(other.1) + from_the_right;
            best = if lost { other } else { best };
            node /= 2;
            winners[node] = best.0;
            // At the root this reads node 0, which is nobody's.
            rival = winners[node ^ 1];
        }
    }

    /// Lets the winners below a node play against each other.
    fn play(&mut self, tree: &Tree, node: u32) -> u32 {
        let [left, right] = [node * 2, node * 2 + 1].map(|below| self.winner(tree, below));
        let standing = |place: u32| self.leaves[(tree.first + place) as usize].standing();
        let winner = if standing(right).beats(standing(left)) { right } else { left };
        self.winners[(tree.first + node) as usize] = winner;
        winner
    }

    /// The place of the list that won at this node.
    fn winner(&self, tree: &Tree, node: u32) -> u32 {
        if node >= tree.size { node - tree.size } else { self.winners[(tree.first + node) as usize] }
    }
}
