use super::*;

const NIC: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ports() -> Vec<MirrorPort> {
    let port = |mac, twin: &str| MirrorPort { mac, mtu: 1500, twin: Some(twin.to_owned()) };
    vec![port(NIC[0], "twin-wan"), port(NIC[1], "twin-lan")]
}

fn link(index: u32, name: &str, mtu: u32) -> Link {
    Link { index, name: name.to_owned(), mtu, mac: None, up: true, under: None }
}

fn address(interface: u32, net: &str) -> Address {
    let net: IpNet = net.parse().unwrap();
    Address { interface, address: net.addr(), prefix_len: net.prefix_len(), is_source: true }
}

fn route(prefix: &str, index: u32, gateway: Option<&str>) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        target: Target::NextHops(vec![KernelHop { index, gateway: gateway.map(ip), weight: 1 }]),
        priority: 0,
        mtu: None,
        source: None,
    }
}

/// lo is 1, a management interface 2, the twins 3 and 4.
fn topology() -> Topology {
    Topology {
        links: vec![
            link(1, "lo", 65_536),
            link(2, "eth0", 1500),
            link(3, "twin-wan", 9000),
            link(4, "twin-lan", 1400),
        ],
        addresses: vec![
            address(3, "192.0.2.10/24"),
            address(4, "10.0.2.254/24"),
            address(4, "10.0.3.254/24"),
            address(4, "2001:db8:2::fe/64"),
        ],
        routes: vec![
            route("192.0.2.0/24", 3, None),
            route("10.0.2.0/24", 4, None),
            route("10.0.3.0/24", 4, None),
            route("2001:db8:2::/64", 4, None),
            route("0.0.0.0/0", 3, Some("192.0.2.1")),
            route("172.16.0.0/12", 2, Some("10.9.9.1")),
        ],
    }
}

fn neighbours(known: &[(u32, &str)]) -> Neighbours {
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
    let mut neighbours = Neighbours::default();
    for (interface, address) in known {
        let mut message = NeighbourMessage::default();
        message.header.family = ip(address).into();
        message.header.ifindex = *interface;
        message.header.state = NeighbourState::Stale;
        message.attributes.push(NeighbourAttribute::Destination(ip(address).into()));
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(PEER.0.to_vec()));
        assert!(neighbours.learn(RouteNetlinkMessage::NewNeighbour(message)));
    }
    neighbours
}

fn via(nic_port: u8, mtu: u16) -> Hop {
    Hop::Via(NextHop {
        nic_port: NicPortId(nic_port),
        mtu,
        dst_mac: PEER,
        src_mac: NIC[usize::from(nic_port)],
    })
}

fn view(topology: &Topology, known: &[(u32, &str)]) -> View {
    View::new(&ports(), &StaticWays::default(), topology, &neighbours(known))
}

#[test]
fn neighbours_are_folded_into_routes() {
    let view = view(&topology(), &[(4, "10.0.2.11"), (3, "192.0.2.1"), (4, "2001:db8:2::11")]);
    // The smaller MTU of twin and NIC port counts.
    assert_eq!(view.resolve(ip("10.0.2.11")), (via(1, 1400), Some(ip("10.0.2.254"))));
    assert_eq!(view.resolve(ip("2001:db8:2::11")), (via(1, 1400), Some(ip("2001:db8:2::fe"))));
    assert_eq!(view.resolve(ip("10.0.2.12")).0, Hop::Unresolved);
    assert_eq!(view.neighbour_of(ip("10.0.2.12")), Some((4, ip("10.0.2.12"))));
    // Through the gateway.
    assert_eq!(view.resolve(ip("203.0.113.7")), (via(0, 1500), Some(ip("192.0.2.10"))));
    assert_eq!(view.neighbour_of(ip("203.0.113.7")), Some((3, ip("192.0.2.1"))));
    assert_eq!(view.gateways, HashSet::from([(3, ip("192.0.2.1"))]));
    // An address of the network that the packet goes into is preferred.
    assert_eq!(view.resolve(ip("10.0.3.9")).1, Some(ip("10.0.3.254")));
}

#[test]
fn an_unknown_gateway_leaves_its_routes_unresolved() {
    let view = view(&topology(), &[]);
    assert_eq!(view.resolve(ip("203.0.113.7")).0, Hop::Unresolved);
}

#[test]
fn other_interfaces_are_no_way_out() {
    // The longer prefix through eth0 hides the default route.
    let view = view(&topology(), &[(3, "192.0.2.1"), (2, "10.9.9.1")]);
    assert_eq!(view.resolve(ip("172.16.1.1")), (Hop::Unreachable, None));
    assert_eq!(view.resolve(ip("2001:db8:9::1")), (Hop::Unreachable, None));
    let mut topology = topology();
    topology.links[3].up = false;
    let down = View::new(&ports(), &StaticWays::default(), &topology, &neighbours(&[(4, "10.0.2.11")]));
    assert_eq!(down.resolve(ip("10.0.2.11")).0, Hop::Unreachable);
}

