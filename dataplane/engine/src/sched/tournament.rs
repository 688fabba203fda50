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

/// Smaller services are scanned. With 10 servers a scan already takes 600 instructions, the tree 290.
const SERVERS_MIN: usize = 4;

/// Servers whose loads are read again in a tick, as other workers may have changed them.
const READ_AGAIN: u32 = 64;

/// A leaf that is on no list of changes, and the end of such a list.
const UNCHANGED: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

/// Costs and weights beyond these are not told apart exactly.
const COST_END: u64 = 1 << 36;
const WEIGHT_MAX: i32 = 1 << 16;

/// The key of a server that is not to be chosen: greater than that of any other, and not the greatest number there is.
const OUT: u64 = u64::MAX - 1;

/// A node of a tree: who won here. 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The bits of a float that is not negative: they are in the order of the numbers.
    key: u64,
    /// Place of the list.
    place: u32,
    /// Leaves: the next on the list of changes.
    next: u32,
}

const EMPTY: Node = Node { key: OUT, place: 0, next: UNCHANGED };

/// What is compared. `None` if it would not be exact.
fn key(standing: Standing) -> Option<u64> {
    if standing == Standing::OUT {
        return Some(OUT);
    }
    let exact = standing.cost < COST_END && standing.weight <= WEIGHT_MAX;
    exact.then(|| (standing.cost as f64 / f64::from(standing.weight)).to_bits())
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
    /// Are all keys exact?
    exact: bool,
    /// Where it lies in the arena; twice as many nodes as leaves. Numbered as in a heap: 1 is the root, 2k and 2k + 1 are
    /// below k.
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
    nodes: Box<[Node]>,
    used: usize,
    life: u64,
    trees: Box<[Tree]>,
    places: Box<[Place]>,
}

impl Tournaments {
    /// Memory for services and servers with ids below these: 56 and 72 bytes each.
    pub fn new(services_max: usize, servers_max: usize) -> Tournaments {
        let tree = Tree {
            serial: 0,
            life: 0,
            read: Tick(0),
            hand: 0,
            exact: true,
            first: 0,
            room: 0,
            size: 0,
            changes: END,
        };
        Tournaments {
            // Rounding each service up to a power of two at most doubles the sum.
            nodes: vec![EMPTY; servers_max * 4].into(),
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
        let root = self.nodes[self.trees[service.id.0 as usize].first as usize + 1];
        if root.key == OUT { None } else { servers.get(root.place as usize) }
    }

    /// This worker changed a count or the overload flag of a server.
    pub fn mark(&mut self, id: ServerId) {
        let Some(&Place { service, place }) = self.places.get(id.0 as usize) else { return };
        let Some(tree) = self.trees.get_mut(service as usize) else { return };
        if tree.life != self.life || place >= tree.size {
            return;
        }
        let leaf = &mut self.nodes[(tree.first + tree.size + place) as usize];
        if leaf.next == UNCHANGED {
            leaf.next = std::mem::replace(&mut tree.changes, place);
        }
    }

    /// Makes the tree right for this moment. False if there is no room for it, or if it would not be exact.
    fn bring_up(
        &mut self,
        service: &Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) -> bool {
        let Some(tree) = self.trees.get_mut(service.id.0 as usize) else { return false };
        if tree.life == self.life && tree.serial == service.plan.serial() {
            tree.replay_changes(&mut self.nodes, service, boards, &standing);
            if tree.read != now {
                tree.read_again(&mut self.nodes, service, boards, now, &standing);
            }
            return tree.exact;
        }
        let size = service.servers.len().next_power_of_two() as u32;
        if (tree.life != self.life || tree.room < size) && !self.reserve(service.id.0 as usize, size) {
            return false;
        }
        let tree = &mut self.trees[service.id.0 as usize];
        *tree = Tree {
            serial: service.plan.serial(),
            read: now,
            hand: 0,
            exact: true,
            size,
            changes: END,
            ..*tree
        };
        self.build(service, boards, standing);
        self.trees[service.id.0 as usize].exact
    }

    /// Takes room in the arena; empties it first if need be.
    fn reserve(&mut self, service: usize, size: u32) -> bool {
        let room = size as usize * 2;
        if room > self.nodes.len() {
            return false;
        }
        if self.used + room > self.nodes.len() {
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
        let Tree { first, size, .. } = self.trees[service.id.0 as usize];
        let nodes = &mut self.nodes[first as usize..(first + size * 2) as usize];
        let (inner, leaves) = nodes.split_at_mut(size as usize);
        let mut exact = true;
        for (place, leaf) in (0..).zip(leaves.iter_mut()) {
            *leaf = Node { place, ..EMPTY };
            let Some(server) = service.servers.get(place as usize) else { continue };
            let key = key(standing(boards, server));
            exact &= key.is_some();
            leaf.key = key.unwrap_or(OUT);
            if let Some(known) = self.places.get_mut(server.id.0 as usize) {
                *known = Place { service: service.id.0, place };
            }
        }
        for node in (1..size as usize).rev() {
            let below = |side: usize| -> Node {
                let child = node * 2 + side;
                if child < inner.len() { inner[child] } else { leaves[child - inner.len()] }
            };
            let [left, right] = [below(0), below(1)];
            inner[node] = if right.key < left.key { right } else { left };
        }
        self.trees[service.id.0 as usize].exact = exact;
    }
}

impl Tree {
    /// Its part of the arena.
    #[inline]
    fn nodes<'a>(&self, nodes: &'a mut [Node]) -> &'a mut [Node] {
        &mut nodes[self.first as usize..(self.first + self.size * 2) as usize]
    }

    /// Plays again what changed since the last pick.
    #[inline]
    fn replay_changes(
        &mut self,
        nodes: &mut [Node],
        service: &Service,
        boards: &Boards,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let nodes = self.nodes(nodes);
        let mut place = std::mem::replace(&mut self.changes, END);
        while place != END {
            let next = std::mem::replace(&mut nodes[(self.size + place) as usize].next, UNCHANGED);
            if let Some(server) = service.servers.get(place as usize) {
                self.exact &= update(nodes, place, standing(boards, server));
            }
            place = next;
        }
    }

    /// Plays again what others changed, for the servers whose turn it is.
    #[inline(never)]
    fn read_again(
        &mut self,
        nodes: &mut [Node],
        service: &Service,
        boards: &Boards,
        now: Tick,
        standing: impl Fn(&Boards, &Candidate) -> Standing,
    ) {
        let nodes = self.nodes(nodes);
        let count = service.servers.len() as u32;
        let until = count.min(self.hand + READ_AGAIN);
        for place in self.hand..until {
            self.exact &= update(nodes, place, standing(boards, &service.servers[place as usize]));
        }
        (self.read, self.hand) = (now, if until < count { until } else { 0 });
    }
}

/// A server stands like this now: plays the way from its leaf to the root of a tree again. Who wins cannot be predicted, so
/// nothing on the way branches on it. False, and nothing is changed, if the key would not be exact.
#[inline]
fn update(nodes: &mut [Node], place: u32, standing: Standing) -> bool {
    let Some(key) = key(standing) else { return false };
    let mut node = nodes.len() / 2 + place as usize;
    if nodes[node].key == key {
        return true;
    }
    nodes[node].key = key;
    let mut best = (key, place);
    while node > 1 {
        let rival = nodes[node ^ 1];
        // Of equals the left one wins: from the right, an equal loses.
        let lost = rival.key < best.0 + (node & 1) as u64;
        best = select_unpredictable(lost, (rival.key, rival.place), best);
        node /= 2;
        (nodes[node].key, nodes[node].place) = best;
    }
    true
}
