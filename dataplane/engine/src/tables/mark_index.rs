//! Finds the first rule that matches a packet among ten thousand, by tuple space search (Srinivasan, Suri, Varghese 1999).
//!
//! Every condition of a rule is brought into the form of a prefix: those of addresses are, ranges of ports are cut into
//! aligned blocks, and what is left open is a prefix of length 0. Rules with the same lengths share a hash map, so a packet
//! costs one probe for each combination of lengths in use, of which rule sets have few, however many rules there are.
//! Combinations are tried in the order of their first rule, and no further than a match that was found.

use super::marks::{MarkRule, Marked, Prefix};
use super::service::Family;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Bits of each condition that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lengths {
    family: Family,
    source: u8,
    destination: u8,
    sport: u8,
    dport: u8,
    protocol: bool,
    nic_port: bool,
}

/// What a packet shows under some lengths: bits that do not count are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: u128,
    destination: u128,
    sport: u16,
    dport: u16,
    protocol: u8,
    nic_port: u8,
}

/// All rules with the same lengths.
#[derive(Clone, Debug)]
struct Space {
    lengths: Lengths,
    /// The first of its rules.
    first: u32,
    /// The first rule of each key.
    rules: HashMap<Key, u32>,
}

/// The index over a list of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkIndex {
    /// In the order of their first rules.
    spaces: Vec<Space>,
}

impl MarkIndex {
    /// For rules in the order in which they count.
    pub(super) fn new(rules: &[MarkRule]) -> MarkIndex {
        let mut spaces: Vec<Space> = Vec::new();
        let mut places: HashMap<Lengths, usize> = HashMap::new();
        for (at, rule) in (0u32..).zip(rules) {
            for (sport, sport_len) in blocks(&rule.sports) {
                for (dport, dport_len) in blocks(&rule.dports) {
                    let Some((lengths, key)) = condition(rule, (sport, sport_len), (dport, dport_len)) else {
                        continue;
                    };
                    let place = *places.entry(lengths).or_insert_with(|| {
                        spaces.push(Space { lengths, first: at, rules: HashMap::new() });
                        spaces.len() - 1
                    });
                    // An earlier rule with the same conditions counts.
                    spaces[place].rules.entry(key).or_insert(at);
                }
            }
        }
        MarkIndex { spaces }
    }

    /// The number of the first rule that matches.
    pub(super) fn find(&self, packet: &Marked) -> Option<usize> {
        self.probe(packet, |_| {})
    }

    /// The same; tells `probed` of each look into a map.
    #[inline]
    fn probe(&self, packet: &Marked, mut probed: impl FnMut(&Space)) -> Option<usize> {
        let family = Family::of(&packet.dst);
        let (source, destination) = (bits(packet.src), bits(packet.dst));
        let mut best = u32::MAX;
        for space in &self.spaces {
            if space.first > best {
                break;
            }
            let lengths = &space.lengths;
            if lengths.family != family {
                continue;
            }
            probed(space);
            let key = Key {
                source: masked(source, lengths.source),
                destination: masked(destination, lengths.destination),
                sport: masked_port(packet.sport, lengths.sport),
                dport: masked_port(packet.dport, lengths.dport),
                protocol: if lengths.protocol { packet.protocol } else { 0 },
                nic_port: if lengths.nic_port { packet.nic_port.0 } else { 0 },
            };
            if let Some(at) = space.rules.get(&key) {
                best = best.min(*at);
            }
        }
        (best != u32::MAX).then_some(best as usize)
    }
}

/// A rule's conditions for one block of each port. `None`: it matches nothing.
fn condition(rule: &MarkRule, sport: (u16, u8), dport: (u16, u8)) -> Option<(Lengths, Key)> {
    let (source, source_len) = prefix(rule.source, rule.family)?;
    let (destination, destination_len) = prefix(rule.destination, rule.family)?;
    let lengths = Lengths {
        family: rule.family,
        source: source_len,
        destination: destination_len,
        sport: sport.1,
        dport: dport.1,
        protocol: rule.protocol.is_some(),
        nic_port: rule.nic_port.is_some(),
    };
    let key = Key {
        source,
        destination,
        sport: sport.0,
        dport: dport.0,
        protocol: rule.protocol.unwrap_or(0),
        nic_port: rule.nic_port.map_or(0, |nic_port| nic_port.0),
    };
    Some((lengths, key))
}

/// Addresses with their first bit highest.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first bits of an address.
#[inline]
fn masked(address: u128, len: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0)
}

/// The first bits of a port.
#[inline]
fn masked_port(l4_port: u16, len: u8) -> u16 {
    l4_port & u16::MAX.checked_shl(16 - u32::from(len.min(16))).unwrap_or(0)
}

fn prefix(prefix: Option<Prefix>, family: Family) -> Option<(u128, u8)> {
    let Some(Prefix { address, len }) = prefix else { return Some((0, 0)) };
    let width = if family == Family::V4 { 32 } else { 128 };
    let len = len.min(width);
    (Family::of(&address) == family).then(|| (masked(bits(address), len), len))
}

