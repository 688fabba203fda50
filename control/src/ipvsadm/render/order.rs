//! The order of lists (spec `cli.md` §12.6).
//!
//! ipvsadm compares marks and addresses by the sign of their 32-bit difference. That is no order (it is not
//! transitive), so the result depends on the sorting algorithm as well: a merge sort that halves from the top.
//! Rust's own sort may panic on such a comparison.

use shunt_engine::tables::{Family, Server, Service, ServiceKey};
use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

/// A merge sort: halves first, the left one the smaller; equals keep their order.
fn merge_sort<T: Copy>(items: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) {
    if items.len() < 2 {
        return;
    }
    let middle = items.len() / 2;
    merge_sort(&mut items[..middle], compare);
    merge_sort(&mut items[middle..], compare);
    let left = items[..middle].to_vec();
    let (mut from_left, mut from_right) = (0, middle);
    for place in 0..items.len() {
        if from_left == left.len() {
            break;
        }
        let take_right = from_right < items.len() && compare(&left[from_left], &items[from_right]).is_gt();
        if take_right {
            items[place] = items[from_right];
            from_right += 1;
        } else {
            items[place] = left[from_left];
            from_left += 1;
        }
    }
}

/// By the sign of the difference.
fn by_difference(left: u32, right: u32) -> Ordering {
    (left.wrapping_sub(right) as i32).cmp(&0)
}

/// The words of an address; an IPv4 address has one.
fn words(address: &IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
        }
    }
}

/// Compares by all words if the left one is IPv6, by the first otherwise.
fn by_address(left: &IpAddr, right: &IpAddr) -> Ordering {
    let count = if left.is_ipv6() { 4 } else { 1 };
    let pairs = words(left).into_iter().zip(words(right)).take(count);
    pairs.fold(Ordering::Equal, |order, (left, right)| order.then_with(|| by_difference(left, right)))
}

/// Mark, family, protocol, address, port.
struct Place {
    mark: u32,
    family: Family,
    protocol: u8,
    vaddr: IpAddr,
    vport: u16,
}

impl Place {
    fn of(key: &ServiceKey) -> Place {
        const TCP: u8 = 6;
        match *key {
            ServiceKey::Address { protocol, vaddr, vport } => {
                Place { mark: 0, family: Family::of(&vaddr), protocol, vaddr, vport }
            }
            ServiceKey::Fwmark { family, mark } => {
                let vaddr = std::net::Ipv4Addr::UNSPECIFIED.into();
                Place { mark, family, protocol: TCP, vaddr, vport: 0 }
            }
        }
    }

    fn compare(&self, other: &Place) -> Ordering {
        by_difference(self.mark, other.mark)
            .then_with(|| self.family.cmp(&other.family))
            .then_with(|| self.protocol.cmp(&other.protocol))
            .then_with(|| by_address(&self.vaddr, &other.vaddr))
            .then_with(|| self.vport.cmp(&other.vport))
    }
}

/// Puts services into the order of lists.
pub(super) fn sort_services(services: &mut [&Arc<Service>]) {
    merge_sort(services, &|left: &&Arc<Service>, right: &&Arc<Service>| {
        Place::of(&left.key).compare(&Place::of(&right.key))
    });
}

/// Puts servers into the order of lists.
pub(super) fn sort_servers(servers: &mut [&Server]) {
    merge_sort(servers, &|left: &&Server, right: &&Server| {
        by_address(&left.daddr, &right.daddr).then_with(|| left.dport.cmp(&right.dport))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(addresses: &[&str]) -> Vec<String> {
        let mut addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        merge_sort(&mut addresses, &by_address);
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn addresses_by_the_sign_of_the_difference() {
        assert_eq!(sorted(&["10.0.0.1", "1.2.3.4", "192.168.0.1"]), ["192.168.0.1", "1.2.3.4", "10.0.0.1"]);
        assert_eq!(sorted(&["2001:db8::1", "::1", "fe80::"]), ["fe80::", "::1", "2001:db8::1"]);
        assert_eq!(sorted(&["10.0.0.2", "10.0.0.1"]), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(by_difference(u32::MAX, 0), Ordering::Less);
    }

    #[test]
    fn sorts_like_a_stable_sort_where_there_is_an_order() {
        let mut numbers: Vec<(u32, usize)> =
            (0..1000_u32).map(|index| (index.wrapping_mul(7919) % 97, index as usize)).collect();
        let mut expected = numbers.clone();
        expected.sort_by_key(|(key, _)| *key);
        merge_sort(&mut numbers, &|left: &(u32, usize), right: &(u32, usize)| left.0.cmp(&right.0));
        assert_eq!(numbers, expected);
    }
}
