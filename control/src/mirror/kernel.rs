//! What the kernel knows: links, addresses, routes, neighbours, as rtnetlink tells them.

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use shunt_wire::MacAddr;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A neighbour's place: index of the interface, and address.
pub(super) type NeighbourKey = (u32, IpAddr);

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// Bytes of IP packet.
    pub mtu: u32,
    pub mac: Option<MacAddr>,
    pub up: bool,
    /// The interface under it, if frames pass between the two as they are but for the address: under a macvlan.
    pub under: Option<u32>,
}

/// An address of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub interface: u32,
    pub address: IpAddr,
    pub prefix_len: u8,
    /// Would the kernel choose it as the source of a packet to the world?
    pub is_source: bool,
}

/// A next hop of a route that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelHop {
    /// Of the interface.
    pub index: u32,
    pub gateway: Option<IpAddr>,
    /// Its share of the destinations, if there are several.
    pub weight: u32,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// At least one.
    NextHops(Vec<KernelHop>),
    /// To the director itself.
    Local,
    /// Blackhole, unreachable, prohibit, throw.
    Reject,
}

/// A route of the main table, or of the local table if its target is [`Target::Local`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub prefix: IpNet,
    pub target: Target,
    /// Metric: the lowest wins among routes of one prefix.
    pub priority: u32,
    pub mtu: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
}

/// Links, addresses and routes: learnt in dumps, because the kernel does not tell all that a change does to routes
/// (those of an interface that goes down vanish in silence).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Topology {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
}

impl Topology {
    /// Takes over one message of a dump.
    pub fn learn(&mut self, message: RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(message) => self.links.extend(link(message)),
            RouteNetlinkMessage::NewAddress(message) => self.addresses.extend(address(message)),
            RouteNetlinkMessage::NewRoute(message) => self.routes.extend(route(message)),
            _ => {}
        }
    }
}

/// Neighbours whose link-layer address is known and may be used.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Neighbours {
    known: HashMap<NeighbourKey, MacAddr>,
}

impl Neighbours {
    pub fn get(&self, key: NeighbourKey) -> Option<MacAddr> {
        self.known.get(&key).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NeighbourKey, MacAddr)> {
        self.known.iter().map(|(key, mac)| (*key, *mac))
    }

    /// Takes over one message, of a dump or an event. True if that changed anything that packets would notice.
    pub fn learn(&mut self, message: RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewNeighbour(message) => match neighbour(&message) {
                Some((key, Some(mac))) => self.known.insert(key, mac) != Some(mac),
                Some((key, None)) => self.known.remove(&key).is_some(),
                None => false,
            },
            RouteNetlinkMessage::DelNeighbour(message) => {
                neighbour(&message).is_some_and(|(key, _)| self.known.remove(&key).is_some())
            }
            _ => false,
        }
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    bytes.try_into().ok().map(MacAddr)
}

fn link(message: LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        mac: None,
        up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp),
        under: None,
    };
    let (mut is_macvlan, mut elsewhere) = (false, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(&bytes),
            LinkAttribute::Link(index) => link.under = Some(index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                is_macvlan = infos.contains(&LinkInfo::Kind(InfoKind::MacVlan));
            }
            _ => {}
        }
    }
    link.under = link.under.filter(|_| is_macvlan && !elsewhere);
    (!link.name.is_empty()).then_some(link)
}

fn address(message: AddressMessage) -> Option<Address> {
    let (mut local, mut remote) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the other end, IFA_LOCAL our own.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let unfit = match message.header.family {
        AddressFamily::Inet => AddressFlags::Secondary,
        // For IPv6 the same bit marks temporary addresses, which the kernel does choose.
        _ => AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated,
    };
    Some(Address {
        interface: message.header.index,
        address: local.or(remote)?,
        prefix_len: message.header.prefix_len,
        is_source: message.header.scope == AddressScope::Universe && !flags.intersects(unfit),
    })
}

fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Option<MacAddr>)> {
    // The bridge's forwarding table comes by the same messages.
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || message.header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let (mut destination, mut link_layer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    // In all of these states the kernel itself sends to the address that it knows.
    let usable = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let link_layer = link_layer.filter(|mac| usable && *mac != MacAddr([0; 6]));
    Some(((message.header.ifindex, destination?), link_layer))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// Interface and gateway among the attributes of a route or of one hop of it.
fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

/// Those of several next hops whose links are up.
fn alive(hops: &[RouteNextHop]) -> Vec<KernelHop> {
    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let alive = hops.iter().filter(|hop| !hop.flags.intersects(dead));
    let hop = |hop: &RouteNextHop| KernelHop {
        index: hop.interface_index,
        gateway: gateway(&hop.attributes),
        // The kernel counts from 0.
        weight: u32::from(hop.hops) + 1,
    };
    alive.map(hop).collect()
}

fn route(message: RouteMessage) -> Option<Route> {
    const TABLE_MAIN: u32 = 254;
    const TABLE_LOCAL: u32 = 255;
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let unusable = RouteFlags::Dead | RouteFlags::Linkdown | RouteFlags::Cloned;
    // Routes for packets of one type of service, or from some sources only, are for other packets than most.
    let is_special = message.header.source_prefix_length != 0 || message.header.tos != 0;
    if message.header.flags.intersects(unusable) || is_special {
        return None;
    }
    let (mut table, mut destination) = (u32::from(message.header.table), unspecified);
    let gateway = gateway(&message.attributes);
    let mut hops = Vec::new();
    let (mut priority, mut mtu, mut source) = (0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Oif(index) => hops = vec![KernelHop { index: *index, gateway, weight: 1 }],
            RouteAttribute::Priority(metric) => priority = *metric,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(several) => hops = alive(several),
            _ => {}
        }
    }
    let target = match (message.header.kind, table) {
        (RouteType::Unicast, TABLE_MAIN) if !hops.is_empty() => Target::NextHops(hops),
        (RouteType::Local, TABLE_LOCAL | TABLE_MAIN) => Target::Local,
        // After the main table comes one that is empty, so what it does not want to answer goes nowhere.
        (
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw,
            TABLE_MAIN,
        ) => Target::Reject,
        _ => return None,
    };
    let prefix = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { prefix, target, priority, mtu, source })
}
