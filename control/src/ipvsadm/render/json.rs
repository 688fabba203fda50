//! Lists as JSON, for programs. The names are part of what shunt promises: add, never rename (docs/OPERATIONS.md).
//!
//! All forms of `-L` for services give the same objects: what `--stats`, `--rate` and the others would show is in each.

use super::Page;
use super::order::{sort_servers, sort_services};
use super::service::{flag_names, netmask};
use crate::dataplane::Dataplane;
use crate::director::{Counters, name_of_scheduler};
use crate::sync::{DaemonConfig, Role};
use serde::Serialize;
use shunt_engine::ConnectionInfo;
use shunt_engine::tables::{
    Family, ForwardingMethod, Server, Service, ServiceKey, Settings, TunnelChecksum, TunnelKind,
};
use std::io::{self, Write};
use std::net::IpAddr;

/// `null` where there is none: an address service has no mark, a service of a mark no address.
#[derive(Serialize)]
struct ServiceObject {
    family: &'static str,
    protocol: Option<&'static str>,
    address: Option<IpAddr>,
    port: Option<u16>,
    fwmark: Option<u32>,
    scheduler: &'static str,
    scheduler_flags: Vec<String>,
    one_packet: bool,
    persistence: Option<PersistenceObject>,
    statistics: CountersObject,
    /// Per second.
    rates: CountersObject,
    servers: Vec<ServerObject>,
}

#[derive(Serialize)]
struct PersistenceObject {
    timeout: u32,
    /// A dotted mask for IPv4, a prefix length for IPv6; `null` for single clients.
    netmask: Option<String>,
    engine: Option<&'static str>,
}

#[derive(Serialize)]
struct ServerObject {
    address: IpAddr,
    port: u16,
    method: &'static str,
    tunnel: Option<TunnelObject>,
    weight: i32,
    upper_threshold: u32,
    lower_threshold: u32,
    active_connections: u32,
    inactive_connections: u32,
    persistent_connections: u32,
    statistics: CountersObject,
    rates: CountersObject,
}

#[derive(Serialize)]
struct TunnelObject {
    #[serde(rename = "type")]
    kind: &'static str,
    port: Option<u16>,
    checksum: &'static str,
}

#[derive(Serialize)]
struct CountersObject {
    connections: u64,
    in_packets: u64,
    out_packets: u64,
    in_bytes: u64,
    out_bytes: u64,
}

impl From<Counters> for CountersObject {
    fn from(counters: Counters) -> CountersObject {
        let [connections, in_packets, out_packets, in_bytes, out_bytes] = counters.0;
        CountersObject { connections, in_packets, out_packets, in_bytes, out_bytes }
    }
}

#[derive(Serialize)]
struct EndObject {
    address: IpAddr,
    port: u16,
}

#[derive(Serialize)]
struct ConnectionObject<'a> {
    family: &'static str,
    protocol: String,
    client: EndObject,
    #[serde(rename = "virtual")]
    virtual_end: EndObject,
    destination: EndObject,
    state: &'static str,
    timeout_ms: u32,
    expires_ms: u64,
    /// IPVS connection flags.
    flags: u32,
    /// Mark of the packet that created it; 0 = none.
    fwmark: u32,
    in_packets: u32,
    pe_data: Option<&'a str>,
}

/// Writes `{"NAME":[`, one element a line, `]}`.
struct Array<'a> {
    out: &'a mut dyn Write,
    first: bool,
}

impl<'a> Array<'a> {
    fn begin(name: &str, out: &'a mut dyn Write) -> io::Result<Array<'a>> {
        write!(out, "{{\"{name}\":[")?;
        Ok(Array { out, first: true })
    }

    fn push(&mut self, element: &impl Serialize) -> io::Result<()> {
        let separator = if self.first { "\n" } else { ",\n" };
        self.first = false;
        self.out.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut *self.out, element).map_err(io::Error::from)
    }

    fn end(self) -> io::Result<()> {
        writeln!(self.out, "\n]}}")
    }
}

/// One service, or all.
pub(in super::super) fn write_services(
    page: &Page,
    one: Option<&ServiceKey>,
    sorted: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut services = match one {
        Some(key) => page.snapshot.service(key).into_iter().collect(),
        None => page.snapshot.services(),
    };
    if sorted {
        sort_services(&mut services);
    }
    let mut array = Array::begin("services", out)?;
    for service in services {
        let mut servers: Vec<&Server> = page.snapshot.servers(service).collect();
        if sorted {
            sort_servers(&mut servers);
        }
        array.push(&service_object(page, service, &servers))?;
    }
    array.end()
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => "other",
    }
}

