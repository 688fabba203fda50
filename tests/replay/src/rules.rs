//! When a frame or an answer counts as the recorded one: every rule of the comparison, with its reason.
//!
//! 1. **Volatile bytes.** Bytes that differed between two recordings of the same case are not compared.
//! 2. **IP identification of new headers**, and the header checksum over it: the kernel takes it from a generator with
//!    a random seed; any sequence is as good. The checksum must still be right.
//! 3. **GUE source port**, and the UDP checksum over it: a hash of the flow with a random seed. The port must lie in
//!    the kernel's range, and the checksum must be right where there is one.
//! 4. **Padding.** Frames of the wire are padded to 60 bytes, recorded output is not: compared up to the IP length.
//! 5. **Order between NIC ports** within one step is an accident of the recording. Within one port it counts.
//! 6. **Order of connection lists** follows a hash with a random seed: compared as sets.
//!    So are the services in `/proc/net/ip_vs` and in lists with `--nosort`.
//! 7. **Expiry** in connection lists may differ by 1 s: it is a truncated number, and a clock tick lies between.
//! 8. **Timer slack.** The kernel's long timers are up to 12.5 % late: an entry shown with 0 s left may be gone here, and
//!    is counted by its server for that time. Ours are late by 0.13 s at most: likewise the other way round.
//! 9. **Templates that live on in steps of 60 s**, because connections still use them, begin each step late by that slack,
//!    and what they are late by adds up.
//! 10. **Which of several synchronisation sockets** a connection is told by follows addresses in the kernel's memory:
//!     messages to different ports are compared by the sum of their records.
//! 11. **Commands without a counterpart** are named, not compared.
//! 12. **Flow label** of what the director itself says in IPv6 (ICMP errors, resets): the kernel's is a hash with a random
//!     seed. That of a tunnel is compared: it is 0.
//! 13. **Identification of IPv6 fragments**: the kernel makes a random one; ours is the sender's. See
//!     `docs/DIFFERENCES.md`.
//! 14. **Pointer of "unrecognized next header"**, and the checksum over it: the kernel's stack, not IPVS, says 6 or, if
//!     netfilter looked at the packet before, 40.
//! 15. **Picks by chance** (`twos`): any that two random draws can lead to is as good as the recorded one, so the engine's
//!     random numbers are chosen such that it follows. If no draws lead to it, that is a difference. See [`crate::chance`].
//! 16. **Reports of datagrams that did not become complete** come when the kernel's timer fires, up to 12.5 % later than
//!     ours: they are compared with the recorded ones of the next 8 s.

use crate::case::Sent;
use crate::describe::describe;
use crate::ip::{self, ETHERNET_LEN, Ip, protocol};
use crate::kernel::Emitted;
use crate::sync;
use crate::topology::Topology;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Rule 2: was the outermost IP header made by the director, rather than received? Of a packet that passes, NAT changes
/// one address, never both, and neither the protocol nor, by a whole header, the length.
/// An empty `before`: nothing was received, so it was made.
#[must_use]
pub fn header_is_new(before: &[u8], after: &[u8]) -> bool {
    let read = |frame: &[u8]| Ip::read(frame.get(ETHERNET_LEN..)?);
    if before.is_empty() {
        return true;
    }
    let (Some(before), Some(after)) = (read(before), read(after)) else { return false };
    let grown = after.protocol != protocol::TCP && !before.fragment && after.len >= before.len + ip::IPV4_LEN;
    before.protocol != after.protocol || before.src != after.src && before.dst != after.dst || grown
}

