//! The wire format of synchronisation, against datagrams of a Linux kernel, against a decoder that shares no code with
//! shunt's, and against whatever else may arrive.

mod fake;

use bolero::TypeGenerator;
use fake::FakeDataplane;
use shunt_control::sync::{
    Batches, DaemonConfig, DaemonParts, Draft, Flushed, LiveSettings, Master, Refused, Role, Sending,
    SyncCounters, SyncSettings, Version, decode,
};
use shunt_engine::tables::{Family, ServerId};
use shunt_engine::{ConnectionInfo, SequenceShift, Tick};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const SYNC: u32 = 0x20;

/// Datagrams of a kernel's master, one in a line.
fn recorded(text: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

const V1: &str = include_str!("../testdata/sync/v1.txt");
const V0: &str = include_str!("../testdata/sync/v0.txt");
const SYSCTL: &str = include_str!("../testdata/sync/sysctl.txt");

fn connection(version: Version, cport: u16) -> ConnectionInfo {
    let timeout_ms = if version == Version::V1 { 900_000 } else { 0 };
    ConnectionInfo {
        protocol: 6,
        family: Family::V4,
        caddr: Ipv4Addr::new(192, 168, 0, 2).into(),
        cport,
        vaddr: Ipv4Addr::new(10, 0, 0, 1).into(),
        vport: 80,
        daddr: Ipv4Addr::new(10, 1, 0, 1).into(),
        dport: 8080,
        state: 1,
        timeout_ms,
        expires_ms: timeout_ms.into(),
        flags: SYNC,
        fwmark: 0,
        in_packets: 0,
        server: ServerId::NONE,
        control: None,
        sequence: None,
        pe_data: None,
    }
}

/// What a master has: the flag of entries that peers told of is set by the receiver.
fn own(mut info: ConnectionInfo) -> ConnectionInfo {
    info.flags &= !SYNC;
    info
}

fn datagram(version: Version, syncid: u8, all: &[ConnectionInfo]) -> Vec<u8> {
    let mut draft = Draft::new(version, syncid, 65_507);
    all.iter().for_each(|info| assert!(draft.push(info)));
    draft.finish()
}

#[test]
fn the_examples_of_the_format() {
    let v1 = "0007002c01010000\
              000600240000000000 01c35000501f90\
              0000000000000384c0a800020a0000010a010001";
    let v0 = "0107001c0006c35000501f90c0a800020a0000010a01000100000001";
    for (version, text) in [(Version::V1, v1), (Version::V0, v0)] {
        let bytes = recorded(&text.replace(' ', "")).remove(0);
        let info = connection(version, 50_000);
        assert_eq!(datagram(version, 7, &[own(info.clone())]), bytes);
        assert_eq!(decode(&bytes, 7).unwrap().connections, [info]);
    }
}

#[test]
fn what_a_kernel_sent_is_understood_and_said_again() {
    let mut records = 0;
    for bytes in recorded(V1).into_iter().chain(recorded(V0)).chain(recorded(SYSCTL)) {
        let received = decode(&bytes, bytes[1]).unwrap();
        assert!(!received.broken && received.unusable == 0);
        let version = if bytes[0] == 0 { Version::V1 } else { Version::V0 };
        let count = if version == Version::V1 { bytes[4] } else { bytes[0] };
        assert_eq!(received.connections.len(), usize::from(count));
        records += received.connections.len();
        let own: Vec<_> = received.connections.into_iter().map(own).collect();
        assert_eq!(datagram(version, bytes[1], &own), bytes);
        assert_eq!(decode(&bytes, bytes[1].wrapping_add(1)), Err(Refused::SyncId));
        assert!(decode(&bytes, 0).is_ok(), "syncid 0 takes all");
    }
    assert!(records > 30, "{records}");
}

/// The virtual address of a mark's template is the mark, in the first word of an address of the record's family.
#[test]
fn marks_stand_where_the_kernel_looks_for_them() {
    for (family, client_net, vaddr, daddr) in [
        (Family::V4, "192.0.2.0", "0.0.1.5", "10.1.0.1"),
        (Family::V6, "2001:db8::", "0:105::", "fd00:2::11"),
    ] {
        let [caddr, vaddr, daddr] = [client_net, vaddr, daddr].map(|address| address.parse().unwrap());
        let template = ConnectionInfo {
            protocol: 0,
            family,
            caddr,
            vaddr,
            vport: 0,
            daddr,
            dport: 0,
            flags: 0x1000 | SYNC,
            fwmark: 0x105,
            ..connection(Version::V1, 0)
        };
        let bytes = datagram(Version::V1, 7, &[own(template.clone())]);
        let at = 8 + if family == Family::V4 { 28 } else { 40 };
        assert_eq!((&bytes[8 + 16..8 + 20], &bytes[at..at + 4]), (&[0, 0, 1, 5][..], &[0, 0, 1, 5][..]));
        assert_eq!(decode(&bytes, 7).unwrap().connections, [template]);
    }
}

/// Random connections and templates, as a table might hold them.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Made {
    v6: bool,
    template: bool,
    protocol: u8,
    flags: u16,
    state: u8,
    cport: u16,
    vport: u16,
    dport: u16,
    fwmark: u32,
    timeout_s: u16,
    addresses: [u128; 3],
    shifts: [u32; 6],
    engine: u8,
}

