//! The director's own addresses. Each new flow asks whether its source is one of them, and the answer is no.

use crate::conn::Address;
use crate::tables::Family;
use hashbrown::HashSet;
use std::net::IpAddr;

/// Bits of the filter: with 50 addresses it lets one stranger of 20 through to the set.
const BITS: u32 = 10;

/// A set, behind a filter of one bit for each address in it, which answers for nearly all strangers.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalAddresses {
    filter: [u64; (1 << BITS) / 64],
    addresses: HashSet<IpAddr>,
}

/// The word and the bit of an address. Whoever aims at one of them gets the set's answer, no other.
#[inline(always)]
fn place<A: Address>(address: A) -> (usize, u32) {
    const GOLDEN: u32 = 0x9e37_79b1;
    let bits = address.bits();
    let word = match A::FAMILY {
        Family::V4 => bits as u32,
        Family::V6 => (bits ^ bits >> 32 ^ bits >> 64 ^ bits >> 96) as u32,
    };
    let bit = word.wrapping_mul(GOLDEN) >> (32 - BITS);
    ((bit / 64) as usize, bit % 64)
}

impl LocalAddresses {
    #[inline(always)]
    pub(super) fn contains<A: Address>(&self, address: A) -> bool {
        let (word, bit) = place(address);
        self.filter[word] >> bit & 1 != 0 && self.is_listed(&address.ip())
    }

    #[inline(never)]
    fn is_listed(&self, address: &IpAddr) -> bool {
        self.addresses.contains(address)
    }
}

impl From<HashSet<IpAddr>> for LocalAddresses {
    fn from(addresses: HashSet<IpAddr>) -> LocalAddresses {
        let mut filter = [0; (1 << BITS) / 64];
        for address in &addresses {
            let (word, bit) = match address {
                IpAddr::V4(address) => place(address.to_bits()),
                IpAddr::V6(address) => place(address.to_bits()),
            };
            filter[word] |= 1 << bit;
        }
        LocalAddresses { filter, addresses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_set_does() {
        bolero::check!().with_type::<(Vec<IpAddr>, Vec<IpAddr>)>().for_each(|(own, others)| {
            let set: HashSet<IpAddr> = own.iter().copied().collect();
            let local = LocalAddresses::from(set.clone());
            for address in own.iter().chain(others) {
                let contains = match address {
                    IpAddr::V4(address) => local.contains(address.to_bits()),
                    IpAddr::V6(address) => local.contains(address.to_bits()),
                };
                assert_eq!(contains, set.contains(address));
            }
        });
    }

    #[test]
    fn the_filter_answers_for_nearly_all_strangers() {
        let own: HashSet<IpAddr> = (0..50u8).map(|n| IpAddr::from([10, 0, 2, n])).collect();
        let local = LocalAddresses::from(own);
        let strangers = (0..100_000u32).map(|n| place(0x3000_0000 + n * 77));
        let through = strangers.filter(|&(word, bit)| local.filter[word] >> bit & 1 != 0);
        assert!(through.count() < 7_000);
    }
}
