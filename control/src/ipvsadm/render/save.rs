//! `-S`: the table as commands (spec `cli.md` §11). Thresholds are not saved, nor were they ever.

use super::order::{sort_servers, sort_services};
use super::service::{flag_names, netmask, plain_flag_names, protocol_of};
use super::{Page, endpoint::endpoint};
use crate::director::{Snapshot, name_of_scheduler};
use crate::ipvsadm::names::NoNames;
use shunt_engine::tables::{
    Family, ForwardingMethod, Server, Service, ServiceKey, TunnelChecksum, TunnelKind,
};
use std::io::{self, Write};

/// Writes the whole table.
pub(in super::super) fn write_rules(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    let mut services = page.snapshot.services();
    sort_services(&mut services);
    for service in services {
        let key = service_words(page, service);
        write_service(service, &key, out)?;
        if let Some(names) = flag_names(service.scheduler, service.flags) {
            write!(out, " -b {names}")?;
        }
        writeln!(out)?;
        let mut servers: Vec<&Server> = page.snapshot.servers(service).collect();
        sort_servers(&mut servers);
        for server in servers {
            write_server(page, service, &format!("-a {key}"), server, server.weight, out)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Writes the whole table, oldest first, with all that there is to say of it.
pub(in super::super) fn write_state(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let page = &Page { snapshot, names: &NoNames, numeric: true, exact: true };
    for service in snapshot.services().into_iter().rev() {
        let key = match service.key {
            // Not signed, as `-S` has them: so they can be read again.
            ServiceKey::Fwmark { family, mark } => {
                format!("-f {mark}{}", if family == Family::V6 { " -6" } else { "" })
            }
            ServiceKey::Address { .. } => service_words(page, service),
        };
        write_service(service, &key, out)?;
        if let Some(names) = plain_flag_names(service.flags) {
            write!(out, " -b {names}")?;
        }
        writeln!(out)?;
        for candidate in service.servers.iter().rev() {
            let Some(server) = snapshot.server(candidate.id) else { continue };
            let mut line = |verb: &str, weight| {
                write_server(page, service, &format!("{verb} {key}"), server, weight, out)?;
                if server.upper_threshold != 0 {
                    write!(out, " -x {} -y {}", server.upper_threshold, server.lower_threshold)?;
                }
                writeln!(out)
            };
            // The scheduler `mh` goes by the latest weight that was not 0.
            let quiesced = server.weight == 0 && candidate.last_weight != 0;
            line("-a", if quiesced { candidate.last_weight } else { server.weight })?;
            if quiesced {
                line("-e", 0)?;
            }
        }
    }
    Ok(())
}

/// `-t 10.0.0.1:80`
fn service_words(page: &Page, service: &Service) -> String {
    match service.key {
        ServiceKey::Fwmark { family: Family::V4, mark } => format!("-f {}", mark as i32),
        ServiceKey::Fwmark { family: Family::V6, mark } => format!("-f {} -6", mark as i32),
        ServiceKey::Address { protocol, vaddr, vport } => {
            let option = match protocol {
                6 => "-t",
                17 => "-u",
                132 => "--sctp-service",
                _ => "--xxx-service",
            };
            format!("{option} {}", endpoint(vaddr, vport, protocol, page.numeric, page.names))
        }
    }
}

/// Without flags and newline.
fn write_service(service: &Service, key: &str, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "-A {key} -s {}", name_of_scheduler(service.scheduler))?;
    if let Some(persistence) = service.persistence {
        write!(out, " -p {}", persistence.timeout_s)?;
        if let Some(netmask) = netmask(service) {
            write!(out, " -M {netmask}")?;
        }
    }
    if service.sip {
        write!(out, " --pe sip")?;
    }
    if service.flags.one_packet {
        write!(out, " -o")?;
    }
    Ok(())
}

/// Without thresholds and newline.
fn write_server(
    page: &Page,
    service: &Service,
    verb_and_key: &str,
    server: &Server,
    weight: i32,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = endpoint(server.daddr, server.dport, protocol_of(service), page.numeric, page.names);
    let method = match server.method {
        ForwardingMethod::Nat => "-m",
        ForwardingMethod::Tunnel => "-i",
        _ => "-g",
    };
    write!(out, "{verb_and_key} -r {text} {method} -w {weight}")?;
    if server.method == ForwardingMethod::Tunnel {
        let checksum = match server.tunnel_checksum {
            TunnelChecksum::None => "--tun-nocsum",
            TunnelChecksum::Full => "--tun-csum",
            TunnelChecksum::Remote => "--tun-remcsum",
        };
        match server.tunnel {
            TunnelKind::Ipip => write!(out, " --tun-type ipip")?,
            TunnelKind::Gue { dport } => write!(out, " --tun-type gue --tun-port {dport} {checksum}")?,
            TunnelKind::Gre => write!(out, " --tun-type gre {checksum}")?,
        }
    }
    Ok(())
}
