//! A map from prefixes to values with longest prefix match, for both families.

use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// One family's prefixes by length.
type Lengths<T> = BTreeMap<u8, HashMap<IpNet, T>>;

/// Longest prefix match for control: also tells what it holds. (The engine's own table is made from it.)
#[derive(Clone, Debug)]
pub(super) struct Prefixes<T> {
    v4: Lengths<T>,
    v6: Lengths<T>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Prefixes { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

impl<T> Prefixes<T> {
    /// Adds or replaces.
    pub fn insert(&mut self, prefix: IpNet, value: T) {
        let lengths = if prefix.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        lengths.entry(prefix.prefix_len()).or_default().insert(prefix.trunc(), value);
    }

    pub fn contains(&self, prefix: &IpNet) -> bool {
        let lengths = if prefix.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.get(&prefix.prefix_len()).is_some_and(|map| map.contains_key(&prefix.trunc()))
    }

    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().rev().find_map(|(len, map)| map.get(&IpNet::new_assert(address, *len).trunc()))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&IpNet, &mut T)> {
        self.v4.values_mut().chain(self.v6.values_mut()).flatten()
    }
}

/// The prefix of one address.
pub(super) fn host(address: IpAddr) -> IpNet {
    address.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_in_its_family() {
        let mut prefixes = Prefixes::default();
        for (prefix, value) in [("0.0.0.0/0", 0), ("10.0.0.0/8", 8), ("10.1.0.0/16", 16), ("::/0", 60)] {
            prefixes.insert(prefix.parse().unwrap(), value);
        }
        prefixes.insert(host("10.1.2.3".parse().unwrap()), 32);
        let lookup = |address: &str| prefixes.lookup(address.parse().unwrap()).copied();
        assert_eq!(lookup("192.0.2.1"), Some(0));
        assert_eq!(lookup("10.2.0.1"), Some(8));
        assert_eq!(lookup("10.1.2.4"), Some(16));
        assert_eq!(lookup("10.1.2.3"), Some(32));
        assert_eq!(lookup("2001:db8::1"), Some(60));
        assert!(prefixes.contains(&"10.0.0.0/8".parse().unwrap()));
        assert!(!prefixes.contains(&"10.0.0.0/9".parse().unwrap()));
        assert_eq!(prefixes.iter_mut().count(), 5);
    }
}
