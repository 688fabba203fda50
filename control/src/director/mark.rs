//! Rules of firewall marks, as operators write them: in the configuration and behind `shuntadm mark`.
//!
//! netfilter is not on the way of shunt's packets, so marks cannot come from iptables. Only packets that open a flow are
//! marked; the first rule that matches decides.

use super::prefix;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shunt_engine::tables::{Family, MarkRule, Prefix};
use shunt_wire::NicPortId;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Why a rule makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// 0 means "no mark".
    #[error("a mark is a number from 1 to 4294967295")]
    Zero,
    /// Source, destination and family must agree.
    #[error("source, destination and family are not of one address family")]
    Families,
    /// Bits behind the prefix.
    #[error("{0} has bits set beyond its length: write {1}")]
    HostBits(IpNet, IpNet),
    /// A name that no NIC port has.
    #[error("there is no NIC port `{0}'")]
    NicPort(String),
    /// A key of `mark add` that does not exist.
    #[error(
        "`{0}' is no part of a rule: write family, source, destination, protocol, sports, dports or nic_port"
    )]
    Key(String),
    /// A value that cannot be read.
    #[error("`{value}' is no {key}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// A key without a value.
    #[error("`{0}' needs a value")]
    Missing(String),
    /// Ranges of L4 ports are cut into aligned blocks, and all of them must fit into memory.
    #[error(
        "with this rule all rules have more than {MARK_KEYS_MAX} combinations of port blocks: write ranges that begin \
         and end at multiples of a power of two, or fewer rules"
    )]
    TooMany,
}

/// Entries of the index of all rules, at most, some 64 bytes each: a rule whose ports are single ones or all has one, a
/// rule with two ragged ranges up to 900.
pub const MARK_KEYS_MAX: usize = 1 << 20;

/// The engine's rules.
///
/// # Errors
/// The first rule that makes no sense, by its place from 0, and why.
pub(crate) fn rules_of(marks: &[Mark], nic_ports: &[String]) -> Result<Vec<MarkRule>, (usize, MarkError)> {
    let (mut rules, mut keys) = (Vec::new(), 0);
    for (index, mark) in marks.iter().enumerate() {
        let of_mark = mark.rules(nic_ports).map_err(|error| (index, error))?;
        keys += of_mark.iter().map(MarkRule::keys).sum::<usize>();
        if keys > MARK_KEYS_MAX {
            return Err((index, MarkError::TooMany));
        }
        rules.extend(of_mark);
    }
    Ok(rules)
}

/// A range of L4 ports, written `80` or `80-90`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct L4Ports(RangeInclusive<u16>);

impl FromStr for L4Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<L4Ports, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(L4Ports(first..=last)),
            _ => Err(format!("`{text}' is no L4 port and no range of them: write 80 or 80-90")),
        }
    }
}

impl TryFrom<String> for L4Ports {
    type Error = String;

    fn try_from(text: String) -> Result<L4Ports, String> {
        text.parse()
    }
}

impl From<L4Ports> for String {
    fn from(ports: L4Ports) -> String {
        ports.to_string()
    }
}

impl fmt::Display for L4Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.start() == self.0.end() {
            write!(out, "{}", self.0.start())
        } else {
            write!(out, "{}-{}", self.0.start(), self.0.end())
        }
    }
}

/// The protocols that are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const ALL: [(&'static str, Protocol, u8); 3] =
        [("tcp", Protocol::Tcp, 6), ("udp", Protocol::Udp, 17), ("sctp", Protocol::Sctp, 132)];

    fn entry(self) -> &'static (&'static str, Protocol, u8) {
        match self {
            Protocol::Tcp => &Protocol::ALL[0],
            Protocol::Udp => &Protocol::ALL[1],
            Protocol::Sctp => &Protocol::ALL[2],
        }
    }
}

/// `[[mark]]`: one rule. What is left out matches everything. Re-read on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The mark to set, not 0.
    pub mark: u32,
    /// 4 or 6; needed only if neither prefix says it and the rule is not for both.
    pub family: Option<u8>,
    /// Source prefix.
    #[serde(default, deserialize_with = "prefix::optional")]
    pub source: Option<IpNet>,
    /// Destination prefix.
    #[serde(default, deserialize_with = "prefix::optional")]
    pub destination: Option<IpNet>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Source ports.
    pub sports: Option<L4Ports>,
    /// Destination ports.
    pub dports: Option<L4Ports>,
    /// Name of the NIC port that the packet came from.
    pub nic_port: Option<String>,
}

