//! The kernel's view, and static entries of the configuration, as the engine needs them.

use super::kernel::{Address, KernelHop, Link, NeighbourKey, Neighbours, Route, Target, Topology};
use super::prefixes::{Prefixes, host};
use super::{MirrorPort, StaticWays};
use ipnet::IpNet;
use shunt_engine::tables::{Hop, NextHop, NicPortInfo, Routes, chosen_next_hop};
use shunt_wire::{MacAddr, NicPortId};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The kernel sends link-local packets by the interface that a program names; a director has no such programs.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Where a prefix leads.
#[derive(Clone, Debug)]
enum Way {
    /// Through twins, so by their NIC ports: one of these for each address.
    Out(Vec<Leg>),
    /// As the configuration says.
    Static(NextHop),
    Local,
    Unreachable,
}

/// A next hop.
#[derive(Clone, Copy, Debug)]
struct Leg {
    out: Out,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    weight: u32,
}

impl Leg {
    /// The neighbour to which packets for `daddr` go.
    fn neighbour(&self, daddr: IpAddr) -> NeighbourKey {
        (self.out.interface, self.gateway.unwrap_or(daddr))
    }

    /// Where a packet goes of which only this is known.
    fn hop(&self, neighbours: &Neighbours) -> Hop {
        let gateway = self.gateway.and_then(|gateway| neighbours.get((self.out.interface, gateway)));
        gateway.map_or(Hop::Unresolved, |mac| self.out.via(mac))
    }
}

/// One twin as a way out.
#[derive(Clone, Copy, Debug)]
struct Out {
    interface: u32,
    nic_port: NicPortId,
    /// Bytes of IP packet.
    mtu: u16,
    src_mac: MacAddr,
}

impl Out {
    fn via(self, dst_mac: MacAddr) -> Hop {
        Hop::Via(NextHop { nic_port: self.nic_port, mtu: self.mtu, dst_mac, src_mac: self.src_mac })
    }
}

/// All that the engine and the director learn from the mirror, at one moment.
pub(super) struct View {
    /// Ways to everywhere, neighbours folded in.
    pub routes: Routes,
    /// The director's own addresses.
    pub local: HashSet<IpAddr>,
    /// Broadcast addresses of the director's IPv4 networks.
    pub broadcast: HashSet<IpAddr>,
    /// By NIC port.
    pub nic_ports: Vec<NicPortInfo>,
    /// Gateways of routes through twins.
    pub gateways: HashSet<NeighbourKey>,
    ways: Prefixes<Way>,
    addresses: Vec<Address>,
    /// Source addresses of the configuration by NIC port.
    static_sources: Vec<(NicPortId, IpAddr)>,
}

impl View {
    pub fn new(
        ports: &[MirrorPort],
        fixed: &StaticWays,
        topology: &Topology,
        neighbours: &Neighbours,
    ) -> View {
        let outs = outs(ports, &topology.links);
        let mut view = View {
            routes: Routes::default(),
            local: topology.addresses.iter().map(|address| address.address).collect(),
            broadcast: topology.addresses.iter().filter_map(broadcast).collect(),
            nic_ports: Vec::new(),
            gateways: HashSet::new(),
            ways: ways(ports, fixed, topology, &outs),
            addresses: topology.addresses.clone(),
            static_sources: fixed.local.iter().map(|(address, nic_port)| (*nic_port, *address)).collect(),
        };
        view.local.extend(fixed.local.iter().map(|(address, _)| *address));
        view.nic_ports = view.describe(ports, &topology.links);
        view.fold(neighbours);
        view
    }

    /// Makes the engine's table: every way, and a host route for each neighbour on a link.
    fn fold(&mut self, neighbours: &Neighbours) {
        for (prefix, way) in self.ways.iter_mut() {
            let (address, len) = (prefix.addr(), prefix.prefix_len());
            match way {
                Way::Out(legs) => {
                    let gateways = legs.iter().filter(|leg| leg.gateway.is_some());
                    self.gateways.extend(gateways.map(|leg| leg.neighbour(address)));
                    leave_out_silent(legs, neighbours);
                    match &legs[..] {
                        [leg] => self.routes.insert(address, len, leg.hop(neighbours)),
                        legs => {
                            let hops: Vec<_> =
                                legs.iter().map(|leg| (leg.hop(neighbours), leg.weight)).collect();
                            self.routes.insert_several(address, len, &hops);
                        }
                    }
                }
                Way::Static(next_hop) => self.routes.insert(address, len, Hop::Via(*next_hop)),
                Way::Local => self.routes.insert(address, len, Hop::Local),
                Way::Unreachable => self.routes.insert(address, len, Hop::Unreachable),
            }
        }
        for ((interface, address), mac) in neighbours.iter() {
            // A neighbour that its own route does not lead to (a stale one, or one that a more specific route hides)
            // must not catch packets.
            match self.leg(address) {
                Some(Leg { out, gateway: None, .. })
                    if out.interface == interface && !is_link_local(address) =>
                {
                    let prefix = host(address);
                    self.routes.insert(address, prefix.prefix_len(), out.via(mac));
                }
                _ => {}
            }
        }
    }

