//! Names of hosts and of transport ports.
//!
//! Looking a name up may take seconds, so it never happens while the director is locked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

/// Names, both ways. Tests use a fixed one.
pub trait Names {
    /// The first IPv4 address of a host.
    fn host_address(&self, name: &str) -> Option<Ipv4Addr>;
    /// The name of an address.
    fn host_name(&self, address: IpAddr) -> Option<String>;
    /// The number of a service such as `http`; `protocol` is an IP protocol number.
    fn service_port(&self, name: &str, protocol: u8) -> Option<u16>;
    /// The name of a transport port (host order); `protocol` is an IP protocol number.
    fn service_name(&self, l4_port: u16, protocol: u8) -> Option<&str>;
}

/// The services database, in the format of `/etc/services` (services(5)).
#[derive(Clone, Debug, Default)]
pub struct Services {
    by_name: HashMap<(String, u8), u16>,
    by_number: HashMap<(u16, u8), String>,
}

fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}

impl Services {
    /// Reads the text of a services file. Lines that do not fit are skipped, as the C library does. The first entry
    /// of a number or name wins.
    #[must_use]
    pub fn parse(text: &str) -> Services {
        let mut services = Services::default();
        for line in text.lines() {
            services.take(line.split('#').next().unwrap_or(""));
        }
        services
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let (number, protocol) = words.next()?.split_once('/')?;
        let number: u16 = number.parse().ok()?;
        let protocol = protocol_number(protocol)?;
        self.by_number.entry((number, protocol)).or_insert_with(|| name.to_owned());
        for name in std::iter::once(name).chain(words) {
            self.by_name.entry((name.to_owned(), protocol)).or_insert(number);
        }
        Some(())
    }

    /// The number of a service name or alias.
    #[must_use]
    pub fn port(&self, name: &str, protocol: u8) -> Option<u16> {
        self.by_name.get(&(name.to_owned(), protocol)).copied()
    }

    /// The first name of a number (host order).
    #[must_use]
    pub fn name(&self, l4_port: u16, protocol: u8) -> Option<&str> {
        self.by_number.get(&(l4_port, protocol)).map(String::as_str)
    }
}

/// The names of this machine: `/etc/services` as it was at construction, and the C library's resolver.
#[derive(Clone, Debug, Default)]
pub struct SystemNames {
    services: Services,
}

impl SystemNames {
    /// Reads the services database. Without one, ports have no names.
    #[must_use]
    pub fn new() -> SystemNames {
        let text = std::fs::read(Path::new("/etc/services")).unwrap_or_default();
        SystemNames { services: Services::parse(&String::from_utf8_lossy(&text)) }
    }
}

impl Names for SystemNames {
    fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
        (name, 0).to_socket_addrs().ok()?.find_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn host_name(&self, address: IpAddr) -> Option<String> {
        let name = dns_lookup::lookup_addr(&address).ok()?;
        // The resolver answers with the address itself if it has no name.
        name.parse::<IpAddr>().is_err().then_some(name)
    }

    fn service_port(&self, name: &str, protocol: u8) -> Option<u16> {
        self.services.port(name, protocol)
    }

    fn service_name(&self, l4_port: u16, protocol: u8) -> Option<&str> {
        self.services.name(l4_port, protocol)
    }
}

/// No names at all: for lines that hold none.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl Names for NoNames {
    fn host_address(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }
    fn host_name(&self, _: IpAddr) -> Option<String> {
        None
    }
    fn service_port(&self, _: &str, _: u8) -> Option<u16> {
        None
    }
    fn service_name(&self, _: u16, _: u8) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_file() {
        let services = Services::parse(
            "# comment\nhttp 80/tcp www # WorldWideWeb\nhttp-alt\t8080/tcp webcache\ndomain 53/udp\n\nbroken\nx 99999/tcp\ny 1/ddp\n",
        );
        assert_eq!(services.port("http", 6), Some(80));
        assert_eq!(services.port("www", 6), Some(80));
        assert_eq!(services.port("http", 17), None);
        assert_eq!(services.port("x", 6), None);
        assert_eq!(services.name(8080, 6), Some("http-alt"));
        assert_eq!(services.name(53, 17), Some("domain"));
        assert_eq!(services.name(53, 6), None);
    }
}