impl Mark {
    /// From the words behind `mark add`: the mark, then pairs of key and value.
    ///
    /// # Errors
    /// [`MarkError`], also if the rule contradicts itself.
    pub fn parse(words: &[String]) -> Result<Mark, MarkError> {
        let value = |key: &'static str, value: &String| MarkError::Value { key, value: value.clone() };
        let (first, pairs) = words.split_first().ok_or(MarkError::Zero)?;
        let mut rule = Mark {
            mark: first.parse().map_err(|_| value("mark", first))?,
            family: None,
            source: None,
            destination: None,
            protocol: None,
            sports: None,
            dports: None,
            nic_port: None,
        };
        for pair in pairs.chunks(2) {
            let [key, word] = pair else { return Err(MarkError::Missing(pair[0].clone())) };
            match key.as_str() {
                "family" => rule.family = Some(word.parse().map_err(|_| value("family", word))?),
                "source" => rule.source = Some(prefix::parse(word).ok_or_else(|| value("prefix", word))?),
                "destination" => {
                    rule.destination = Some(prefix::parse(word).ok_or_else(|| value("prefix", word))?)
                }
                "protocol" => {
                    let known = Protocol::ALL.iter().find(|(name, ..)| name == word);
                    rule.protocol = Some(known.ok_or_else(|| value("protocol", word))?.1);
                }
                "sports" => rule.sports = Some(word.parse().map_err(|_| value("range of L4 ports", word))?),
                "dports" => rule.dports = Some(word.parse().map_err(|_| value("range of L4 ports", word))?),
                "nic_port" => rule.nic_port = Some(word.clone()),
                _ => return Err(MarkError::Key(key.clone())),
            }
        }
        rule.families()?;
        Ok(rule)
    }

    /// The families that it is for.
    ///
    /// # Errors
    /// [`MarkError`] if the rule contradicts itself.
    pub fn families(&self) -> Result<Vec<Family>, MarkError> {
        if self.mark == 0 {
            return Err(MarkError::Zero);
        }
        for net in [self.source, self.destination].into_iter().flatten() {
            if net != net.trunc() {
                return Err(MarkError::HostBits(net, net.trunc()));
            }
        }
        let of_net = |net: IpNet| Family::of(&net.addr());
        let written = match self.family {
            None => None,
            Some(4) => Some(Family::V4),
            Some(6) => Some(Family::V6),
            Some(_) => return Err(MarkError::Families),
        };
        let mut said = [written, self.source.map(of_net), self.destination.map(of_net)].into_iter().flatten();
        match said.next() {
            None => Ok(vec![Family::V4, Family::V6]),
            Some(family) if said.all(|other| other == family) => Ok(vec![family]),
            Some(_) => Err(MarkError::Families),
        }
    }

    /// The engine's rules: one for each family.
    ///
    /// # Errors
    /// [`MarkError`] if the rule contradicts itself or names an unknown NIC port.
    pub fn rules(&self, nic_ports: &[String]) -> Result<Vec<MarkRule>, MarkError> {
        let nic_port = match &self.nic_port {
            None => None,
            Some(name) => {
                let index = nic_ports.iter().position(|known| known == name);
                Some(NicPortId(index.ok_or_else(|| MarkError::NicPort(name.clone()))? as u8))
            }
        };
        let prefix = |net: IpNet| Prefix { address: net.addr(), len: net.prefix_len() };
        let range = |ports: &Option<L4Ports>| ports.as_ref().map_or(0..=u16::MAX, |ports| ports.0.clone());
        let rule = |family| MarkRule {
            family,
            source: self.source.map(prefix),
            destination: self.destination.map(prefix),
            protocol: self.protocol.map(|protocol| protocol.entry().2),
            sports: range(&self.sports),
            dports: range(&self.dports),
            nic_port,
            mark: self.mark,
        };
        Ok(self.families()?.into_iter().map(rule).collect())
    }
}

/// As `mark add` takes it.
impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.mark)?;
        let mut pair = |key: &str, value: Option<String>| match value {
            Some(value) => write!(out, " {key} {value}"),
            None => Ok(()),
        };
        pair("family", self.family.map(|family| family.to_string()))?;
        pair("source", self.source.map(|net| net.to_string()))?;
        pair("destination", self.destination.map(|net| net.to_string()))?;
        pair("protocol", self.protocol.map(|protocol| protocol.entry().0.to_owned()))?;
        pair("sports", self.sports.as_ref().map(ToString::to_string))?;
        pair("dports", self.dports.as_ref().map(ToString::to_string))?;
        pair("nic_port", self.nic_port.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Mark, MarkError> {
        Mark::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for line in [
            "5",
            "5 family 6",
            "7 source 192.0.2.0/24 destination 10.0.1.100/32 protocol tcp sports 1024-65535 dports 80 nic_port wan",
        ] {
            assert_eq!(parse(line).unwrap().to_string(), line);
        }
        assert_eq!(parse("7 destination 10.0.1.100").unwrap().to_string(), "7 destination 10.0.1.100/32");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(parse("0"), Err(MarkError::Zero));
        assert_eq!(parse("5 source"), Err(MarkError::Missing("source".into())));
        assert_eq!(parse("5 source 10.0.0.0/8 destination fd00::/8"), Err(MarkError::Families));
        assert_eq!(parse("5 family 5"), Err(MarkError::Families));
        for line in
            ["x", "5 source 10.0.0.1/8", "5 dports 9-8", "5 dports 65536", "5 protocol icmp", "5 colour red"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_rule_without_a_family_is_for_both() {
        let names = ["wan".to_owned(), "lan".to_owned()];
        let rules = parse("5 protocol udp nic_port lan").unwrap().rules(&names).unwrap();
        assert_eq!(rules.iter().map(|rule| rule.family).collect::<Vec<_>>(), [Family::V4, Family::V6]);
        assert!(rules.iter().all(|rule| rule.nic_port == Some(NicPortId(1)) && rule.protocol == Some(17)));
        assert_eq!(parse("5 nic_port x").unwrap().rules(&names), Err(MarkError::NicPort("x".into())));
    }
}
