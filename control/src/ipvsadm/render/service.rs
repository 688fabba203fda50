//! What the lines of services and servers have in common (spec `cli.md` §12.3, §12.4).

use super::Page;
use super::endpoint::{cut, endpoint};
use crate::director::name_of_scheduler;
use shunt_engine::tables::{
    Family, ForwardingMethod, SchedulerKind, Server, Service, ServiceFlags, ServiceKey,
};
use std::io::{self, Write};
use std::net::Ipv4Addr;

/// Width of the name of an IPv4 service, which is cut to it.
const SERVICE_LEN: usize = 33;

/// The same for a server.
const SERVER_LEN: usize = 28;

/// The protocol by which the ports of a service's servers are named. A firewall mark has none, so they stay numbers.
pub(super) fn protocol_of(service: &Service) -> u8 {
    match service.key {
        ServiceKey::Address { protocol, .. } => protocol,
        ServiceKey::Fwmark { .. } => 0,
    }
}

/// `TCP  10.0.0.1:80`
pub(super) fn service_name(page: &Page, service: &Service) -> String {
    match service.key {
        // Marks are printed signed.
        ServiceKey::Fwmark { family: Family::V4, mark } => format!("FWM  {}", mark as i32),
        ServiceKey::Fwmark { family: Family::V6, mark } => format!("FWM  {} IPv6", mark as i32),
        ServiceKey::Address { protocol, vaddr, vport } => {
            let name = match protocol {
                6 => "TCP",
                17 => "UDP",
                132 => "SCTP",
                _ => "?",
            };
            let text = endpoint(vaddr, vport, protocol, page.numeric, page.names);
            let mut line = format!("{name:<4} {text}");
            if vaddr.is_ipv4() {
                cut(&mut line, SERVICE_LEN);
            }
            line
        }
    }
}

/// `10.0.1.1:80`
pub(super) fn server_name(page: &Page, service: &Service, server: &Server) -> String {
    let mut text = endpoint(server.daddr, server.dport, protocol_of(service), page.numeric, page.names);
    if server.daddr.is_ipv4() {
        cut(&mut text, SERVER_LEN);
    }
    text
}

/// The method column.
pub(super) fn method_name(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Nat => "Masq",
        ForwardingMethod::Local => "Local",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::DirectRouting | ForwardingMethod::Bypass => "Route",
    }
}

/// Names of the scheduler flags that are set and that the scheduler has a name for; `None` if none is set at all.
pub(super) fn flag_names(scheduler: SchedulerKind, flags: ServiceFlags) -> Option<String> {
    let set = [flags.flag1, flags.flag2, flags.flag3];
    let names: &[&str] = match scheduler {
        SchedulerKind::Sh => &["sh-fallback", "sh-port"],
        SchedulerKind::Mh => &["mh-fallback", "mh-port"],
        _ => &["flag-1", "flag-2", "flag-3"],
    };
    let named = || names.iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| *name);
    set.contains(&true).then(|| named().collect::<Vec<_>>().join(","))
}

/// The names that flags have with every scheduler; `None` if none is set.
pub(super) fn plain_flag_names(flags: ServiceFlags) -> Option<String> {
    flag_names(SchedulerKind::None, flags)
}

/// The persistence mask as text, unless it is the default.
pub(super) fn netmask(service: &Service) -> Option<String> {
    let family = match service.key {
        ServiceKey::Address { vaddr, .. } => Family::of(&vaddr),
        ServiceKey::Fwmark { family, .. } => family,
    };
    let netmask = service.persistence?.netmask;
    match family {
        Family::V4 => (netmask != u32::MAX).then(|| Ipv4Addr::from_bits(netmask).to_string()),
        Family::V6 => (netmask != 128).then(|| netmask.to_string()),
    }
}

/// The line of a service in all formats but `--stats` and `--rate`.
pub(super) fn write_service(page: &Page, service: &Service, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{} {}", service_name(page, service), name_of_scheduler(service.scheduler))?;
    if let Some(names) = flag_names(service.scheduler, service.flags) {
        write!(out, " ({names})")?;
    }
    if let Some(persistence) = service.persistence {
        write!(out, " persistent {}", persistence.timeout_s)?;
        if let Some(netmask) = netmask(service) {
            write!(out, " mask {netmask}")?;
        }
        if service.sip {
            write!(out, " pe sip")?;
        }
    }
    if service.flags.one_packet {
        write!(out, " ops")?;
    }
    writeln!(out)
}