    /// The next hop for an address, if it is reached through a twin.
    fn leg(&self, address: IpAddr) -> Option<&Leg> {
        match self.ways.lookup(address)? {
            Way::Out(legs) => legs.get(chosen_next_hop(address, legs.iter().map(|leg| leg.weight))),
            _ => None,
        }
    }

    fn describe(&self, ports: &[MirrorPort], links: &[Link]) -> Vec<NicPortInfo> {
        let describe = |(index, port): (usize, &MirrorPort)| {
            let link = twin_of(port, links);
            let nic_port = NicPortId(index as u8);
            let sources: Vec<IpAddr> = self.sources(link.map(|link| link.index), nic_port).collect();
            NicPortInfo {
                mac: port.mac,
                other_macs: link.map_or_else(Vec::new, |link| other_macs(port, link, links)),
                mtu: link.map_or(port.mtu, |link| smaller(port.mtu, link.mtu)),
                address_v4: sources.iter().find_map(|address| match address {
                    IpAddr::V4(address) => Some(*address),
                    IpAddr::V6(_) => None,
                }),
                address_v6: sources.iter().find_map(|address| match address {
                    IpAddr::V4(_) => None,
                    IpAddr::V6(address) => Some(*address),
                }),
            }
        };
        ports.iter().enumerate().map(describe).collect()
    }

    /// Addresses that may stand as source of packets that leave there, best first: those of the interface, those of the
    /// configuration, then any other (the kernel also takes another interface's if this one has none).
    fn sources(&self, interface: Option<u32>, nic_port: NicPortId) -> impl Iterator<Item = IpAddr> {
        let fit = self.addresses.iter().filter(|address| address.is_source);
        let (own, others): (Vec<_>, Vec<_>) = fit.partition(|address| Some(address.interface) == interface);
        let (own_fixed, other_fixed): (Vec<_>, Vec<_>) =
            self.static_sources.iter().partition(|(other, _)| *other == nic_port);
        let learnt =
            |list: Vec<&Address>| list.into_iter().map(|address| address.address).collect::<Vec<_>>();
        let fixed = |list: Vec<&(NicPortId, IpAddr)>| list.into_iter().map(|(_, address)| *address).collect();
        [learnt(own), fixed(own_fixed), learnt(others), fixed(other_fixed)].into_iter().flatten()
    }

    /// The hop towards `daddr`, and the source address that routing selects.
    pub fn resolve(&self, daddr: IpAddr) -> (Hop, Option<IpAddr>) {
        let hop = self.routes.lookup(daddr);
        let source = match (self.leg(daddr), self.ways.lookup(daddr)) {
            (Some(Leg { source: Some(source), .. }), _) => Some(*source),
            (Some(Leg { out, gateway, .. }), _) => {
                self.source(Some(out.interface), out.nic_port, *gateway, daddr)
            }
            (None, Some(Way::Static(next_hop))) => self.source(None, next_hop.nic_port, None, daddr),
            (None, _) => None,
        };
        (hop, source)
    }

    fn source(
        &self,
        interface: Option<u32>,
        nic_port: NicPortId,
        gateway: Option<IpAddr>,
        daddr: IpAddr,
    ) -> Option<IpAddr> {
        let target = gateway.filter(|gateway| gateway.is_ipv4() == daddr.is_ipv4()).unwrap_or(daddr);
        // The kernel prefers an address of the network that the packet is sent into.
        let beside = self.addresses.iter().find(|address| {
            address.is_source && Some(address.interface) == interface && net(address).contains(&target)
        });
        let any = || self.sources(interface, nic_port).find(|address| address.is_ipv4() == daddr.is_ipv4());
        beside.map(|address| address.address).or_else(any)
    }

    /// The neighbour whose link-layer address packets for `daddr` need, if that is not fixed.
    pub fn neighbour_of(&self, daddr: IpAddr) -> Option<NeighbourKey> {
        Some(self.leg(daddr)?.neighbour(daddr))
    }
}