/// Compares the frames of one step. `None`: they are the recorded ones.
#[must_use]
pub fn frames_differ(topology: &Topology, expected: &[Sent], got: &[Emitted]) -> Option<(String, String)> {
    let want = sync::told_by_several(expected.iter().map(|sent| &sent.frame.0[..]));
    let have = sync::told_by_several(got.iter().map(|sent| &sent.frame[..]));
    if let (Some(want), Some(have)) = (want, have) {
        return (want != have).then(|| (want.join(", "), have.join(", ")));
    }
    let mut names: Vec<&str> = expected.iter().map(|sent| sent.nic_port.as_str()).collect();
    names.extend(got.iter().map(|sent| topology.name_of(sent.nic_port)));
    names.sort_unstable();
    names.dedup();
    for name in names {
        let expected: Vec<&Sent> = expected.iter().filter(|sent| sent.nic_port == name).collect();
        let got: Vec<&Emitted> = got.iter().filter(|sent| topology.name_of(sent.nic_port) == name).collect();
        let pairs = expected.iter().zip(&got);
        let first = pairs.clone().position(|(expected, got)| frame_differs(expected, got).is_some());
        let (from, hint) = match first {
            Some(nth) => (nth, frame_differs(expected[nth], got[nth]).unwrap_or_default()),
            None if expected.len() != got.len() => (pairs.len(), String::new()),
            None => continue,
        };
        let list = |mut texts: Vec<String>| match texts.len() {
            0 => format!("{name}: nothing"),
            1 => format!("{name} {}", texts.remove(0)),
            more => format!("{name} {} (and {} more)", texts.remove(0), more - 1),
        };
        let expected = expected[from..].iter().map(|sent| describe(&sent.frame.0)).collect();
        let got = got[from..].iter().map(|sent| describe(&sent.frame)).collect();
        return Some((list(expected), format!("{}{hint}", list(got))));
    }
    None
}

/// Rule 16: how much later than ours a recorded report may come.
pub const REPORT_SLACK_MS: u64 = 8_000;

/// Rule 16: does a frame report that fragments are missing ("reassembly time exceeded")?
#[must_use]
pub fn reports_missing_fragments(frame: &[u8]) -> bool {
    let Some(ip) = frame.get(ETHERNET_LEN..).and_then(Ip::read) else { return false };
    let message = frame.get(ETHERNET_LEN + ip.header_len..).unwrap_or_default();
    match ip.protocol {
        protocol::ICMP => message.starts_with(&[11, 1]),
        protocol::ICMPV6 => message.starts_with(&[3, 1]),
        _ => false,
    }
}

/// The difference of two frames, if there is one.
pub(crate) fn frame_differs(expected: &Sent, got: &Emitted) -> Option<String> {
    let (want, have) = (unpadded(&expected.frame.0), unpadded(&got.frame));
    if want.len() != have.len() {
        return Some(format!(" [{} bytes instead of {}]", have.len(), want.len()));
    }
    let mut ignored = expected.volatile.clone();
    ignored.extend(fragment_id_bytes(want));
    if got.made {
        ignored.extend(new_header_bytes(want));
        if let Some(complaint) = new_header_is_wrong(have) {
            return Some(complaint);
        }
    }
    let differs = |at: &usize| want[*at] != have[*at] && !ignored.contains(at);
    let places: Vec<String> = (0..want.len())
        .filter(differs)
        .map(|at| format!("{at}: {:02x} instead of {:02x}", have[at], want[at]))
        .collect();
    (!places.is_empty()).then(|| format!(" [byte {}]", shortened(&places)))
}

fn shortened(places: &[String]) -> String {
    const SHOWN: usize = 6;
    let more =
        if places.len() > SHOWN { format!(", and {} more", places.len() - SHOWN) } else { String::new() };
    format!("{}{more}", places[..places.len().min(SHOWN)].join(", "))
}

/// Rule 4.
fn unpadded(frame: &[u8]) -> &[u8] {
    let packet = frame.get(ETHERNET_LEN..).unwrap_or_default();
    match Ip::read(packet) {
        Some(ip) => &frame[..ETHERNET_LEN + ip.len],
        None => frame,
    }
}

/// Rule 13.
fn fragment_id_bytes(frame: &[u8]) -> Vec<usize> {
    const ID_IN_HEADER: std::ops::Range<usize> = 4..8;
    const HEADER_LEN: usize = 8;
    match Ip::read(frame.get(ETHERNET_LEN..).unwrap_or_default()) {
        Some(ip) if ip.src.is_ipv6() && ip.fragment => {
            let at = ETHERNET_LEN + ip.header_len - HEADER_LEN;
            ID_IN_HEADER.map(|byte| at + byte).collect()
        }
        _ => Vec::new(),
    }
}

