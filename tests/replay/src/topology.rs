//! The network of every case: two NIC ports, their addresses, neighbours and routes.
//!
//! ```text
//! clients 192.0.2/24 198.51.100/24 203.0.113/24 2001:db8::/32
//!         | router 10.0.1.254 fd00:1::fe 02:00:00:00:01:fe      host 10.0.1.2 fd00:1::2; servers 10.0.1.21, .22
//!   eth0  | 10.0.1.1/24 fd00:1::1/64   02:00:00:00:01:01
//! director  VIPs 10.0.1.100-103, fd00:1::100-103
//!   eth1  | 10.0.2.1/24 fd00:2::1/64   02:00:00:00:02:01
//!         | real servers 10.0.2.11-18 fd00:2::11-18; router 10.0.2.254 02:00:00:00:02:fe -> 10.0.3/24 fd00:3::/64
//! ```

use shunt_control::director::Resolver;
use shunt_engine::tables::{Hop, NextHop, NicPortInfo, Routes};
use shunt_wire::{MacAddr, NicPortId};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A NIC port of the director.
#[derive(Clone, Debug)]
struct NicPort {
    name: &'static str,
    info: NicPortInfo,
}

/// A route: a prefix behind a NIC port, on the link or behind a router.
#[derive(Clone, Debug)]
struct Route {
    prefix: IpAddr,
    len: u8,
    nic_port: usize,
    gateway: Option<IpAddr>,
    /// Path MTU, where it is not the NIC port's.
    mtu: Option<u16>,
}

/// Addresses, neighbours and routes of the director.
#[derive(Clone, Debug)]
pub struct Topology {
    nic_ports: Vec<NicPort>,
    local: HashSet<IpAddr>,
    neighbours: HashMap<IpAddr, MacAddr>,
    routes: Vec<Route>,
}

fn v4(text: &str) -> IpAddr {
    text.parse::<Ipv4Addr>().expect("an address of this file").into()
}

fn v6(text: &str) -> IpAddr {
    text.parse::<Ipv6Addr>().expect("an address of this file").into()
}

fn mac(net: u8, host: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, net, host])
}

fn nic_port(name: &'static str, net: u8) -> NicPort {
    let info = NicPortInfo {
        mac: mac(net, 1),
        other_macs: Vec::new(),
        mtu: 1500,
        address_v4: Some(Ipv4Addr::new(10, 0, net, 1)),
        address_v6: Some(Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, 1)),
    };
    NicPort { name, info }
}

impl Topology {
    /// The network of the recordings.
    #[must_use]
    pub fn recorded() -> Topology {
        let mut topology = Topology {
            nic_ports: vec![nic_port("eth0", 1), nic_port("eth1", 2)],
            local: [v4("127.0.0.1"), v6("::1")].into(),
            neighbours: HashMap::new(),
            routes: Vec::new(),
        };
        for NicPort { info, .. } in &topology.nic_ports {
            topology.local.extend(info.address_v4.map(IpAddr::V4));
            topology.local.extend(info.address_v6.map(IpAddr::V6));
        }
        for vip in 100..=103 {
            topology.local.insert(v4(&format!("10.0.1.{vip}")));
            topology.local.insert(v6(&format!("fd00:1::{vip}")));
        }
        topology.add_neighbours();
        topology.add_routes();
        topology
    }

    /// The digits of a host are those of the last byte of its link-layer address, in hexadecimal.
    fn add_neighbours(&mut self) {
        let both = [(1, 0x02), (1, 0xfe), (2, 0xfe)];
        let servers = (0x11..=0x18).map(|host| (2, host));
        for (net, host) in both.into_iter().chain(servers) {
            self.neighbours.insert(v6(&format!("fd00:{net}::{host:x}")), mac(net, host));
        }
        let v4_hosts = [(1, 0x02, 2), (1, 0x21, 21), (1, 0x22, 22), (1, 0xfe, 254), (2, 0xfe, 254)];
        let servers = (0..8).map(|nth| (2, 0x11 + nth, 11 + nth));
        for (net, host, address) in v4_hosts.into_iter().chain(servers) {
            self.neighbours.insert(v4(&format!("10.0.{net}.{address}")), mac(net, host));
        }
    }

