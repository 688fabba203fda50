//! Services, servers, marks and settings, and the commands that make and change them.

use super::{chance, pick};
use crate::oracle::SETTINGS;
use crate::scenario::{Flow, Protocol};
use fastrand::Rng;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What is configured.
pub(super) struct Configuration {
    pub(super) services: Vec<Service>,
}

/// A virtual service.
#[derive(Clone)]
pub(super) struct Service {
    protocol: Protocol,
    vaddr: IpAddr,
    /// 0: all ports.
    vport: u16,
    /// Named by this firewall mark.
    mark: Option<u32>,
    persistent: bool,
    /// Persistence by Call-ID.
    sip: bool,
    /// Control connections of FTP.
    ftp: bool,
    /// Tunnels may go to servers of the other family.
    mixed: bool,
    servers: Vec<Server>,
}

/// A real server.
#[derive(Clone)]
struct Server {
    /// `ADDRESS:PORT`.
    at: String,
    method: String,
}

/// Schedulers with what stands behind `-s` for them. `twos` is missing: it throws dice.
pub(super) const SCHEDULERS: &[&str] = &[
    "rr",
    "wrr",
    "lc",
    "wlc",
    "lblc",
    "lblcr",
    "dh",
    "sh",
    "sh -b sh-port",
    "sh -b sh-fallback",
    "sed",
    "nq",
    "fo",
    "ovf",
    "mh",
    "mh -b mh-port",
    "mh -b mh-fallback,mh-port",
];

impl Configuration {
    /// Services, and the lines for `ipvsadm -R` that make them. No two seeds below 2,000 share ports or marks: a kernel
    /// remembers deleted servers for a while.
    pub(super) fn generate(rng: &mut Rng, seed: u64) -> (Configuration, Vec<String>) {
        const SEEDS: u64 = 2_000;
        const PORTS: u16 = 20;
        let nth = (seed % SEEDS) as u16;
        let (mut services, mut lines) = (Vec::new(), Vec::new());
        for count in 0..rng.u16(1..4) {
            let service =
                Service::generate(rng, 10_000 + nth * PORTS + count, u32::from(nth * 4 + count) + 1);
            lines.push(format!("-A {}", service.with_options(rng)));
            for server in &service.servers {
                lines.push(format!("-a {} {}", service.name(), server.with_options(rng)));
            }
            services.push(service);
        }
        (Configuration { services }, lines)
    }

    pub(super) fn has_ftp(&self) -> bool {
        self.services.iter().any(Service::is_ftp)
    }

    pub(super) fn has_port_0(&self) -> bool {
        self.services.iter().any(|service| service.vport == 0 && service.mark.is_none())
    }

    /// Addresses and ports of all servers.
    pub(super) fn server_ends(&self) -> impl Iterator<Item = SocketAddr> {
        self.services.iter().flat_map(|service| &service.servers).filter_map(|server| server.at.parse().ok())
    }

    /// Marks and settings.
    pub(super) fn first_commands(&self, rng: &mut Rng) -> Vec<String> {
        let mut lines: Vec<String> = self.services.iter().filter_map(Service::mark_rule).collect();
        if chance(rng, 50) {
            lines.push((0..rng.usize(1..4)).map(|_| setting(rng)).collect::<Vec<_>>().join("; "));
        }
        if chance(rng, 15) {
            lines.push(timeouts(rng));
        }
        lines
    }

    /// Some change.
    pub(super) fn edit(&mut self, rng: &mut Rng) -> String {
        let nth = rng.usize(0..self.services.len());
        let service = &mut self.services[nth];
        match rng.u32(0..32) {
            0..8 if !service.servers.is_empty() => {
                let server = pick(rng, &service.servers);
                format!("ipvsadm -e {} {}", service.name(), server.with_options(rng))
            }
            0..11 if !service.servers.is_empty() => {
                // It may come back, so it is not forgotten.
                let server = pick(rng, &service.servers);
                format!("ipvsadm -d {} -r {}", service.name(), server.at)
            }
            0..15 => {
                let server = match service.servers.is_empty() || chance(rng, 30) {
                    true => service.add_server(rng),
                    false => pick(rng, &service.servers),
                };
                format!("ipvsadm -a {} {}", service.name(), server.with_options(rng))
            }
            15 => format!("ipvsadm -E {}", service.with_options(rng)),
            // Netfilter follows connections while there is a service of FTP, and its entries are gone with it.
            16 if !service.ftp => format!("ipvsadm -D {}", service.name()),
            17 => format!("ipvsadm -A {}", service.with_options(rng)),
            18 => timeouts(rng),
            19 if chance(rng, 20) => "ipvsadm -C".to_owned(),
            19 => "ipvsadm -Z".to_owned(),
            20 => service.change_method(rng).unwrap_or_else(|| setting(rng)),
            21..26 if !service.servers.is_empty() => service.server_anew(rng),
            26 | 27 if !service.ftp => service.anew(rng),
            28..31 if !service.servers.is_empty() => {
                let server = pick(rng, &service.servers);
                let edited = service.with_options(rng);
                format!("ipvsadm -E {edited}; ipvsadm -e {} {}", service.name(), server.with_options(rng))
            }
            _ => setting(rng),
        }
    }
}