/// Rules 2, 3, 12 and 14: where a header of the director's own may differ.
fn new_header_bytes(frame: &[u8]) -> Vec<usize> {
    const IPV4_ID_AND_CHECKSUM: [usize; 4] = [18, 19, 24, 25];
    let Some(ip) = Ip::read(&frame[ETHERNET_LEN..]) else { return Vec::new() };
    let mut places = Vec::new();
    // With DF set the kernel writes 0, and so do we.
    if ip.src.is_ipv4() && !ip.dont_fragment {
        places.extend(IPV4_ID_AND_CHECKSUM);
    }
    // Rule 14.
    const UNKNOWN_NEXT_HEADER: [u8; 2] = [4, 1];
    let message = ETHERNET_LEN + ip.header_len;
    if ip.protocol == protocol::ICMPV6 && frame[message..].starts_with(&UNKNOWN_NEXT_HEADER) {
        places.extend((2..8).map(|at| message + at));
    }
    if ip.src.is_ipv6() && [protocol::ICMPV6, protocol::TCP].contains(&ip.protocol) {
        // Its upper four bits are the traffic class, which is 0 or, in resets, compared in the byte before.
        places.extend([15, 16, 17]);
    }
    if let Some(udp) = gue_header(frame, &ip) {
        places.extend([udp, udp + 1]);
        if frame[udp + 6..udp + 8] != [0, 0] {
            places.extend([udp + 6, udp + 7]);
        }
    }
    places
}

/// Where the UDP header of a packet lies that the director made: those are tunnels.
fn gue_header(frame: &[u8], ip: &Ip) -> Option<usize> {
    let udp = ETHERNET_LEN + ip.header_len;
    (ip.protocol == protocol::UDP && !ip.is_later_fragment && frame.len() >= udp + 8).then_some(udp)
}

fn new_header_is_wrong(frame: &[u8]) -> Option<String> {
    /// The kernel's `ip_local_port_range`; its upper end is never produced (spec `forwarding.md` §5.4).
    const SPORTS: std::ops::Range<u16> = 32_768..60_999;
    let Some(ip) = Ip::read(&frame[ETHERNET_LEN..]) else {
        return Some(" [a broken IP header]".to_owned());
    };
    let udp = gue_header(frame, &ip)?;
    let sport = u16::from_be_bytes([frame[udp], frame[udp + 1]]);
    if !SPORTS.contains(&sport) {
        return Some(format!(" [GUE source port {sport}]"));
    }
    let unchecked = ip.fragment || frame[udp + 6..udp + 8] == [0, 0];
    (!unchecked && !ip.checksum_is_right(&frame[udp..])).then(|| " [wrong UDP checksum]".to_owned())
}

/// A connection list: its title, and its lines without the expiry, each with the seconds left.
struct List {
    title: Vec<String>,
    lines: BTreeMap<String, Vec<u64>>,
}

impl List {
    /// Reads the output of `ipvsadm -L -c` or of a file of connections. `None`: it is something else.
    fn read(text: &str) -> Option<List> {
        let title_len = if text.starts_with("IPVS connection entries\n") {
            2
        } else if text.starts_with("Pro FromIP ") {
            1
        } else {
            return None;
        };
        let title: Vec<String> = text.lines().take(title_len).map(str::to_owned).collect();
        let expiry_at = if title_len == 2 {
            1
        } else {
            title[0].split_whitespace().position(|word| word == "Expires")?
        };
        let mut lines: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in text.lines().skip(title_len) {
            let (line, seconds) = without_word(line, expiry_at)?;
            lines.entry(line).or_default().push(seconds);
        }
        lines.values_mut().for_each(|seconds| seconds.sort_unstable());
        Some(List { title, lines })
    }
}