    fn add_routes(&mut self) {
        let links = [("10.0.1.0", 24, 0), ("10.0.2.0", 24, 1), ("fd00:1::", 64, 0), ("fd00:2::", 64, 1)];
        for (prefix, len, nic_port) in links {
            self.add_route(prefix.parse().expect("a prefix of this file"), len, nic_port, None);
        }
        let remote = [
            ("192.0.2.0", 24, "10.0.1.254"),
            ("198.51.100.0", 24, "10.0.1.254"),
            ("203.0.113.0", 24, "10.0.1.254"),
            ("10.0.3.0", 24, "10.0.2.254"),
            ("2001:db8::", 32, "fd00:1::fe"),
            ("fd00:3::", 64, "fd00:2::fe"),
        ];
        for (prefix, len, gateway) in remote {
            let gateway = gateway.parse().expect("a gateway of this file");
            self.add_route_via(prefix.parse().expect("a prefix of this file"), len, gateway);
        }
    }

    fn add_route(&mut self, prefix: IpAddr, len: u8, nic_port: usize, gateway: Option<IpAddr>) {
        self.routes.retain(|route| (route.prefix, route.len) != (prefix, len));
        self.routes.push(Route { prefix, len, nic_port, gateway, mtu: None });
    }

    /// `ip route add PREFIX/LEN via GATEWAY`. False if nothing leads to the gateway.
    pub fn add_route_via(&mut self, prefix: IpAddr, len: u8, gateway: IpAddr) -> bool {
        let Some(nic_port) = self.route(gateway).map(|route| route.nic_port) else { return false };
        self.add_route(prefix, len, nic_port, Some(gateway));
        true
    }

    /// `ip route add PREFIX/LEN dev NAME`. False if there is no such NIC port.
    pub fn add_route_on_link(&mut self, prefix: IpAddr, len: u8, name: &str) -> bool {
        let Some(nic_port) = self.nic_port(name) else { return false };
        self.add_route(prefix, len, usize::from(nic_port.0), None);
        true
    }

    /// `ip route … mtu N`: the path MTU of a route. False if there is no such route.
    pub fn set_route_mtu(&mut self, prefix: IpAddr, len: u8, mtu: u16) -> bool {
        let found = self.routes.iter_mut().find(|route| (route.prefix, route.len) == (prefix, len));
        found.map(|route| route.mtu = Some(mtu)).is_some()
    }