#[test]
fn own_addresses_are_local() {
    let view = view(&topology(), &[(4, "10.0.2.254")]);
    assert_eq!(view.resolve(ip("10.0.2.254")), (Hop::Local, None));
    assert!(view.local.contains(&ip("192.0.2.10")));
    assert_eq!(view.local.len(), 4);
    assert!(view.broadcast.contains(&ip("10.0.2.255")) && !view.broadcast.contains(&ip("10.0.2.254")));
}

#[test]
fn a_neighbour_counts_only_where_its_route_leads() {
    let mut topology = topology();
    topology.routes.push(route("10.0.2.64/26", 3, Some("192.0.2.1")));
    // Stale entries of the wrong interface, and of an address that is now behind a gateway.
    let view = view(&topology, &[(3, "10.0.2.11"), (4, "10.0.2.70"), (3, "192.0.2.1"), (4, "fe80::1")]);
    assert_eq!(view.resolve(ip("10.0.2.11")).0, Hop::Unresolved);
    assert_eq!(view.resolve(ip("10.0.2.70")).0, via(0, 1500));
    assert_eq!(view.routes.lookup(ip("fe80::1")), Hop::Unreachable);
}

#[test]
fn metrics_and_kinds_of_routes_count() {
    let mut topology = topology();
    let with = |priority, mut route: Route| {
        route.priority = priority;
        route
    };
    topology.routes.push(with(100, route("198.51.100.0/24", 3, Some("192.0.2.1"))));
    topology.routes.push(with(50, route("198.51.100.0/24", 4, None)));
    topology.routes.push(Route { target: Target::Reject, ..route("198.51.100.128/25", 3, None) });
    topology.routes.push(Route { target: Target::Local, ..route("203.0.113.0/24", 1, None) });
    topology.routes.push(Route {
        mtu: Some(1300),
        source: Some(ip("10.0.3.254")),
        ..route("10.7.0.0/16", 4, Some("10.0.2.11"))
    });
    let view = view(&topology, &[(4, "10.0.2.11"), (3, "192.0.2.1")]);
    assert_eq!(view.neighbour_of(ip("198.51.100.1")), Some((4, ip("198.51.100.1"))));
    assert_eq!(view.resolve(ip("198.51.100.200")), (Hop::Unreachable, None));
    assert_eq!(view.resolve(ip("203.0.113.77")).0, Hop::Local);
    assert_eq!(view.resolve(ip("10.7.1.1")), (via(1, 1300), Some(ip("10.0.3.254"))));
}

/// A route of next hops with these interfaces, gateways and weights.
fn several(prefix: &str, hops: &[(u32, Option<&str>, u32)]) -> Route {
    let hop = |&(index, gateway, weight): &(u32, Option<&str>, u32)| KernelHop {
        index,
        gateway: gateway.map(ip),
        weight,
    };
    Route { target: Target::NextHops(hops.iter().map(hop).collect()), ..route(prefix, 0, None) }
}

/// How many of 1,000 addresses of a network go each way.
fn ways_of(view: &View, net: &str) -> [usize; 3] {
    let first: std::net::Ipv4Addr = net.parse().unwrap();
    let mut ways = [0; 3];
    for n in 0..1000 {
        let daddr = std::net::Ipv4Addr::from_bits(first.to_bits() + n).into();
        ways[match (view.resolve(daddr), view.neighbour_of(daddr)) {
            ((Hop::Unresolved, _), Some(_)) => 2,
            // The source is of the interface by which it leaves, the neighbour the gateway there.
            ((hop, Some(source)), Some((3, gateway))) if gateway == ip("192.0.2.1") => {
                assert_eq!((hop, source), (via(0, 1500), ip("192.0.2.10")));
                0
            }
            ((hop, Some(source)), Some((4, gateway))) if gateway == ip("10.0.2.1") => {
                assert_eq!((hop, source), (via(1, 1400), ip("10.0.2.254")));
                1
            }
            other => panic!("{daddr}: {other:?}"),
        }] += 1;
        assert_eq!(view.routes.lookup(daddr), view.resolve(daddr).0);
    }
    ways
}