/// Takes the nth word, which tells a time, out of a line.
fn without_word(line: &str, nth: usize) -> Option<(String, u64)> {
    let mut rest = line;
    for _ in 0..nth {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    let rest = rest.trim_start();
    let before = line[..line.len() - rest.len()].trim_end();
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let seconds = match word.split_once(':') {
        Some((minutes, seconds)) => minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?,
        None => word.parse().ok()?,
    };
    Some((format!("{before} {}", after.trim_start()), seconds))
}

/// Compares two connection lists, so long after the beginning, by rules 6 to 9. `None`: they are no such lists;
/// `Some(None)`: they agree.
#[must_use]
pub fn lists_differ(expected: &str, got: &str, elapsed_s: u64) -> Option<Option<(String, String)>> {
    let (want, have) = (List::read(expected)?, List::read(got)?);
    if want.title != have.title {
        return Some(Some((want.title.join(" / "), have.title.join(" / "))));
    }
    let mut keys: Vec<&String> = want.lines.keys().chain(have.lines.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let none = Vec::new();
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    for key in keys {
        let (want, have) = (want.lines.get(key).unwrap_or(&none), have.lines.get(key).unwrap_or(&none));
        let close =
            want.len() == have.len() && want.iter().zip(have).all(|(one, other)| one.abs_diff(*other) <= 1);
        if close {
            continue;
        }
        if is_template(key)
            && want.len() == have.len()
            && want.iter().zip(have).all(|(one, other)| renewed(*one, *other, elapsed_s))
        {
            continue;
        }
        // Rule 8.
        if have.is_empty() && want.iter().all(|seconds| *seconds == 0)
            || want.is_empty() && have.iter().all(|seconds| *seconds == 0)
        {
            continue;
        }
        missing.extend(want.iter().map(|seconds| format!("{key} ({seconds} s)")));
        extra.extend(have.iter().map(|seconds| format!("{key} ({seconds} s)")));
    }
    if missing.is_empty() && extra.is_empty() {
        return Some(None);
    }
    let list =
        |lines: &[String]| if lines.is_empty() { "no such entry".to_owned() } else { shortened(lines) };
    Some(Some((list(&missing), list(&extra))))
}

/// Templates have no client port.
fn is_template(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = |at: usize| words.get(at).is_some_and(|state| ["NONE", "ASSURED"].contains(state));
    let cport = |at: usize, end: &str| words.get(at).is_some_and(|source| source.ends_with(end));
    state(1) && cport(2, ":0") || state(7) && cport(2, "0000")
}

/// Rule 9: does the kernel's template lag behind ours in its steps of 60 s?
fn renewed(want: u64, have: u64, elapsed_s: u64) -> bool {
    const STEP: u64 = 60;
    let steps = (elapsed_s / STEP).max(1);
    let slack = steps * STEP / 8 + 1;
    let lag = if want == 0 { STEP.saturating_sub(have) } else { want.saturating_sub(have) };
    have <= STEP && want <= STEP && lag <= slack && (want == 0 || want >= have)
}

/// Rule 6: do two lists show the same services, each with its servers, in whatever order?
#[must_use]
pub fn same_services(expected: &str, got: &str) -> bool {
    let blocks = |text: &str| {
        let mut blocks: Vec<String> = Vec::new();
        for line in text.lines() {
            match blocks.last_mut() {
                Some(block) if line.starts_with("  ->") => block.push_str(line),
                _ => blocks.push(line.to_owned()),
            }
        }
        blocks.sort_unstable();
        blocks
    };
    expected.starts_with("IP Virtual Server") && blocks(expected) == blocks(got)
}

/// Rule 8: do two lists of services differ only in that the recorded one still counts connections of a server that
/// `late` tells the number of?
#[must_use]
pub fn counts_of_late(expected: &str, got: &str, late: impl Fn(IpAddr, u16) -> u64) -> bool {
    let is_list = expected.contains("ActiveConn InActConn") && !expected.contains("PersistConn");
    let same = |(want, have): (&str, &str)| {
        let (Some(one), Some(other)) = (counts(want), counts(have)) else { return want == have };
        let Ok(server) = one.server.parse::<std::net::SocketAddr>() else { return want == have };
        let more = one.active + one.inactive;
        let range =
            other.active + other.inactive..=other.active + other.inactive + late(server.ip(), server.port());
        one.server == other.server
            && one.before == other.before
            && one.active >= other.active
            && range.contains(&more)
    };
    is_list && expected.lines().count() == got.lines().count() && expected.lines().zip(got.lines()).all(same)
}

/// The line of a server in a list of services.
struct Counts<'a> {
    server: &'a str,
    before: Vec<&'a str>,
    active: u64,
    inactive: u64,
}

fn counts(line: &str) -> Option<Counts<'_>> {
    let mut words: Vec<&str> = line.strip_prefix("  -> ")?.split_whitespace().collect();
    let inactive = words.pop()?.parse().ok()?;
    let active = words.pop()?.parse().ok()?;
    Some(Counts { server: words.first()?, before: words, active, inactive })
}

