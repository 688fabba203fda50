//! Firewall marks: rules that give packets of new flows a number, by which fwmark services are found.
//!
//! Only packets without a connection are marked, so rules cost established flows nothing.

use super::mark_index::{self, MarkIndex};
use super::service::Family;
use shunt_wire::NicPortId;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Network address.
    pub address: IpAddr,
    /// Bits that count.
    pub len: u8,
}

impl Prefix {
    #[cfg(test)]
    fn contains(&self, address: &IpAddr) -> bool {
        let equal = |one: u128, other: u128, width: u8| {
            let ignored = u32::from(width.saturating_sub(self.len));
            (one ^ other).checked_shr(ignored).unwrap_or(0) == 0
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => equal(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => equal(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// One rule; what is `None` matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRule {
    /// Family of the packets.
    pub family: Family,
    /// Source prefix.
    pub source: Option<Prefix>,
    /// Destination prefix.
    pub destination: Option<Prefix>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source ports, host order.
    pub sports: RangeInclusive<u16>,
    /// Destination ports, host order.
    pub dports: RangeInclusive<u16>,
    /// NIC port that the packet came from.
    pub nic_port: Option<NicPortId>,
    /// The mark to set; 0 = none.
    pub mark: u32,
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// NIC port.
    pub nic_port: NicPortId,
}

impl MarkRule {
    /// How many entries of the index the rule takes, some 64 bytes each: one for each aligned block of source ports with
    /// each of destination ports. 1 to 900; single ports and all ports are one block.
    #[must_use]
    pub fn keys(&self) -> usize {
        mark_index::blocks(&self.sports).count() * mark_index::blocks(&self.dports).count()
    }
}

#[cfg(test)]
impl MarkRule {
    /// What a rule means, word for word: the index must find the same.
    pub(super) fn matches(&self, packet: &Marked) -> bool {
        self.family == Family::of(&packet.dst)
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && self.dports.contains(&packet.dport)
            && self.sports.contains(&packet.sport)
            && self.nic_port.is_none_or(|nic_port| nic_port == packet.nic_port)
            && self.destination.is_none_or(|prefix| prefix.contains(&packet.dst))
            && self.source.is_none_or(|prefix| prefix.contains(&packet.src))
    }
}

/// All rules, in order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    rules: Vec<MarkRule>,
    index: MarkIndex,
}

impl Marks {
    /// From an ordered list.
    #[must_use]
    pub fn new(rules: Vec<MarkRule>) -> Marks {
        Marks { index: MarkIndex::new(&rules), rules }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[MarkRule] {
        &self.rules
    }

    /// Are there none?
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The mark of a packet; 0 = none.
    #[must_use]
    pub fn mark_of(&self, packet: &Marked) -> u32 {
        self.index.find(packet).map_or(0, |at| self.rules[at].mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |destination: Option<Prefix>, dports, mark| MarkRule {
            family: Family::V4,
            source: None,
            destination,
            protocol: Some(6),
            sports: 0..=u16::MAX,
            dports,
            nic_port: None,
            mark,
        };
        let net = Prefix { address: [10, 0, 1, 0].into(), len: 24 };
        let marks = Marks::new(vec![rule(Some(net), 80..=90, 1), rule(None, 80..=80, 2)]);
        let packet = |dst: [u8; 4], dport| Marked {
            src: [192, 0, 2, 1].into(),
            dst: dst.into(),
            protocol: 6,
            sport: 4000,
            dport,
            nic_port: NicPortId(0),
        };
        assert_eq!(marks.mark_of(&packet([10, 0, 1, 9], 80)), 1);
        assert_eq!(marks.mark_of(&packet([10, 0, 1, 9], 91)), 0);
        assert_eq!(marks.mark_of(&packet([10, 0, 2, 9], 80)), 2);
    }
}