/// Aligned blocks that make up a range of ports: the first port of each, and the bits that it fixes. At most 30.
pub(super) fn blocks(range: &RangeInclusive<u16>) -> impl Iterator<Item = (u16, u8)> {
    let (mut next, end) = (u32::from(*range.start()), u32::from(*range.end()) + 1);
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let aligned = next.trailing_zeros().min(16);
        let fits = (end - next).ilog2();
        let free = aligned.min(fits);
        let block = (next as u16, 16 - free as u8);
        next += 1 << free;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_wire::NicPortId;

    #[test]
    fn ranges_are_cut_into_blocks() {
        let of = |range| blocks(&range).collect::<Vec<_>>();
        assert_eq!(of(0..=u16::MAX), [(0, 0)]);
        assert_eq!(of(80..=80), [(80, 16)]);
        assert_eq!(of(1000..=1009), [(1000, 13), (1008, 15)]);
        assert_eq!(of(65_535..=65_535), [(65_535, 16)]);
        #[allow(clippy::reversed_empty_ranges)]
        let nothing = of(2..=1);
        assert!(nothing.is_empty());
        assert_eq!(blocks(&(1..=65_534)).count(), 30);
    }

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u32) -> u32 {
            self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (((self.0 >> 32) * u64::from(sides)) >> 32) as u32
        }

        fn address(&mut self, family: Family) -> IpAddr {
            // Few different ones, so that rules overlap.
            let bits = self.roll(4) << 30 | self.roll(3) << 16 | self.roll(3);
            match family {
                Family::V4 => std::net::Ipv4Addr::from_bits(bits).into(),
                Family::V6 => std::net::Ipv6Addr::from_bits(u128::from(bits) << 96 | u128::from(bits)).into(),
            }
        }

        fn family(&mut self) -> Family {
            if self.roll(2) == 0 { Family::V4 } else { Family::V6 }
        }

        fn l4_ports(&mut self) -> RangeInclusive<u16> {
            let start = self.roll(50) as u16;
            match self.roll(3) {
                0 => 0..=u16::MAX,
                1 => start..=start,
                _ => start..=start + self.roll(30) as u16,
            }
        }

        fn rule(&mut self, mark: u32) -> MarkRule {
            let family = self.family();
            let prefix = |dice: &mut Dice| {
                let len = [0, 1, 8, 16, 24, 31, 32, 64, 128][dice.roll(9) as usize];
                (dice.roll(3) > 0).then(|| Prefix { address: dice.address(family), len })
            };
            MarkRule {
                family,
                source: prefix(self),
                destination: prefix(self),
                protocol: (self.roll(2) == 0).then(|| self.roll(2) as u8 * 11 + 6),
                sports: self.l4_ports(),
                dports: self.l4_ports(),
                nic_port: (self.roll(4) == 0).then(|| NicPortId(self.roll(2) as u8)),
                mark,
            }
        }

        fn packet(&mut self) -> Marked {
            let family = self.family();
            Marked {
                src: self.address(family),
                dst: self.address(family),
                protocol: self.roll(2) as u8 * 11 + 6,
                sport: self.roll(60) as u16,
                dport: self.roll(60) as u16,
                nic_port: NicPortId(self.roll(2) as u8),
            }
        }
    }

    #[test]
    fn the_index_finds_what_trying_all_rules_finds() {
        let mut dice = Dice(7);
        let mut found = 0;
        for _ in 0..300 {
            let count = 1 + dice.roll(40);
            let rules: Vec<MarkRule> = (1..=count).map(|mark| dice.rule(mark)).collect();
            let index = MarkIndex::new(&rules);
            for _ in 0..200 {
                let packet = dice.packet();
                let expected = rules.iter().position(|rule| rule.matches(&packet));
                assert_eq!(index.find(&packet), expected, "{packet:?} {rules:#?}");
                found += usize::from(expected.is_some());
            }
        }
        assert!((6_000..59_000).contains(&found), "both answers come up: {found}");
    }
    /// One rule of this many, for a network of 256 addresses and one L4 port; every third is of an address alone.
    fn rule_of_many(number: u32) -> MarkRule {
        let network =
            Prefix { address: std::net::Ipv4Addr::from_bits(0x0a00_0000 | number << 8).into(), len: 24 };
        let host =
            Prefix { address: std::net::Ipv4Addr::from_bits(0x0a00_0007 | number << 8).into(), len: 32 };
        let l4_port = 1 + (number % 60_000) as u16;
        MarkRule {
            family: Family::V4,
            source: None,
            destination: Some(if number.is_multiple_of(3) { host } else { network }),
            protocol: Some(6),
            sports: 0..=u16::MAX,
            dports: if number.is_multiple_of(3) { 0..=u16::MAX } else { l4_port..=l4_port },
            nic_port: None,
            mark: number + 1,
        }
    }

    #[test]
    fn ten_thousand_rules_cost_a_probe_for_each_combination_of_lengths() {
        let rules: Vec<MarkRule> = (0..10_000).map(rule_of_many).collect();
        let index = MarkIndex::new(&rules);
        for number in [0, 1, 2, 4_999, 9_998, 9_999] {
            let dst = std::net::Ipv4Addr::from_bits(0x0a00_0007 | number << 8).into();
            let dport = 1 + (number % 60_000) as u16;
            let src = std::net::Ipv4Addr::LOCALHOST.into();
            let packet = Marked { src, dst, protocol: 6, sport: 9, dport, nic_port: NicPortId(0) };
            for (packet, expected) in
                [(packet, Some(number as usize)), (Marked { protocol: 17, ..packet }, None)]
            {
                let mut probes = 0;
                assert_eq!(index.probe(&packet, |_| probes += 1), expected);
                assert!(probes <= 2, "{probes} probes for rule {number}");
            }
        }
    }

    #[test]
    fn a_rule_has_as_many_keys_as_it_says() {
        let mut dice = Dice(9);
        for _ in 0..200 {
            let rule = dice.rule(1);
            let index = MarkIndex::new(std::slice::from_ref(&rule));
            let made: usize = index.spaces.iter().map(|space| space.rules.len()).sum();
            // A rule that contradicts itself makes none.
            assert!(made == rule.keys() || made == 0, "{rule:?}");
        }
        assert_eq!(MarkRule { sports: 1..=65_534, dports: 1..=65_534, ..rule_of_many(1) }.keys(), 900);
    }
}