/// Of several next hops those serve whose neighbour is known, as long as there are any. The others' neighbours are asked
/// for all the time, so they are back as soon as they answer.
fn leave_out_silent(legs: &mut Vec<Leg>, neighbours: &Neighbours) {
    let answers = |leg: &Leg| leg.gateway.is_none() || leg.hop(neighbours) != Hop::Unresolved;
    if legs.iter().any(answers) {
        legs.retain(answers);
    }
}

fn net(address: &Address) -> IpNet {
    IpNet::new(address.address, address.prefix_len).unwrap_or_else(|_| host(address.address))
}

fn smaller(mtu: u16, other: u32) -> u16 {
    u16::try_from(other).map_or(mtu, |other| mtu.min(other))
}

fn twin_of<'a>(port: &MirrorPort, links: &'a [Link]) -> Option<&'a Link> {
    links.iter().find(|link| Some(&link.name) == port.twin.as_ref())
}

/// The interfaces that frames leave through by the same NIC port: macvlans on the twin.
fn on_top<'a>(twin: &'a Link, links: &'a [Link]) -> impl Iterator<Item = &'a Link> {
    links.iter().filter(|link| link.under == Some(twin.index))
}

/// Addresses but the NIC port's own to which frames for the director go. Keepalived puts a VIP of VRRP on a macvlan of the
/// virtual router's MAC (`use_vmac`).
fn other_macs(port: &MirrorPort, twin: &Link, links: &[Link]) -> Vec<MacAddr> {
    let upper = on_top(twin, links).filter(|link| link.up);
    [twin].into_iter().chain(upper).filter_map(|link| link.mac).filter(|mac| *mac != port.mac).collect()
}

fn outs(ports: &[MirrorPort], links: &[Link]) -> HashMap<u32, Out> {
    let mut outs = HashMap::new();
    for (index, port) in ports.iter().enumerate() {
        let Some(twin) = twin_of(port, links).filter(|link| link.up) else { continue };
        let nic_port = NicPortId(index as u8);
        let upper =
            on_top(twin, links).filter(|link| link.up).map(|link| (link, link.mac.unwrap_or(port.mac)));
        for (link, src_mac) in [(twin, port.mac)].into_iter().chain(upper) {
            let mtu = smaller(port.mtu, twin.mtu.min(link.mtu));
            outs.insert(link.index, Out { interface: link.index, nic_port, mtu, src_mac });
        }
    }
    outs
}

/// The last address of a network of more than two.
fn broadcast(address: &Address) -> Option<IpAddr> {
    match IpNet::new(address.address, address.prefix_len).ok()? {
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast().into()),
        _ => None,
    }
}

fn ways(
    ports: &[MirrorPort],
    fixed: &StaticWays,
    topology: &Topology,
    outs: &HashMap<u32, Out>,
) -> Prefixes<Way> {
    let mut ways = Prefixes::default();
    // The kernel asks its local table first, then takes the lowest metric.
    let mut routes: Vec<&Route> = topology.routes.iter().collect();
    routes.sort_by_key(|route| (route.target != Target::Local, route.priority));
    for route in routes {
        if !ways.contains(&route.prefix) {
            ways.insert(route.prefix, way(route, outs));
        }
    }
    for (prefix, nic_port, dst_mac) in &fixed.next_hops {
        if let Some(port) = ports.get(usize::from(nic_port.0)) {
            let next_hop =
                NextHop { nic_port: *nic_port, mtu: port.mtu, dst_mac: *dst_mac, src_mac: port.mac };
            ways.insert(*prefix, Way::Static(next_hop));
        }
    }
    let local = topology.addresses.iter().map(|address| address.address);
    for address in local.chain(fixed.local.iter().map(|(address, _)| *address)) {
        ways.insert(host(address), Way::Local);
    }
    ways
}

fn way(route: &Route, outs: &HashMap<u32, Out>) -> Way {
    let leg = |hop: &KernelHop| {
        // Where the kernel could send and the NIC ports cannot is no way.
        let out = outs.get(&hop.index)?;
        let mtu = route.mtu.map_or(out.mtu, |mtu| smaller(out.mtu, mtu));
        let (gateway, weight) = (hop.gateway, hop.weight);
        Some(Leg { out: Out { mtu, ..*out }, gateway, source: route.source, weight })
    };
    match &route.target {
        Target::Local => Way::Local,
        Target::Reject => Way::Unreachable,
        Target::NextHops(hops) => match hops.iter().filter_map(leg).collect::<Vec<_>>() {
            legs if legs.is_empty() => Way::Unreachable,
            legs => Way::Out(legs),
        },
    }
}

#[cfg(test)]
mod tests;
