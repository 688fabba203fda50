//! `iptables -t mangle` rules that set marks, as rules of the snapshot. Anything that they cannot say is refused with
//! the reason.

use shunt_engine::tables::{Family, MarkRule, Prefix};
use shunt_wire::NicPortId;
use std::ops::RangeInclusive;

const ANY_PORT: RangeInclusive<u16> = 0..=u16::MAX;

/// What a command does with the list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `-A`: these rules, which differ in their ports only, come last.
    Append(Vec<MarkRule>),
    /// `-I`: they come first.
    Insert(Vec<MarkRule>),
    /// `-D`: they go.
    Delete(Vec<MarkRule>),
    /// `-F`.
    Flush,
}

/// Reads the words behind the program's name. `nic_port` knows the names of NIC ports.
///
/// # Errors
/// What there is no counterpart for.
pub fn parse(
    family: Family,
    words: &[&str],
    nic_port: impl Fn(&str) -> Option<NicPortId>,
) -> Result<Change, String> {
    let mut rule = MarkRule {
        family,
        source: None,
        destination: None,
        protocol: None,
        sports: ANY_PORT,
        dports: ANY_PORT,
        nic_port: None,
        mark: 0,
    };
    let (mut sports, mut dports) = (vec![ANY_PORT], vec![ANY_PORT]);
    let (mut target, mut change): (_, fn(Vec<MarkRule>) -> Change) = ("", Change::Append);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        if word == "-F" {
            return Ok(Change::Flush);
        }
        let value = words.next().ok_or_else(|| format!("`{word}' without a value"))?;
        let wrong = || format!("`{word} {value}' has no counterpart");
        match (word, value) {
            ("-t", "mangle") | ("-A", "PREROUTING") | ("-m", _) => {}
            ("-I", "PREROUTING") => change = Change::Insert,
            ("-D", "PREROUTING") => change = Change::Delete,
            ("-j", _) => target = value,
            ("-p", _) => rule.protocol = Some(protocol(value).ok_or_else(wrong)?),
            ("-s", _) => rule.source = Some(prefix(value).ok_or_else(wrong)?),
            ("-d", _) => rule.destination = Some(prefix(value).ok_or_else(wrong)?),
            ("-i", _) => rule.nic_port = Some(nic_port(value).ok_or_else(wrong)?),
            ("--sport" | "--sports", _) => sports = ranges(value).ok_or_else(wrong)?,
            ("--dport" | "--dports", _) => dports = ranges(value).ok_or_else(wrong)?,
            ("--set-mark" | "--set-xmark", _) => rule.mark = mark(value).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
    }
    if target != "MARK" {
        return Err(format!("target `{target}' has no counterpart"));
    }
    let mut rules = Vec::new();
    for sports in &sports {
        for dports in &dports {
            rules.push(MarkRule { sports: sports.clone(), dports: dports.clone(), ..rule.clone() });
        }
    }
    Ok(change(rules))
}

fn protocol(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        "icmp" => Some(1),
        number => number.parse().ok(),
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len.parse().ok()?)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().ok()?;
    Some(Prefix { address, len: len.unwrap_or(if address.is_ipv4() { 32 } else { 128 }) })
}

fn ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').map(range).collect()
}

fn mark(text: &str) -> Option<u32> {
    const ALL_BITS: &str = "0xffffffff";
    let number = match text.split_once('/') {
        Some((number, mask)) if mask.eq_ignore_ascii_case(ALL_BITS) => number,
        Some(_) => return None,
        None => text,
    };
    match number.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Change, String> {
        let words: Vec<&str> = line.split(' ').collect();
        parse(Family::V4, &words, |name| (name == "eth0").then_some(NicPortId(0)))
    }

    #[test]
    fn rules() {
        let line = "-t mangle -A PREROUTING -i eth0 -p tcp -d 10.0.1.0/24 -m multiport --dports 80,443:444 -j MARK --set-mark 0x5";
        let Ok(Change::Append(rules)) = read(line) else { panic!("{line}") };
        assert_eq!((rules.len(), rules[0].mark, rules[0].protocol), (2, 5, Some(6)));
        assert_eq!((rules[0].dports.clone(), rules[1].dports.clone()), (80..=80, 443..=444));
        assert_eq!(rules[0].destination, Some(Prefix { address: [10, 0, 1, 0].into(), len: 24 }));
        assert_eq!(read("-t mangle -F"), Ok(Change::Flush));
        let rule = "PREROUTING -p udp -j MARK --set-mark 1";
        let (one, other) = (read(&format!("-t mangle -I {rule}")), read(&format!("-t mangle -D {rule}")));
        assert!(matches!((one, other), (Ok(Change::Insert(one)), Ok(Change::Delete(other))) if one == other));
    }

    #[test]
    fn without_counterpart() {
        for line in [
            "-t nat -A PREROUTING -j MARK --set-mark 1",
            "-t mangle -A PREROUTING -j DROP",
            "-A INPUT -j MARK",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