fn service_object(page: &Page, service: &Service, servers: &[&Server]) -> ServiceObject {
    let (family, protocol, address, port, fwmark) = match service.key {
        ServiceKey::Address { protocol, vaddr, vport } => {
            (Family::of(&vaddr), Some(protocol_name(protocol)), Some(vaddr), Some(vport), None)
        }
        ServiceKey::Fwmark { family, mark } => (family, None, None, None, Some(mark)),
    };
    let flags = flag_names(service.scheduler, service.flags).unwrap_or_default();
    let statistics = page.snapshot.service_statistics(service.id);
    ServiceObject {
        family: family_name(family),
        protocol,
        address,
        port,
        fwmark,
        scheduler: name_of_scheduler(service.scheduler),
        scheduler_flags: flags.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        one_packet: service.flags.one_packet,
        persistence: service.persistence.map(|persistence| PersistenceObject {
            timeout: persistence.timeout_s,
            netmask: netmask(service),
            engine: service.sip.then_some("sip"),
        }),
        statistics: statistics.counters().into(),
        rates: statistics.rates().into(),
        servers: servers.iter().map(|server| server_object(page, server)).collect(),
    }
}

fn server_object(page: &Page, server: &Server) -> ServerObject {
    let counts = page.snapshot.connections(server.id);
    let statistics = page.snapshot.server_statistics(server.id);
    ServerObject {
        address: server.daddr,
        port: server.dport,
        method: match server.method {
            ForwardingMethod::Nat => "nat",
            ForwardingMethod::Local => "local",
            ForwardingMethod::Tunnel => "tunnel",
            ForwardingMethod::DirectRouting | ForwardingMethod::Bypass => "direct_routing",
        },
        tunnel: (server.method == ForwardingMethod::Tunnel).then(|| tunnel_object(server)),
        weight: server.weight,
        upper_threshold: server.upper_threshold,
        lower_threshold: server.lower_threshold,
        active_connections: counts.active,
        inactive_connections: counts.inactive,
        persistent_connections: counts.persistent,
        statistics: statistics.counters().into(),
        rates: statistics.rates().into(),
    }
}

fn tunnel_object(server: &Server) -> TunnelObject {
    let (kind, port) = match server.tunnel {
        TunnelKind::Ipip => ("ipip", None),
        TunnelKind::Gue { dport } => ("gue", Some(dport)),
        TunnelKind::Gre => ("gre", None),
    };
    let checksum = match server.tunnel_checksum {
        TunnelChecksum::None => "none",
        TunnelChecksum::Full => "full",
        TunnelChecksum::Remote => "remote",
    };
    TunnelObject { kind, port, checksum }
}

/// All connections of all workers, written while they are read.
pub(in super::super) fn write_connections(dataplane: &dyn Dataplane, out: &mut dyn Write) -> io::Result<()> {
    let mut array = Array::begin("connections", out)?;
    let mut result = Ok(());
    dataplane.connections(&mut |entry| {
        result = array.push(&connection_object(entry));
        super::connections::go_on(&result)
    });
    result?;
    array.end()
}

fn connection_object(entry: &ConnectionInfo) -> ConnectionObject<'_> {
    let end = |address, port| EndObject { address, port };
    ConnectionObject {
        family: family_name(entry.family),
        protocol: super::connections::protocol_name(entry.protocol).to_ascii_lowercase(),
        client: end(entry.caddr, entry.cport),
        virtual_end: end(entry.vaddr, entry.vport),
        destination: end(entry.daddr, entry.dport),
        state: entry.state_name(),
        timeout_ms: entry.timeout_ms,
        expires_ms: entry.expires_ms,
        flags: entry.flags,
        fwmark: entry.fwmark,
        in_packets: entry.in_packets,
        pe_data: entry.pe_data.as_deref(),
    }
}

/// `-L --timeout`, in seconds.
pub(in super::super) fn write_timeouts(settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let Settings { timeout_tcp_s: tcp, timeout_tcp_fin_s: tcp_fin, timeout_udp_s: udp, .. } = settings;
    writeln!(out, r#"{{"timeouts":{{"tcp":{tcp},"tcp_fin":{tcp_fin},"udp":{udp}}}}}"#)
}

#[derive(Serialize)]
struct DaemonObject<'a> {
    role: &'static str,
    interface: &'a str,
    syncid: u8,
    maxlen: u16,
    group: IpAddr,
    port: u16,
    ttl: u8,
}

/// `-L --daemon`
pub(in super::super) fn write_daemons(daemons: &[DaemonConfig], out: &mut dyn Write) -> io::Result<()> {
    let mut array = Array::begin("daemons", out)?;
    for daemon in daemons {
        array.push(&DaemonObject {
            role: match daemon.role {
                Role::Master => "master",
                Role::Backup => "backup",
            },
            interface: &daemon.interface,
            syncid: daemon.syncid,
            maxlen: daemon.maxlen,
            group: daemon.group,
            port: daemon.l4_port,
            ttl: daemon.ttl,
        })?;
    }
    array.end()
}
