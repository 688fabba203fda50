//! Packets and tables to measure with.

use shunt_engine::sched::SchedulerPlan;
use shunt_engine::tables::{
    Candidate, ForwardingMethod, Hop, NextHop, NicPortInfo, Outer, Routes, SchedulerKind, Server, ServerId,
    Service, ServiceFlags, ServiceId, ServiceKey, Tables, TunnelChecksum, TunnelKind,
};
use shunt_wire::{MacAddr, NicPortId, checksum};
use std::net::IpAddr;

pub const VIP: [u8; 4] = [10, 0, 1, 100];
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const UDP: u8 = 17;
const TCP: u8 = 6;

/// The nominal clock of the first processor, in GHz; 1 if the system does not say, so that figures are nanoseconds.
pub fn clock_ghz() -> f64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = text.lines().find(|line| line.starts_with("cpu MHz")).and_then(|line| line.split(':').nth(1));
    mhz.and_then(|mhz| mhz.trim().parse::<f64>().ok()).map_or(1.0, |mhz| mhz / 1000.0)
}

/// The service's IPv6 address: 2001:db8:1::100.
pub const VIP6: u128 = 0x2001_0db8_0001 << 80 | 0x100;

/// The address of real server `n`.
fn real(family: u8, n: u32) -> IpAddr {
    match family {
        4 => IpAddr::from((0x0a01_0001 + n).to_be_bytes()),
        _ => IpAddr::from(((0x2001_0db8_0002 << 80) + 1 + u128::from(n)).to_be_bytes()),
    }
}

/// The packet of flow `n` to the service.
pub fn request(family: u8, n: u32) -> [u8; 64] {
    if family == 4 { udp(client(n), (VIP, 80)) } else { udp6(n) }
}

/// A UDP packet of 64 bytes over IPv6 from the client of flow `n` to the service.
fn udp6(n: u32) -> [u8; 64] {
    let (address, cport) = client(n);
    let mut packet = [0; 64];
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 0xfe, 0x86, 0xdd]);
    packet[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 10, UDP, 64]);
    packet[22..30].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0xc, 0, 0]);
    packet[34..38].copy_from_slice(&address);
    packet[38..54].copy_from_slice(&VIP6.to_be_bytes());
    packet[54..56].copy_from_slice(&cport.to_be_bytes());
    packet[56..58].copy_from_slice(&80u16.to_be_bytes());
    packet[58..60].copy_from_slice(&10u16.to_be_bytes());
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    src.copy_from_slice(&packet[22..38]);
    dst.copy_from_slice(&packet[38..54]);
    let sum = checksum::udp(checksum::pseudo_v6(src, dst, UDP, 10), &packet[54..64]);
    packet[60..62].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The client of flow `n`: address and port.
pub fn client(n: u32) -> ([u8; 4], u16) {
    let n = n.wrapping_mul(0x9e37_79b1);
    ((0x3000_0000 | n >> 8).to_be_bytes(), 1024 + (n & 0xff) as u16)
}

/// A UDP packet of 64 bytes (60 without FCS, and 4 of padding).
pub fn udp(src: ([u8; 4], u16), dst: ([u8; 4], u16)) -> [u8; 64] {
    let mut packet = [0; 64];
    packet[..6].copy_from_slice(&MAC.0);
    packet[6..12].copy_from_slice(&[2, 0, 0, 0, 1, 0xfe]);
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14..34].copy_from_slice(&[0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet[26..30].copy_from_slice(&src.0);
    packet[30..34].copy_from_slice(&dst.0);
    let sum = checksum::checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet[34..36].copy_from_slice(&src.1.to_be_bytes());
    packet[36..38].copy_from_slice(&dst.1.to_be_bytes());
    packet[38..40].copy_from_slice(&26u16.to_be_bytes());
    let pseudo = checksum::pseudo_v4(src.0, dst.0, UDP, 26);
    let sum = checksum::udp(pseudo, &packet[34..60]);
    packet[40..42].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A TCP packet of 64 bytes from client `n` to the service, with these flags.
pub fn tcp(n: u32, flags: u8) -> [u8; 64] {
    let (address, cport) = client(n);
    let mut packet = udp((address, cport), (VIP, 80));
    packet[23] = TCP;
    packet[24..26].fill(0);
    let sum = checksum::checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet[38..60].fill(0);
    packet[46..48].copy_from_slice(&[0x50, flags]);
    let pseudo = checksum::pseudo_v4(address, VIP, TCP, 26);
    let sum = checksum::udp(pseudo, &packet[34..60]);
    packet[50..52].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A UDP and a TCP service of this family (4 or 6), both with the same so many servers.
pub fn tables(family: u8, method: ForwardingMethod, kind: SchedulerKind, servers: u32) -> Tables {
    let hop = Hop::Via(NextHop {
        nic_port: NicPortId(0),
        mtu: 1500,
        dst_mac: MacAddr([2, 0, 0, 0, 2, 17]),
        src_mac: MAC,
    });
    let port = NicPortInfo {
        mac: MAC,
        other_macs: Vec::new(),
        mtu: 1500,
        address_v4: Some([10, 0, 1, 1].into()),
        address_v6: None,
    };
    let mut tables = Tables::new(vec![port]);
    let mut routes = Routes::default();
    routes.insert([0; 4].into(), 0, hop);
    routes.insert([0; 16].into(), 0, hop);
    tables.set_routes(routes);
    // As on a director: its own addresses and the virtual ones.
    let own = [VIP.into(), [10, 0, 1, 1].into(), [127, 0, 0, 1].into(), VIP6.to_be_bytes().into()];
    tables.set_local(own.into_iter().collect());
    let candidates: Vec<Candidate> = (0..servers)
        .map(|n| Candidate {
            id: ServerId(n),
            weight: 1,
            last_weight: 1,
            daddr: real(family, n),
            dport: 8080,
        })
        .collect();
    for candidate in &candidates {
        tables.put_server(Server {
            hop,
            method,
            available: true,
            tunnel: TunnelKind::Ipip,
            tunnel_checksum: TunnelChecksum::None,
            weight: 1,
            id: candidate.id,
            service: ServiceId(0),
            dport: 8080,
            daddr: candidate.daddr,
            tunnel_source: Some(IpAddr::from([10, 0, 2, 1])),
            upper_threshold: 0,
            lower_threshold: 0,
            outer: Outer::default(),
        });
    }
    for (id, protocol) in [(1, TCP), (0, UDP)] {
        let vaddr = if family == 4 { VIP.into() } else { VIP6.to_be_bytes().into() };
        tables.put_service(Service {
            id: ServiceId(id),
            key: ServiceKey::Address { protocol, vaddr, vport: 80 },
            scheduler: kind,
            flags: ServiceFlags::default(),
            persistence: None,
            sip: false,
            servers: candidates.clone().into(),
            plan: SchedulerPlan::default(),
        });
    }
    tables
}