impl Made {
    fn info(&self, version: Version) -> ConnectionInfo {
        let v6 = self.v6 && version == Version::V1;
        let address = |bits: u128| -> IpAddr {
            if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() }
        };
        let (protocol, states) = [(6, 11), (17, 1), (132, 14)][usize::from(self.protocol) % 3];
        let kind = if self.template { 0x1000 } else { 0 };
        let flags = u32::from(self.flags) & 0x0787 | kind | SYNC;
        let [a, b, c, d, e, f] = self.shifts;
        let shift = |init_seq, delta, previous_delta| SequenceShift { init_seq, delta, previous_delta };
        let timeout_ms = if version == Version::V1 { u32::from(self.timeout_s) * 1000 } else { 0 };
        let engine = self.template && version == Version::V1 && self.engine > 0;
        ConnectionInfo {
            protocol,
            family: if v6 { Family::V6 } else { Family::V4 },
            caddr: address(self.addresses[0]),
            cport: self.cport,
            vaddr: address(self.addresses[1]),
            vport: self.vport,
            daddr: address(self.addresses[2]),
            dport: self.dport,
            state: self.state % if self.template { 2 } else { states },
            timeout_ms,
            expires_ms: timeout_ms.into(),
            flags,
            fwmark: if version == Version::V1 { self.fwmark } else { 0 },
            in_packets: 0,
            server: ServerId::NONE,
            control: None,
            sequence: (flags & 0x0600 != 0).then(|| [shift(a, b, c), shift(d, e, f)]),
            pe_data: engine.then(|| "x".repeat(self.engine.into())),
        }
    }
}

/// A second reader of version 1, written from the format alone: text of each record.
fn read_independently(bytes: &[u8]) -> Vec<String> {
    let be = |at: usize, len: usize| {
        bytes[at..at + len].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    assert_eq!((bytes[0], bytes[5], be(6, 2)), (0, 1, 0));
    assert_eq!(be(2, 2) as usize, bytes.len());
    let (mut at, mut all) = (8, Vec::new());
    for _ in 0..bytes[4] {
        while at % 4 != 0 {
            assert_eq!(bytes[at], 0, "padding");
            at += 1;
        }
        let len = be(at + 2, 2) as usize;
        let width = if bytes[at] == 1 { 16 } else { 4 };
        let hex = |from: usize, len: usize| -> String {
            bytes[from..from + len].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let mut text = format!(
            "{} {:x} {} {}:{}:{} {} {}",
            bytes[at + 1],
            be(at + 4, 4),
            be(at + 8, 2),
            be(at + 10, 2),
            be(at + 12, 2),
            be(at + 14, 2),
            be(at + 16, 4),
            be(at + 20, 4)
        );
        for nth in 0..3 {
            text += &format!(" {}", hex(at + 24 + nth * width, width));
        }
        let mut option = at + 24 + 3 * width;
        while option < at + len {
            let option_len = bytes[option + 1] as usize;
            text += &format!(" {}={}", bytes[option], hex(option + 2, option_len));
            option += 2 + option_len;
        }
        assert_eq!(option, at + len);
        all.push(text);
        at += len;
    }
    assert_eq!(at, bytes.len());
    all
}

/// What [`read_independently`] should say.
fn expected(info: &ConnectionInfo) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => hex(&ip.octets()),
        IpAddr::V6(ip) => hex(&ip.octets()),
    };
    let mut text = format!(
        "{} {:x} {} {}:{}:{} {} {} {} {} {}",
        info.protocol,
        info.flags,
        info.state,
        info.cport,
        info.vport,
        info.dport,
        info.fwmark,
        info.timeout_ms / 1000,
        address(info.caddr),
        address(info.vaddr),
        address(info.daddr)
    );
    if let Some(shifts) = info.sequence {
        let words = shifts.iter().flat_map(|shift| [shift.init_seq, shift.delta, shift.previous_delta]);
        text += " 1=";
        words.for_each(|word| text += &format!("{word:08x}"));
    }
    if let Some(data) = &info.pe_data {
        text += &format!(" 2={} 3={}", hex(data.as_bytes()), hex(b"sip"));
    }
    text
}