#[test]
fn several_next_hops_share_the_destinations() {
    let mut topology = topology();
    let (wan, lan) = ((3, Some("192.0.2.1"), 1), (4, Some("10.0.2.1"), 3));
    topology.routes.push(several("198.18.0.0/15", &[wan, lan]));
    // What only the kernel could send by is no next hop.
    topology.routes.push(several("198.51.0.0/16", &[(2, Some("10.9.9.1"), 5), wan]));
    topology.routes.push(several("203.0.112.0/20", &[(2, Some("10.9.9.1"), 5)]));
    let both = view(&topology, &[(3, "192.0.2.1"), (4, "10.0.2.1")]);
    let [by_wan, by_lan, unresolved] = ways_of(&both, "198.18.0.0");
    assert!((200..300).contains(&by_wan) && unresolved == 0, "{by_wan} to {by_lan}");
    assert_eq!(ways_of(&both, "198.51.100.0"), [1000, 0, 0]);
    assert_eq!(both.resolve(ip("203.0.113.1")), (Hop::Unreachable, None));
    assert_eq!(both.gateways, HashSet::from([(3, ip("192.0.2.1")), (4, ip("10.0.2.1"))]));
    // Who does not answer is asked for, but not sent to while another one answers.
    let one = view(&topology, &[(4, "10.0.2.1")]);
    assert_eq!(ways_of(&one, "198.18.0.0"), [0, 1000, 0]);
    assert_eq!(one.gateways, both.gateways);
    assert_eq!(ways_of(&view(&topology, &[]), "198.18.0.0"), [0, 0, 1000]);
}

/// A network that is on two links: a neighbour counts where its share of the addresses leads.
#[test]
fn next_hops_may_be_links() {
    let mut topology = topology();
    topology.routes.push(several("198.18.0.0/24", &[(3, None, 1), (4, None, 1)]));
    let addresses: Vec<String> = (1..100).map(|n| format!("198.18.0.{n}")).collect();
    let known = addresses.iter().flat_map(|address| [(3, &address[..]), (4, &address[..])]);
    let view = view(&topology, &known.collect::<Vec<_>>());
    let mut ways = [0; 2];
    for daddr in addresses.iter().map(|address| ip(address)) {
        let nic_port =
            (0..2).find(|port| view.resolve(daddr).0 == via(*port, [1500, 1400][usize::from(*port)]));
        let nic_port = nic_port.expect("the neighbour is known");
        assert_eq!(view.neighbour_of(daddr), Some((u32::from(nic_port) + 3, daddr)));
        ways[usize::from(nic_port)] += 1;
    }
    assert!(ways.iter().all(|count| *count > 30), "{ways:?}");
}

#[test]
fn nic_ports_have_sources() {
    let mut topology = topology();
    topology.addresses[0].is_source = false;
    let view = view(&topology, &[]);
    assert_eq!(view.nic_ports[1].address_v4, Some([10, 0, 2, 254].into()));
    assert_eq!(view.nic_ports[1].address_v6.map(IpAddr::from), Some(ip("2001:db8:2::fe")));
    assert_eq!(view.nic_ports[1].mtu, 1400);
    // None of its own that fits: another one's.
    assert_eq!(view.nic_ports[0].address_v4, Some([10, 0, 2, 254].into()));
    assert_eq!(view.nic_ports[0].mac, NIC[0]);
}

#[test]
fn static_ways_work_alone_and_beside_the_kernel() {
    let fixed = StaticWays {
        next_hops: vec![
            ("0.0.0.0/0".parse().unwrap(), NicPortId(0), PEER),
            ("10.0.2.0/24".parse().unwrap(), NicPortId(1), PEER),
        ],
        local: vec![(ip("10.0.2.254"), NicPortId(1)), (ip("192.0.2.1"), NicPortId(0))],
    };
    let alone: Vec<_> = ports().into_iter().map(|port| MirrorPort { twin: None, ..port }).collect();
    let view = View::new(&alone, &fixed, &Topology::default(), &Neighbours::default());
    assert_eq!(view.resolve(ip("10.0.2.11")), (via(1, 1500), Some(ip("10.0.2.254"))));
    assert_eq!(view.resolve(ip("8.8.8.8")), (via(0, 1500), Some(ip("192.0.2.1"))));
    assert_eq!(view.resolve(ip("192.0.2.1")).0, Hop::Local);
    assert_eq!(view.neighbour_of(ip("8.8.8.8")), None);
    assert_eq!(view.nic_ports[1].address_v4, Some([10, 0, 2, 254].into()));
    // A static way hides the kernel's route of the same prefix.
    let both = View::new(&ports(), &fixed, &topology(), &neighbours(&[]));
    assert_eq!(both.resolve(ip("203.0.113.7")).0, via(0, 1500));
    assert_eq!(both.resolve(ip("10.0.3.9")).0, Hop::Unresolved);
}
