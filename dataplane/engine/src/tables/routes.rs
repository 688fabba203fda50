//! Longest prefix match from an address to its [`Hop`].
//!
//! Replies of NAT leave towards clients, and clients are anywhere. The table mirrors the kernel's routes with its
//! neighbours folded in as host routes, so one lookup yields the link-layer address.

use super::blocks::Blocks;
use super::server::Hop;
use super::spread::Spread;
use hashbrown::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a prefix leads.
#[derive(Clone, Debug)]
enum Way {
    One(Hop),
    Several(Spread),
}

/// One family: a map for each prefix length in use, longest first. Directors hold a few lengths, so a lookup is a few
/// probes of small maps.
#[derive(Clone, Debug)]
struct Lengths<A> {
    maps: Vec<(u8, HashMap<A, Way>)>,
}

impl<A> Default for Lengths<A> {
    fn default() -> Self {
        Lengths { maps: Vec::new() }
    }
}

trait Prefix: Copy + Eq + std::hash::Hash {
    /// Keeps the first `len` bits.
    fn masked(self, len: u8) -> Self;

    fn address(self) -> IpAddr;
}

impl Prefix for u32 {
    fn address(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }

    fn masked(self, len: u8) -> u32 {
        self & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }
}

impl Prefix for u128 {
    fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }

    fn masked(self, len: u8) -> u128 {
        self & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }
}

impl<A: Prefix> Lengths<A> {
    fn insert(&mut self, address: A, len: u8, way: Way) {
        let place = match self.maps.binary_search_by(|(have, _)| len.cmp(have)) {
            Ok(place) => place,
            Err(place) => {
                self.maps.insert(place, (len, HashMap::new()));
                place
            }
        };
        self.maps[place].1.insert(address.masked(len), way);
    }

    #[inline(never)]
    fn lookup(&self, address: A) -> Hop {
        match self.maps.iter().find_map(|(len, map)| map.get(&address.masked(*len))) {
            Some(Way::One(hop)) => *hop,
            Some(Way::Several(spread)) => spread.hop(address.address()),
            None => Hop::Unreachable,
        }
    }
}

/// Routes of both families.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    blocks: Blocks,
    v4: Lengths<u32>,
    v6: Lengths<u128>,
}

impl Routes {
    /// Adds or replaces the route to `address/len`. A length beyond the family's is taken as its longest.
    pub fn insert(&mut self, address: IpAddr, len: u8, hop: Hop) {
        match address {
            IpAddr::V4(address) => {
                self.blocks.insert(address.to_bits(), len.min(32), Some(hop));
                self.v4.insert(address.to_bits(), len.min(32), Way::One(hop));
            }
            IpAddr::V6(address) => self.v6.insert(address.to_bits(), len.min(128), Way::One(hop)),
        }
    }

    /// The same for a route of several next hops, each with its weight: [`chosen_next_hop`](super::chosen_next_hop) tells which is
    /// for which address.
    pub fn insert_several(&mut self, address: IpAddr, len: u8, hops: &[(Hop, u32)]) {
        let way = Way::Several(Spread::new(hops));
        match address {
            IpAddr::V4(address) => {
                self.blocks.insert(address.to_bits(), len.min(32), None);
                self.v4.insert(address.to_bits(), len.min(32), way);
            }
            IpAddr::V6(address) => self.v6.insert(address.to_bits(), len.min(128), way),
        }
    }

    /// The way to `address`.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Hop {
        match address {
            IpAddr::V4(address) => self.lookup_v4(address.to_bits()),
            IpAddr::V6(address) => self.lookup_v6(address.to_bits()),
        }
    }

    /// The way to an IPv4 address in host order.
    #[inline]
    #[must_use]
    pub fn lookup_v4(&self, address: u32) -> Hop {
        match self.blocks.way_to(address) {
            Some(hop) => *hop,
            None => self.v4.lookup(address),
        }
    }

    /// The way to an IPv6 address in host order.
    #[must_use]
    pub fn lookup_v6(&self, address: u128) -> Hop {
        self.v6.lookup(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut routes = Routes::default();
        assert_eq!(routes.lookup([10, 0, 0, 1].into()), Hop::Unreachable);
        routes.insert([0, 0, 0, 0].into(), 0, Hop::Unresolved);
        routes.insert([10, 0, 0, 99].into(), 24, Hop::Local);
        routes.insert([10, 0, 0, 7].into(), 32, Hop::Unreachable);
        assert_eq!(routes.lookup([192, 0, 2, 1].into()), Hop::Unresolved);
        assert_eq!(routes.lookup([10, 0, 0, 1].into()), Hop::Local);
        assert_eq!(routes.lookup([10, 0, 0, 7].into()), Hop::Unreachable);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        routes.insert("2001:db8::".parse().unwrap(), 32, Hop::Local);
        assert_eq!(routes.lookup(v6), Hop::Local);
    }

    #[test]
    fn several_next_hops_share_a_prefix() {
        const HOPS: [(Hop, u32); 2] = [(Hop::Local, 1), (Hop::Unresolved, 1)];
        let mut routes = Routes::default();
        routes.insert([10, 0, 0, 0].into(), 8, Hop::Unreachable);
        routes.insert_several([0, 0, 0, 0].into(), 0, &HOPS);
        routes.insert_several("2001:db8::".parse().unwrap(), 32, &HOPS);
        for n in 0..100 {
            for address in [IpAddr::from([192, 0, 2, n]), format!("2001:db8::{n}").parse().unwrap()] {
                let weights = HOPS.iter().map(|(_, weight)| *weight);
                assert_eq!(routes.lookup(address), HOPS[super::super::chosen_next_hop(address, weights)].0);
            }
            assert_eq!(routes.lookup([10, 0, 0, n].into()), Hop::Unreachable);
        }
        routes.insert([0, 0, 0, 0].into(), 0, Hop::Local);
        assert_eq!(routes.lookup([192, 0, 2, 1].into()), Hop::Local);
    }

    /// Routes come in any order, and one for the same prefix replaces another: the blocks answer as the maps do.
    #[test]
    fn blocks_answer_as_the_maps_do() {
        const HOPS: [Hop; 3] = [Hop::Local, Hop::Unresolved, Hop::Unreachable];
        bolero::check!().with_type::<Vec<(u32, u8, u8)>>().for_each(|inserted| {
            let mut routes = Routes::default();
            let mut addresses = vec![0, u32::MAX];
            for &(address, len, hop) in inserted {
                let len = len % 33;
                routes.insert(std::net::Ipv4Addr::from_bits(address).into(), len, HOPS[usize::from(hop) % 3]);
                let hosts = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                let (first, last) = (address & !hosts, address | hosts);
                addresses.extend([address, first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
            }
            for address in addresses {
                assert_eq!(
                    routes.lookup_v4(address),
                    routes.v4.lookup(address),
                    "{address:#x} of {inserted:?}"
                );
            }
        });
    }
}
