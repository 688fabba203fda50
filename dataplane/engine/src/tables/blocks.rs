//! The way to most IPv4 addresses in one load.
//!
//! The addresses are cut into 4,096 blocks (a /12 each). A director's own networks and neighbours lie in a few of them; to
//! the others, where nearly all clients are, leads one way each, as a rule that of the default route. 8 KiB of it are read,
//! which stay in the first-level cache.

use super::server::Hop;
use std::ops::RangeInclusive;

/// Bits of an address that name its block.
const BITS: u8 = 12;
const BLOCKS: usize = 1 << BITS;

/// Several ways lead into this block.
const SPLIT: u16 = u16::MAX;

/// Ways by block.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// Places of `hops`, or [`SPLIT`].
    ways: Box<[u16; BLOCKS]>,
    /// Length of the prefix that the way is of.
    lens: Box<[u8; BLOCKS]>,
    /// The first is that of addresses without a route.
    hops: Vec<Hop>,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { ways: Box::new([0; BLOCKS]), lens: Box::new([0; BLOCKS]), hops: vec![Hop::Unreachable] }
    }
}

/// The blocks in which a prefix has addresses.
fn blocks(address: u32, len: u8) -> RangeInclusive<usize> {
    let hosts = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    let block = |address: u32| (address >> (32 - BITS)) as usize;
    block(address & !hosts)..=block(address | hosts)
}

impl Blocks {
    /// There is a route to `address/len` now, of at most 32 bits; without a hop if it has several.
    pub(super) fn insert(&mut self, address: u32, len: u8, hop: Option<Hop>) {
        let way = hop.filter(|_| len <= BITS).map_or(SPLIT, |hop| self.way(hop));
        for block in blocks(address, len) {
            if way == SPLIT {
                self.ways[block] = SPLIT;
            } else if self.ways[block] != SPLIT && len >= self.lens[block] {
                (self.ways[block], self.lens[block]) = (way, len);
            }
        }
    }

    /// The place of a hop; [`SPLIT`] if there are too many different ones.
    fn way(&mut self, hop: Hop) -> u16 {
        let known = self.hops.iter().position(|known| *known == hop);
        let place = known.unwrap_or(self.hops.len());
        if known.is_none() && place < usize::from(SPLIT) {
            self.hops.push(hop);
        }
        u16::try_from(place).unwrap_or(SPLIT)
    }

    /// The only way to the block of this address; `None` if there are several.
    #[inline]
    pub(super) fn way_to(&self, address: u32) -> Option<&Hop> {
        // No hop has the place that stands for several.
        self.hops.get(usize::from(self.ways[(address >> (32 - BITS)) as usize]))
    }
}