#[test]
fn what_is_said_is_heard() {
    bolero::check!().with_type::<Vec<Made>>().for_each(|made| {
        for version in [Version::V0, Version::V1] {
            let all: Vec<ConnectionInfo> = made.iter().take(100).map(|made| made.info(version)).collect();
            let bytes = datagram(version, 3, &all);
            let received = decode(&bytes, 3).unwrap();
            assert_eq!(received.connections, all);
            assert!(!received.broken && received.unusable == 0);
            if version == Version::V1 {
                assert_eq!(read_independently(&bytes), all.iter().map(expected).collect::<Vec<_>>());
            }
        }
    });
}

/// Whatever arrives is read to its end or refused; a header that fits is put before it, so that records are reached.
#[test]
fn anything_may_arrive() {
    bolero::check!().with_type::<(Vec<u8>, u8, bool)>().for_each(|(bytes, count, v1)| {
        let _ = decode(bytes, 0);
        let mut framed = if *v1 { vec![0, 7, 0, 0, *count, 1, 0, 0] } else { vec![*count, 7, 0, 0] };
        framed.extend(bytes);
        let size = u16::try_from(framed.len()).unwrap_or(0).to_be_bytes();
        framed[2..4].copy_from_slice(&size);
        if let Ok(received) = decode(&framed, 7) {
            assert!(received.connections.len() + received.unusable as usize <= usize::from(*count));
        }
    });
}

/// A bit changed, or the end cut off, of what a kernel sent: never more than was said, and never a panic.
#[test]
fn damaged_datagrams_are_survived() {
    for bytes in recorded(V1).into_iter().chain(recorded(V0)) {
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&damaged, 0);
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len], 0), Err(Refused::Malformed), "its size is wrong");
        }
    }
}

#[test]
fn what_makes_no_sense_costs_as_much_as_the_kernel_makes_it_cost() {
    let good = own(connection(Version::V1, 50_000));
    let heard = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = datagram(Version::V1, 7, &[good.clone(), good.clone()]);
        change(&mut bytes);
        let size = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&size);
        let received = decode(&bytes, 7).unwrap();
        (received.connections.len(), received.unusable, received.broken)
    };
    assert_eq!(heard(&|_| {}), (2, 0, false));
    // The first record begins at 8: protocol, state, flags of one-packet scheduling; the second one is taken.
    assert_eq!(heard(&|bytes| bytes[9] = 99), (1, 1, false));
    assert_eq!(heard(&|bytes| bytes[17] = 11), (1, 1, false));
    assert_eq!(heard(&|bytes| bytes[14] = 0x20), (1, 1, false));
    // A type that does not exist, another version, a length beyond the end: nothing behind it is taken.
    assert_eq!(heard(&|bytes| bytes[8] = 0xf0), (0, 0, true));
    assert_eq!(heard(&|bytes| bytes[10] = 0x10), (0, 0, true));
    assert_eq!(heard(&|bytes| bytes[11] = 0xff), (0, 0, true));
    assert_eq!(heard(&|bytes| bytes[11] = 0), (0, 0, true));
    // Options behind the second record: unknown ones that may be ignored, or not; empty; sequence shifts cut short.
    let with_option = |option: &'static [u8]| {
        move |bytes: &mut Vec<u8>| {
            bytes[47] += option.len() as u8;
            bytes.extend(option);
        }
    };
    assert_eq!(heard(&with_option(&[0x49, 1, 0])), (2, 0, false));
    assert_eq!(heard(&with_option(&[9, 1, 0])), (1, 1, false));
    assert_eq!(heard(&with_option(&[0x49, 0])), (1, 0, true));
    assert_eq!(heard(&with_option(&[1, 4, 0, 0, 0, 0])), (1, 0, true));
    // More records promised than there are.
    assert_eq!(heard(&|bytes| bytes[4] = 3), (2, 0, true));
}

