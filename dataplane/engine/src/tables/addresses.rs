//! Sets of addresses that count, cut into shared shards: a change copies one shard, not 200,000 addresses.

use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Shards: each of 200,000 addresses holds about 800, a copy of some 10 µs.
const SHARDS: usize = 256;

/// How many records name each address. Cheap to clone and to change in one place.
#[derive(Clone, Debug)]
pub(super) struct AddressCounts {
    shards: Vec<Arc<HashMap<IpAddr, u32>>>,
}

impl Default for AddressCounts {
    fn default() -> Self {
        AddressCounts { shards: vec![Arc::default(); SHARDS] }
    }
}

/// An address in 32 bits.
pub(super) fn fold(address: &IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits ^ (bits >> 32) ^ (bits >> 64) ^ (bits >> 96)) as u32
        }
    }
}

fn shard(address: &IpAddr) -> usize {
    // The top bits of the product depend on all bits of the address.
    (fold(address).wrapping_mul(0x9E37_79B1) >> 24) as usize % SHARDS
}

impl AddressCounts {
    /// Does any record name the address?
    pub(super) fn contains(&self, address: &IpAddr) -> bool {
        self.shards[shard(address)].contains_key(address)
    }

    /// One record more names the address, or one less.
    pub(super) fn count(&mut self, address: IpAddr, added: bool) {
        let shard = Arc::make_mut(&mut self.shards[shard(&address)]);
        let count = shard.entry(address).or_insert(0);
        *count = if added { *count + 1 } else { *count - 1 };
        if *count == 0 {
            shard.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares() {
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut first = AddressCounts::default();
        (0..10_000).for_each(|number| first.count(address(number), true));
        first.count(address(7), true);
        let second = first.clone();
        first.count(address(7), false);
        first.count(address(8), false);
        assert!(first.contains(&address(7)) && !first.contains(&address(8)) && second.contains(&address(8)));
        let shared = first.shards.iter().zip(&second.shards).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert!(shared.count() >= SHARDS - 2, "what did not change is shared");
        let fullest = second.shards.iter().map(|shard| shard.len()).max().unwrap();
        assert!(fullest < 200, "addresses in a row spread: {fullest} in one shard of 40 on average");
        first.count("2001:db8::1".parse().unwrap(), true);
        assert!(first.contains(&"2001:db8::1".parse().unwrap()));
    }
}