/// Compares two texts. Names the first line that differs.
#[must_use]
pub fn texts_differ(expected: &str, got: &str) -> Option<(String, String)> {
    if expected == got {
        return None;
    }
    let (mut want, mut have) = (expected.lines(), got.lines());
    loop {
        match (want.next(), have.next()) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return Some((format!("{expected:?}"), format!("{got:?}"))),
            (one, other) => {
                let quoted =
                    |line: Option<&str>| line.map_or("no more lines".to_owned(), |line| format!("{line:?}"));
                return Some((quoted(one), quoted(other)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Bytes;
    use shunt_wire::NicPortId;
    use shunt_wire::craft::Craft;

    fn differ(expected: &[u8], got: &[u8], made: bool, volatile: &[usize]) -> bool {
        let expected = Sent {
            t: 0.0,
            nic_port: "eth0".into(),
            frame: Bytes(expected.into()),
            volatile: volatile.into(),
            desc: String::new(),
        };
        let got = Emitted { nic_port: NicPortId(0), frame: got.into(), made };
        frames_differ(&Topology::recorded(), &[expected], &[got]).is_some()
    }

    fn datagram(id: u16) -> Craft {
        Craft::v4([10, 0, 2, 1].into(), [10, 0, 2, 11].into()).udp(40_000, 6080).id(id)
    }

    #[test]
    fn volatile_bytes_and_padding() {
        let (one, mut other) = (datagram(7).frame(), datagram(7).padded_frame());
        assert!(other.len() > one.len() && !differ(&one, &other, false, &[]));
        other[41] ^= 1;
        assert!(differ(&one, &other, false, &[]));
        assert!(!differ(&one, &other, false, &[41]));
    }

    #[test]
    fn identification_of_new_headers() {
        let (one, other) = (datagram(7).frame(), datagram(8).frame());
        assert!(differ(&one, &other, false, &[]), "a packet that passes keeps its identification");
        assert!(!differ(&one, &other, true, &[]));
        let mut broken = other.clone();
        broken[25] ^= 1;
        assert!(differ(&one, &broken, true, &[]));
        assert!(differ(
            &datagram(0).dont_fragment().frame(),
            &datagram(8).dont_fragment().frame(),
            true,
            &[]
        ));
    }

    #[test]
    fn source_ports_of_tunnels() {
        let gue = |sport| Craft::v4([10, 0, 2, 1].into(), [10, 0, 2, 11].into()).udp(sport, 6080).frame();
        assert!(!differ(&gue(40_000), &gue(50_000), true, &[]));
        assert!(differ(&gue(40_000), &gue(50_000), false, &[]));
        assert!(differ(&gue(40_000), &gue(1024), true, &[]));
        assert!(differ(&gue(40_000), &gue(60_999), true, &[]));
    }

    #[test]
    fn new_headers() {
        let inner = datagram(9);
        let tunnelled = Craft::v4([10, 0, 2, 1].into(), [10, 0, 2, 12].into()).ipip(&inner);
        assert!(header_is_new(&inner.frame(), &tunnelled.frame()));
        let translated = Craft::v4([10, 0, 2, 1].into(), [10, 0, 2, 12].into()).udp(40_000, 6080).id(9);
        assert!(!header_is_new(&inner.frame(), &translated.padded_frame()));
        assert!(header_is_new(&inner.frame(), &datagram(9).reversed().padded_frame()), "an answer");
    }

    const TITLE: &str =
        "IPVS connection entries\npro expire state       source             virtual            destination\n";

    fn lists(expected: &str, got: &str) -> Option<Option<(String, String)>> {
        lists_differ(&format!("{TITLE}{expected}"), &format!("{TITLE}{got}"), 0)
    }

    #[test]
    fn connection_lists() {
        let line = |expiry: &str, cport: u16| {
            format!("TCP {expiry}  SYN_RECV    192.0.2.9:{cport} 10.0.1.100:80 10.0.2.11:80\n")
        };
        let both = |one: String, other: String| one + &other;
        let (first, second) = (line("00:59", 1), line("00:07", 2));
        assert_eq!(
            lists(&both(first.clone(), second.clone()), &both(second.clone(), first.clone())),
            Some(None)
        );
        assert_eq!(lists(&first, &line("01:00", 1)), Some(None));
        assert!(lists(&first, &line("01:01", 1)).unwrap().is_some());
        assert!(lists(&first, "").unwrap().is_some());
        assert_eq!((lists(&line("00:00", 1), ""), lists("", &line("00:00", 1))), (Some(None), Some(None)));
        let template =
            |expiry: &str| format!("TCP {expiry}  ASSURED     192.0.2.0:0 10.0.1.100:80 10.0.2.11:80\n");
        assert_eq!(lists(&template("00:00"), &template("00:58")), Some(None), "not renewed yet");
        assert_eq!(lists(&template("00:41"), &template("00:38")), Some(None));
        assert!(lists(&template("00:38"), &template("00:41")).unwrap().is_some());
        let later = |elapsed_s| {
            let list = |expiry| format!("{TITLE}{}", template(expiry));
            lists_differ(&list("00:50"), &list("00:38"), elapsed_s).unwrap()
        };
        assert!(later(100).is_some() && later(130).is_none(), "two steps may be late by 16 s");
        assert!(lists(&template("00:00"), &template("00:38")).unwrap().is_some());
        assert_eq!(lists_differ("IP Virtual Server\n", "IP Virtual Server\n", 0), None);
        let file = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n";
        let entry = "TCP C0000209 9920 0A000164 0050 0A00020B 0050 SYN_RECV         59\n";
        let (want, have) = (format!("{file}{entry}"), format!("{file}{}", entry.replace("59", "58")));
        assert_eq!(lists_differ(&want, &have, 0), Some(None));
        assert!(lists_differ(&want, &have.replace("SYN_RECV", "CLOSE   "), 0).unwrap().is_some());
    }

    #[test]
    fn services_in_any_order() {
        let list = |services: &[&str]| format!("IP Virtual Server\n{}", services.concat());
        let (one, other) = ("TCP 1:80\n  -> a\n  -> b\n", "TCP 2:80\n  -> c\n");
        assert!(same_services(&list(&[one, other]), &list(&[other, one])));
        assert!(!same_services(
            &list(&[one, other]),
            &list(&["TCP 1:80\n  -> a\n", "TCP 2:80\n  -> b\n  -> c\n"])
        ));
        assert!(!same_services("a\nb\n", "b\na\n"), "other texts have an order");
    }

    #[test]
    fn texts() {
        assert_eq!(texts_differ("a\nb\n", "a\nb\n"), None);
        assert_eq!(texts_differ("a\nb\n", "a\nc\n"), Some(("\"b\"".into(), "\"c\"".into())));
        let list = |active: u64, inactive: u64| {
            format!("-> Server Weight ActiveConn InActConn\n  -> 10.0.2.11:80 Masq 1 {active} {inactive}\n")
        };
        let late = |expected: (u64, u64), got: (u64, u64)| {
            counts_of_late(&list(expected.0, expected.1), &list(got.0, got.1), |_, dport| {
                u64::from(dport == 80) * 2
            })
        };
        assert!(late((1, 5), (1, 3)) && late((2, 3), (1, 3)) && late((1, 3), (1, 3)));
        assert!(!late((1, 6), (1, 3)) && !late((1, 3), (1, 4)) && !late((0, 5), (1, 3)));
        assert_eq!(texts_differ("a\n", "a"), Some(("\"a\\n\"".into(), "\"a\"".into())));
    }
}