#[test]
fn datagrams_are_full_or_two_seconds_old() {
    let mut batches = Batches::new(1, 7, 8 + 3 * 36);
    let sent = |batches: &mut Batches, now: u64, room: usize| {
        let mut lens = Vec::new();
        batches.flush(Tick(now), |_, datagram| {
            if lens.len() == room {
                return Sending::Full;
            }
            lens.push(decode(datagram, 7).unwrap().connections.len());
            Sending::Sent
        });
        lens
    };
    for nth in 0..4 {
        assert!(batches.add(&own(connection(Version::V1, nth)), Version::V1, 10, Tick(u64::from(nth) * 10)));
    }
    assert_eq!(sent(&mut batches, 40, 9), [3]);
    assert_eq!(sent(&mut batches, 2_029, 9), [0; 0]);
    assert_eq!(sent(&mut batches, 2_030, 9), [1]);
    // Another version ends the datagram; what a full socket does not take waits; what waits too long is thrown away.
    batches.add(&own(connection(Version::V1, 0)), Version::V1, 10, Tick(0));
    batches.add(&own(connection(Version::V0, 0)), Version::V0, 10, Tick(0));
    batches.add(&own(connection(Version::V1, 0)), Version::V1, 1, Tick(0));
    assert_eq!(batches.take_discarded(), 1);
    assert_eq!(sent(&mut batches, 0, 0), [0; 0]);
    assert_eq!(sent(&mut batches, 2_000, 9), [1, 1]);
    let mut v6 = connection(Version::V1, 1);
    v6.caddr = Ipv6Addr::LOCALHOST.into();
    assert!(!batches.add(&v6, Version::V0, 10, Tick(0)), "version 0 cannot say it");
    assert_eq!(sent(&mut batches, 9_000, 9), [0; 0]);
}

#[test]
fn a_master_counts_what_it_sent_and_what_it_did_not() {
    let dataplane = FakeDataplane::new(1, 1);
    let counters = Arc::new(SyncCounters::default());
    let config = DaemonConfig {
        role: Role::Master,
        interface: "eth0".to_owned(),
        syncid: 7,
        maxlen: 8 + 3 * 36,
        group: Ipv4Addr::new(224, 0, 0, 81).into(),
        l4_port: 8848,
        ttl: 1,
        sockets: 1,
        sock_size: 0,
    };
    let settings = LiveSettings::default();
    let parts = DaemonParts { config, dataplane: dataplane.clone(), settings, counters: counters.clone() };
    let mut master = Master::new(parts);
    let mut counted = |records: u16, answers: &[Sending]| {
        let announced = (0..records).map(|cport| own(connection(Version::V1, cport)));
        dataplane.announced.lock().unwrap().extend(announced);
        master.gather(Tick(0));
        let mut answers = answers.iter();
        master.flush(Tick(0), |_, _| answers.next().copied().unwrap_or(Sending::Full));
        [&counters.sync_sent_messages, &counters.sync_sent_records, &counters.sync_send_errors]
            .map(|counter| counter.load(Relaxed))
    };
    // Three records fill a datagram, which leaves when the next one comes.
    assert_eq!(counted(3, &[Sending::Sent]), [0, 0, 0]);
    assert_eq!(counted(1, &[Sending::Full]), [0, 0, 0]);
    assert_eq!(counted(0, &[Sending::Sent]), [1, 3, 0]);
    assert_eq!(counted(6, &[Sending::Refused, Sending::Sent]), [2, 6, 1]);
    // One that is full waits, and one that is not: the master ends.
    assert_eq!(counted(3, &[]), [2, 6, 1]);
    assert_eq!(counters.sync_discarded_messages.load(Relaxed), 0);
    drop(master);
    assert_eq!(counters.sync_discarded_messages.load(Relaxed), 2);
}

