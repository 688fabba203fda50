//! Routes of several next hops: which destination goes which way.
//!
//! The kernel's default spreads by source and destination address (`fib_multipath_hash_policy` 0). Here the destination
//! alone decides: then all packets to a real server or to a client go one way, and control can tell which. Each next hop
//! gets its weight's share of the destinations (`ip-route(8)`).

use super::server::Hop;
use std::net::IpAddr;

/// Next hops and their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread(Box<[(Hop, u32)]>);

impl Spread {
    pub(super) fn new(hops: &[(Hop, u32)]) -> Spread {
        Spread(hops.into())
    }

    pub(super) fn hop(&self, address: IpAddr) -> Hop {
        let chosen = chosen_next_hop(address, self.0.iter().map(|(_, weight)| *weight));
        self.0.get(chosen).map_or(Hop::Unreachable, |(hop, _)| *hop)
    }
}

/// Whose share a destination is, of those with these weights; the last one's if all weights are 0.
pub fn chosen_next_hop(address: IpAddr, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut at = ((u128::from(mixed(address)) * u128::from(total)) >> 64) as u64;
    let mut last = 0;
    for (nth, weight) in weights.enumerate() {
        last = nth;
        match at.checked_sub(weight.into()) {
            Some(rest) => at = rest,
            None => break,
        }
    }
    last
}

/// Bits of an address mixed so that neighbours lie far apart.
fn mixed(address: IpAddr) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(GOLDEN);
    match address {
        IpAddr::V4(address) => step(0, address.to_bits().into()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            step(step(0, (bits >> 64) as u64), bits as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn destinations_are_shared_by_weight() {
        let v4 = (0..10_000).map(|n| IpAddr::from(Ipv4Addr::from_bits(0xc633_6400 + n)));
        let v6 = (0..10_000).map(|n| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64 | 1)));
        for addresses in [v4.collect::<Vec<_>>(), v6.collect()] {
            let mut shares = [0; 3];
            for address in addresses {
                shares[chosen_next_hop(address, [1, 0, 3].into_iter())] += 1;
            }
            assert!((2300..2700).contains(&shares[0]) && shares[1] == 0, "{shares:?}");
        }
    }

    #[test]
    fn there_may_be_nothing_to_share() {
        let address = [192, 0, 2, 1].into();
        assert_eq!(chosen_next_hop(address, std::iter::empty()), 0);
        assert_eq!(chosen_next_hop(address, [0, 0].into_iter()), 1);
        assert_eq!(
            chosen_next_hop(address, [u32::MAX; 4].into_iter()).min(3),
            chosen_next_hop(address, [1; 4].into_iter())
        );
        assert_eq!(Spread::new(&[]).hop(address), Hop::Unreachable);
    }
}