fn timeouts(rng: &mut Rng) -> String {
    let mut number = |all: &[u32]| pick(rng, all);
    format!("ipvsadm --set {} {} {}", number(&[0, 60, 900]), number(&[0, 20, 120]), number(&[0, 30, 300]))
}

fn setting(rng: &mut Rng) -> String {
    let (name, _) = pick(rng, SETTINGS);
    let value = match name {
        "conn_reuse_mode" => pick(rng, &["0", "1", "2"]),
        // 1 and 2 depend on the kernel's free memory.
        "secure_tcp" => pick(rng, &["0", "3"]),
        _ => pick(rng, &["0", "1"]),
    };
    format!("echo {value} > /proc/sys/net/ipv4/vs/{name}")
}

impl Service {
    fn generate(rng: &mut Rng, vport: u16, mark: u32) -> Service {
        let protocol =
            pick(rng, &[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Udp, Protocol::Sctp]);
        let persistent = chance(rng, 30);
        let host = rng.u16(100..104);
        let vaddr = if chance(rng, 65) {
            Ipv4Addr::new(10, 0, 1, host as u8).into()
        } else {
            // The address reads as the decimal number.
            Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100 + host - 100).into()
        };
        let marked = chance(rng, 15);
        let vport = if persistent && !marked && chance(rng, 20) { 0 } else { vport };
        let mark = marked.then_some(mark);
        let mixed = chance(rng, 20);
        let sip = persistent && protocol == Protocol::Udp && chance(rng, 40);
        let ftp = protocol == Protocol::Tcp && !marked && vport != 0 && chance(rng, 10);
        let vport = if ftp { super::FTP } else { vport };
        let mut service =
            Service { protocol, vaddr, vport, mark, persistent, sip, ftp, mixed, servers: Vec::new() };
        for _ in 0..pick(rng, &[0, 1, 2, 2, 3, 3, 4, 6]) {
            service.add_server(rng);
        }
        service
    }

    pub(super) fn is_ftp(&self) -> bool {
        self.ftp
    }

    pub(super) fn is_sip(&self) -> bool {
        self.sip
    }

    /// Another server, or one that is there.
    fn add_server(&mut self, rng: &mut Rng) -> Server {
        let server = Server::generate(rng, self);
        if let Some(same) = self.servers.iter().find(|have| have.at == server.at) {
            return same.clone();
        }
        self.servers.push(server.clone());
        server
    }

    /// A server goes and comes back in the same instant, as it was, with another weight, or with another method.
    fn server_anew(&mut self, rng: &mut Rng) -> String {
        let name = self.name();
        let nth = rng.usize(0..self.servers.len());
        if !self.ftp && chance(rng, 40) {
            self.servers[nth].change_method(rng);
        }
        let server = &self.servers[nth];
        format!("ipvsadm -d {name} -r {}; ipvsadm -a {name} {}", server.at, server.with_options(rng))
    }

    /// The service goes and comes back in the same instant, with all servers, some, or none.
    fn anew(&mut self, rng: &mut Rng) -> String {
        let name = self.name();
        let mut lines = vec![format!("ipvsadm -D {name}"), format!("ipvsadm -A {}", self.with_options(rng))];
        let stay = pick(rng, &[0, 50, 100, 100]);
        for server in &mut self.servers {
            if !self.ftp && chance(rng, 20) {
                server.change_method(rng);
            }
            if chance(rng, stay) {
                lines.push(format!("ipvsadm -a {name} {}", server.with_options(rng)));
            }
        }
        lines.join("; ")
    }

    /// Another method for a server. Not where FTP is spoken: the kernel sends data connections by the server's method of
    /// that moment, whatever their control connection's is.
    fn change_method(&mut self, rng: &mut Rng) -> Option<String> {
        if self.ftp {
            return None;
        }
        let name = self.name();
        let nth = (!self.servers.is_empty()).then(|| rng.usize(0..self.servers.len()))?;
        let server = &mut self.servers[nth];
        server.change_method(rng).then(|| format!("ipvsadm -e {name} {}", server.with_options(rng)))
    }

    /// `-t VIP:PORT`, or `-f MARK`.
    fn name(&self) -> String {
        let letter = match self.protocol {
            Protocol::Tcp => "-t",
            Protocol::Udp => "-u",
            Protocol::Sctp => "--sctp-service",
        };
        match (self.mark, self.vaddr) {
            (Some(mark), IpAddr::V4(_)) => format!("-f {mark}"),
            (Some(mark), IpAddr::V6(_)) => format!("-f {mark} -6"),
            (None, IpAddr::V4(vaddr)) => format!("{letter} {vaddr}:{}", self.vport),
            (None, IpAddr::V6(vaddr)) => format!("{letter} [{vaddr}]:{}", self.vport),
        }
    }

    /// The name with scheduler, persistence and one-packet scheduling.
    fn with_options(&self, rng: &mut Rng) -> String {
        let mut line = format!("{} -s {}", self.name(), pick(rng, SCHEDULERS));
        if self.persistent {
            line.push_str(&format!(" -p {}", pick(rng, &[10, 60, 90, 300, 600])));
            if chance(rng, 40) {
                let mask = if self.vaddr.is_ipv4() { "255.255.255.0" } else { "64" };
                line.push_str(&format!(" -M {mask}"));
            }
            if self.sip {
                line.push_str(" --pe sip");
            }
        }
        if self.protocol == Protocol::Udp && chance(rng, 15) {
            line.push_str(" -o");
        }
        line
    }

    /// The rule that marks this service's packets.
    fn mark_rule(&self) -> Option<String> {
        let mark = self.mark?;
        let program = if self.vaddr.is_ipv4() { "iptables-legacy" } else { "ip6tables-legacy" };
        // A range of ports: a group. The kernel of the oracle knows no ports of SCTP here.
        let (first, last) = (self.vport, self.vport + 10);
        let which = match self.protocol {
            Protocol::Tcp => format!("tcp --dport {first}:{last}"),
            Protocol::Udp => format!("udp --dport {first}:{last}"),
            Protocol::Sctp => "132".to_owned(),
        };
        let vaddr = self.vaddr;
        Some(format!("{program} -t mangle -A PREROUTING -d {vaddr} -p {which} -j MARK --set-mark {mark}"))
    }

    /// A client's conversation with this service; the client is not decided yet.
    pub(super) fn flow(&self, rng: &mut Rng) -> Flow {
        let vport = match (self.vport, self.mark) {
            (0, _) => pick(rng, &[80, 443, 5_000]),
            (vport, Some(_)) => vport + pick(rng, &[0, 0, 10]),
            (vport, None) => vport,
        };
        Flow { caddr: self.vaddr, cport: 0, vaddr: self.vaddr, vport, protocol: self.protocol }
    }
}