#[test]
fn what_is_sent_refused_and_left_is_counted_once() {
    // Two records fit into a datagram: two are full, one is not.
    let mut batches = Batches::new(1, 7, 8 + 2 * 36);
    for nth in 0..5 {
        assert!(batches.add(&own(connection(Version::V1, nth)), Version::V1, 10, Tick(0)));
    }
    assert_eq!(batches.waiting(), 3);
    let mut answers = [Sending::Refused, Sending::Full].into_iter();
    let flushed = batches.flush(Tick(0), |_, _| answers.next().unwrap());
    assert_eq!((flushed, batches.waiting()), (Flushed { refused: 1, ..Flushed::default() }, 2));
    let flushed = batches.flush(Tick(0), |_, _| Sending::Sent);
    assert_eq!(flushed, Flushed { messages: 1, records: 2, refused: 0 });
    let flushed = batches.flush(Tick(2_000), |_, _| Sending::Sent);
    assert_eq!(flushed, Flushed { messages: 1, records: 1, refused: 0 });
    assert_eq!(batches.waiting(), 0);
}

#[test]
fn a_connection_keeps_its_lane_and_lanes_share_the_load() {
    const LANES: usize = 4;
    let lane_of = |info: &ConnectionInfo| {
        let mut batches = Batches::new(LANES, 7, 1472);
        batches.add(info, Version::V1, 10, Tick(0));
        let mut lanes = Vec::new();
        batches.flush(Tick(2_000), |lane, _| {
            lanes.push(lane);
            Sending::Sent
        });
        assert_eq!(lanes.len(), 1);
        lanes[0]
    };
    for v6 in [false, true] {
        let mut counts = [0; LANES];
        for cport in 0..1000 {
            let mut info = own(connection(Version::V1, cport));
            if v6 {
                let ends = [info.caddr, info.vaddr, info.daddr].map(|address| match address {
                    IpAddr::V4(address) => IpAddr::from(address.to_ipv6_mapped()),
                    address => address,
                });
                (info.family, [info.caddr, info.vaddr, info.daddr]) = (Family::V6, ends);
            }
            let lane = lane_of(&info);
            counts[lane] += 1;
            // Its end goes the same way as its beginning, else a backup could hear them in the other order.
            info.state = 4;
            (info.flags, info.timeout_ms) = (0x100, 120_000);
            assert_eq!(lane_of(&info), lane);
        }
        assert!(counts.iter().all(|count| *count == 250), "{counts:?}");
    }
}

#[test]
fn settings_have_the_kernels_ranges() {
    let mut sync = SyncSettings::default();
    let mut set = |name: &str, value: &str| sync.set(name, value).map(|set| set.is_ok());
    assert_eq!(set("sync_threshold", "2 5"), Some(true));
    assert_eq!(set("sync_threshold", "5 2"), Some(false));
    assert_eq!(set("sync_threshold", "0 0"), Some(true));
    assert_eq!(set("sync_threshold", "7\t0"), Some(true));
    assert_eq!(set("sync_threshold", "-1 5"), Some(false));
    assert_eq!(set("sync_retries", "4"), Some(false));
    assert_eq!(set("sync_version", "2"), Some(false));
    assert_eq!(set("sync_ports", "3"), Some(false));
    assert_eq!(set("sync_ports", "128"), Some(true));
    assert_eq!(set("nonsense", "1"), None);
    let list = sync.list();
    assert!(list.contains(&("sync_threshold", "7 0".to_owned())), "{list:?}");
    assert!(list.contains(&("sync_ports", "128".to_owned())));
}