    /// `ip route del PREFIX/LEN`. False if there is no such route.
    pub fn delete_route(&mut self, prefix: IpAddr, len: u8) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| (route.prefix, route.len) != (prefix, len));
        self.routes.len() < before
    }

    /// `ip neigh add ADDRESS lladdr MAC`.
    pub fn add_neighbour(&mut self, address: IpAddr, mac: MacAddr) {
        self.neighbours.insert(address, mac);
    }

    /// `ip addr add ADDRESS`.
    pub fn add_address(&mut self, address: IpAddr) {
        self.local.insert(address);
    }

    /// `ip addr del ADDRESS`. False if it is none of the director's.
    pub fn delete_address(&mut self, address: IpAddr) -> bool {
        self.local.remove(&address)
    }

    /// `ip link set NAME mtu N`. False if there is no such NIC port.
    pub fn set_mtu(&mut self, name: &str, mtu: u16) -> bool {
        let found = self.nic_ports.iter_mut().find(|nic_port| nic_port.name == name);
        found.map(|nic_port| nic_port.info.mtu = mtu).is_some()
    }

    /// The NIC port of this name.
    #[must_use]
    pub fn nic_port(&self, name: &str) -> Option<NicPortId> {
        let index = self.nic_ports.iter().position(|nic_port| nic_port.name == name)?;
        u8::try_from(index).ok().map(NicPortId)
    }

    /// The name of a NIC port.
    #[must_use]
    pub fn name_of(&self, nic_port: NicPortId) -> &'static str {
        self.nic_ports.get(usize::from(nic_port.0)).map_or("?", |nic_port| nic_port.name)
    }

    /// What the engine is told of the NIC ports.
    #[must_use]
    pub fn nic_port_infos(&self) -> Vec<NicPortInfo> {
        self.nic_ports.iter().map(|nic_port| nic_port.info.clone()).collect()
    }

    /// What is known of one NIC port.
    #[must_use]
    pub fn info(&self, nic_port: NicPortId) -> Option<&NicPortInfo> {
        self.nic_ports.get(usize::from(nic_port.0)).map(|nic_port| &nic_port.info)
    }

    /// The director's own addresses, VIPs included.
    #[must_use]
    pub fn local(&self) -> &HashSet<IpAddr> {
        &self.local
    }

    /// Is this an address of the director?
    #[must_use]
    pub fn is_local(&self, address: &IpAddr) -> bool {
        self.local.contains(address) || matches!(address, IpAddr::V4(address) if address.is_loopback())
    }

    fn route(&self, address: IpAddr) -> Option<&Route> {
        self.routes
            .iter()
            .filter(|route| contains(route.prefix, route.len, address))
            .max_by_key(|route| route.len)
    }

    /// The way to any address.
    #[must_use]
    pub fn hop(&self, address: IpAddr) -> Hop {
        if self.is_local(&address) {
            return Hop::Local;
        }
        match self.route(address) {
            Some(route) => self.via(route, route.gateway.unwrap_or(address)),
            None => Hop::Unreachable,
        }
    }

    fn via(&self, route: &Route, neighbour: IpAddr) -> Hop {
        let Some(&dst_mac) = self.neighbours.get(&neighbour) else { return Hop::Unresolved };
        let info = &self.nic_ports[route.nic_port].info;
        let nic_port = NicPortId(u8::try_from(route.nic_port).unwrap_or(u8::MAX));
        let mtu = route.mtu.unwrap_or(info.mtu);
        Hop::Via(NextHop { nic_port, mtu, dst_mac, src_mac: info.mac })
    }

    /// The source address that routing selects for packets to `address`.
    #[must_use]
    pub fn source_for(&self, address: IpAddr) -> Option<IpAddr> {
        if self.is_local(&address) {
            return Some(address);
        }
        let info = &self.nic_ports[self.route(address)?.nic_port].info;
        match address {
            IpAddr::V4(_) => info.address_v4.map(IpAddr::V4),
            IpAddr::V6(_) => info.address_v6.map(IpAddr::V6),
        }
    }

    /// The routes of the snapshot: as the mirror of a kernel makes them, with neighbours and own addresses as host
    /// routes.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let mut routes = Routes::default();
        for route in &self.routes {
            let hop = match route.gateway {
                Some(gateway) => self.via(route, gateway),
                None => Hop::Unresolved,
            };
            routes.insert(route.prefix, route.len, hop);
        }
        for &neighbour in self.neighbours.keys() {
            routes.insert(neighbour, 128, self.hop(neighbour));
        }
        for &address in &self.local {
            routes.insert(address, 128, Hop::Local);
        }
        routes.insert(v4("127.0.0.0"), 8, Hop::Local);
        routes
    }
}

impl Resolver for Topology {
    fn resolve(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>) {
        (self.hop(daddr), self.source_for(daddr))
    }
}

fn contains(prefix: IpAddr, len: u8, address: IpAddr) -> bool {
    let equal = |one: u128, other: u128, width: u8| {
        (one ^ other).checked_shr(u32::from(width.saturating_sub(len))).unwrap_or(0) == 0
    };
    match (prefix, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => equal(one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => equal(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        let topology = Topology::recorded();
        let hop = |text: &str| topology.hop(text.parse().unwrap());
        let via = |nic_port: u8, net, host| {
            Hop::Via(NextHop {
                nic_port: NicPortId(nic_port),
                mtu: 1500,
                dst_mac: mac(net, host),
                src_mac: mac(net, 1),
            })
        };
        assert_eq!(hop("192.0.2.9"), via(0, 1, 0xfe));
        assert_eq!(hop("10.0.2.12"), via(1, 2, 0x12));
        assert_eq!(hop("fd00:2::12"), via(1, 2, 0x12));
        assert_eq!(hop("fd00:3::7"), via(1, 2, 0xfe));
        assert_eq!(hop("10.0.2.99"), Hop::Unresolved);
        assert_eq!(
            (hop("10.0.1.101"), hop("127.3.2.1"), hop("8.8.8.8")),
            (Hop::Local, Hop::Local, Hop::Unreachable)
        );
        assert_eq!(topology.source_for(v4("10.0.3.1")), Some(v4("10.0.2.1")));
        for text in ["192.0.2.9", "10.0.2.12", "fd00:3::7", "10.0.2.99", "127.3.2.1", "8.8.8.8"] {
            let address = text.parse().unwrap();
            assert_eq!(topology.routes().lookup(address), topology.hop(address), "{text}");
        }
    }
}
