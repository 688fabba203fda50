//! The kernel's files about IPVS, rendered from the director (spec `connections.md` §9, `stats.md` §5): so recordings
//! that read them can be compared.

use crate::machine::Machine;
use shunt_control::director::{Counters, Snapshot, name_of_scheduler};
use shunt_engine::tables::{Family, ForwardingMethod, Server, Service, ServiceKey};
use shunt_engine::{ConnectionInfo, flag};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::PoisonError;

/// IPVS shows timeouts of persistence in its clock ticks.
const TICKS_PER_SECOND: u32 = 100;

/// The content of `/proc/net/NAME`; `None` if there is no counterpart.
#[must_use]
pub fn render(machine: &Machine, name: &str) -> Option<String> {
    match name {
        "ip_vs_conn" => Some(connections(&machine.connections())),
        "ip_vs_conn_sync" => Some(synchronised(&machine.connections())),
        "ip_vs" => Some(services(&snapshot(machine))),
        "ip_vs_stats" => Some(statistics(&snapshot(machine))),
        _ => None,
    }
}

fn snapshot(machine: &Machine) -> Snapshot {
    machine.director().lock().unwrap_or_else(PoisonError::into_inner).snapshot()
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        0 => "IP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("IP_{other}"),
    }
}

/// IPv4 in eight digits, IPv6 in eight full groups.
fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:08X}", address.to_bits()),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:04x}")).collect();
            groups.join(":")
        }
    }
}

fn connections(entries: &[ConnectionInfo]) -> String {
    let mut text =
        String::from("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n");
    for entry in entries {
        let engine = entry.pe_data.as_ref().map_or(String::new(), |data| format!(" sip {data}"));
        let _ = writeln!(
            text,
            "{:<3} {} {:04X} {} {:04X} {} {:04X} {:<11} {:>7}{engine}",
            protocol_name(entry.protocol),
            address(entry.caddr),
            entry.cport,
            address(entry.vaddr),
            entry.vport,
            address(entry.daddr),
            entry.dport,
            entry.state_name(),
            entry.expires_ms / 1000,
        );
    }
    text
}

/// The same, with who made the entry.
fn synchronised(entries: &[ConnectionInfo]) -> String {
    let mut text = String::from("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n");
    for entry in entries {
        let origin = if entry.flags & u32::from(flag::SYNC) != 0 { "SYNC" } else { "LOCAL" };
        let _ = writeln!(
            text,
            "{:<3} {} {:04X} {} {:04X} {} {:04X} {:<11} {origin:<6} {:>7}",
            protocol_name(entry.protocol),
            address(entry.caddr),
            entry.cport,
            address(entry.vaddr),
            entry.vport,
            address(entry.daddr),
            entry.dport,
            entry.state_name(),
            entry.expires_ms / 1000,
        );
    }
    text
}

fn services(snapshot: &Snapshot) -> String {
    let mut text = String::from(
        "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
    );
    for service in snapshot.services() {
        write_service(service, &mut text);
        for server in snapshot.servers(service) {
            write_server(snapshot, server, &mut text);
        }
    }
    text
}

fn endpoint(at: IpAddr, l4_port: u16) -> String {
    match at {
        IpAddr::V4(_) => format!("{}:{l4_port:04X}", address(at)),
        IpAddr::V6(_) => format!("[{}]:{l4_port:04X}", address(at)),
    }
}

fn write_service(service: &Service, text: &mut String) {
    let scheduler = name_of_scheduler(service.scheduler);
    let ops = if service.flags.one_packet { "ops " } else { "" };
    let (v6, _) = match service.key {
        ServiceKey::Address { protocol, vaddr, vport } => {
            let blank = if vaddr.is_ipv4() { " " } else { "" };
            let ops = if vaddr.is_ipv4() { ops } else { "" };
            let name = protocol_name(protocol);
            (vaddr.is_ipv6(), write!(text, "{name}  {} {scheduler} {ops}{blank}", endpoint(vaddr, vport)))
        }
        ServiceKey::Fwmark { mark, family } => {
            (family == Family::V6, write!(text, "FWM  {mark:08X} {scheduler} {ops}"))
        }
    };
    if let Some(persistence) = service.persistence {
        let ticks = persistence.timeout_s * TICKS_PER_SECOND;
        // The kernel prints the prefix length of IPv6 in the wrong byte order.
        let netmask = if v6 { persistence.netmask.swap_bytes() } else { persistence.netmask };
        let _ = write!(text, "persistent {ticks} {netmask:08X}");
    }
    text.push('\n');
}

fn write_server(snapshot: &Snapshot, server: &Server, text: &mut String) {
    let method = match server.method {
        ForwardingMethod::Nat => "Masq",
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::DirectRouting | ForwardingMethod::Bypass => "Route",
    };
    let counts = snapshot.connections(server.id);
    let _ = writeln!(
        text,
        "  -> {}      {method:<7} {:<6} {:<10} {:<10}",
        endpoint(server.daddr, server.dport),
        server.weight,
        counts.active,
        counts.inactive
    );
}

fn statistics(snapshot: &Snapshot) -> String {
    let row = |Counters([conns, in_packets, out_packets, in_bytes, out_bytes]): Counters| {
        format!("{conns:>8X} {in_packets:>8X} {out_packets:>8X} {in_bytes:>16X} {out_bytes:>16X}\n")
    };
    let total = snapshot.total();
    [
        "   Total Incoming Outgoing         Incoming         Outgoing\n".to_owned(),
        "   Conns  Packets  Packets            Bytes            Bytes\n".to_owned(),
        row(total.counters()),
        "\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n".to_owned(),
        row(total.rates()),
    ]
    .concat()
}
