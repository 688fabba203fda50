//! Longest prefix match from an address to its [`Hop`].
//!
//! Replies of NAT leave towards clients, and clients are anywhere. The table mirrors the kernel's routes with its
//! neighbours folded in as host routes, so one lookup yields the link-layer address.

use super::blocks::Blocks;
use super::server::Hop;
use hashbrown::HashMap;
use std::net::IpAddr;

/// One family: a map for each prefix length in use, longest first. Directors hold a few lengths, so a lookup is a few
/// probes of small maps.
#[derive(Clone, Debug)]
struct Lengths<A> {
    maps: Vec<(u8, HashMap<A, Hop>)>,
}

impl<A> Default for Lengths<A> {
    fn default() -> Self {
        Lengths { maps: Vec::new() }
    }
}

/// Keeps the first `len` bits.
trait Prefix: Copy + Eq + std::hash::Hash {
    fn masked(self, len: u8) -> Self;
}

impl Prefix for u32 {
    fn masked(self, len: u8) -> u32 {
        self & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }
}

impl Prefix for u128 {
    fn masked(self, len: u8) -> u128 {
        self & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
    }
}

impl<A: Prefix> Lengths<A> {
    fn insert(&mut self, address: A, len: u8, hop: Hop) {
        let place = match self.maps.binary_search_by(|(have, _)| len.cmp(have)) {
            Ok(place) => place,
            Err(place) => {
                self.maps.insert(place, (len, HashMap::new()));
                place
            }
        };
        self.maps[place].1.insert(address.masked(len), hop);
    }

    #[inline(never)]
    fn lookup(&self, address: A) -> Hop {
        self.maps
            .iter()
            .find_map(|(len, map)| map.get(&address.masked(*len)).copied())
            .unwrap_or(Hop::Unreachable)
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
                self.blocks.insert(address.to_bits(), len.min(32), hop);
                self.v4.insert(address.to_bits(), len.min(32), hop);
            }
            IpAddr::V6(address) => self.v6.insert(address.to_bits(), len.min(128), hop),
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