impl Server {
    fn generate(rng: &mut Rng, service: &Service) -> Server {
        // The helper works with NAT only.
        let method = if service.ftp && chance(rng, 80) { "-m".to_owned() } else { method(rng) };
        // A tunnel may go to a server of the other family.
        let is_v4 = service.vaddr.is_ipv4() != (method.starts_with("-i") && service.mixed && rng.bool());
        let address = server_address(rng, is_v4);
        let dport = match (&method[..], service.vport) {
            ("-m", 0) => 0,
            ("-m", vport) => pick(rng, &[vport, vport, 80, 8_080]),
            (_, vport) => vport,
        };
        let at = if is_v4 { format!("{address}:{dport}") } else { format!("[{address}]:{dport}") };
        Server { at, method }
    }

    /// Another method. Not from or to direct routing: with connections of both kinds, the kernel asks for the neighbour
    /// of the virtual address (docs/DIFFERENCES.md).
    fn change_method(&mut self, rng: &mut Rng) -> bool {
        let movable = self.method != "-g";
        if movable {
            self.method = if rng.bool() { "-m".to_owned() } else { tunnel(rng) };
        }
        movable
    }

    /// `-r ADDRESS:PORT` with method, weight and thresholds.
    fn with_options(&self, rng: &mut Rng) -> String {
        let weight = pick(rng, &[0, 1, 1, 1, 2, 3, 5, 10]);
        let mut line = format!("-r {} {} -w {weight}", self.at, self.method);
        if chance(rng, 15) {
            let upper = rng.u32(1..5);
            line.push_str(&format!(" -x {upper} -y {}", rng.u32(0..=upper)));
        }
        line
    }
}

fn method(rng: &mut Rng) -> String {
    match rng.u32(0..10) {
        0..6 => "-m".to_owned(),
        6..8 => "-g".to_owned(),
        _ => tunnel(rng),
    }
}

fn tunnel(rng: &mut Rng) -> String {
    match rng.u32(0..5) {
        0 => "-i --tun-type gue --tun-port 6080 --tun-nocsum".to_owned(),
        1 => "-i --tun-type gue --tun-port 6080 --tun-csum".to_owned(),
        2 => "-i --tun-type gre --tun-nocsum".to_owned(),
        3 => "-i --tun-type gre --tun-csum".to_owned(),
        _ => "-i".to_owned(),
    }
}

/// On the wire, behind a router, or on the clients' wire.
fn server_address(rng: &mut Rng, is_v4: bool) -> IpAddr {
    let host = rng.u16(1..9);
    match (is_v4, rng.u32(0..10)) {
        (true, 0) => Ipv4Addr::new(10, 0, 3, host as u8).into(),
        (true, 1) => Ipv4Addr::new(10, 0, 1, pick(rng, &[21, 22])).into(),
        (true, _) => Ipv4Addr::new(10, 0, 2, 10 + host as u8).into(),
        (false, 0) => Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, host).into(),
        (false, _) => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x10 + host).into(),
    }
}
