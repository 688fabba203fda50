//! Against the real kernel, in network namespaces of their own: one for the director, one for its peer.

use super::*;
use crate::dataplane::tests::Recorder;
use crate::director::{Limits, StaticResolver};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use shunt_engine::tables::Tables;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

const NIC_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const PEER_MAC: &str = "02:00:00:00:02:11";

/// Two namespaces joined by a veth pair: `twin-lan` here, `peer` there. Removed with the value.
struct Namespaces {
    here: String,
    there: String,
}

fn ip_tool(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Namespaces {
    fn new(name: &str) -> Namespaces {
        let name = |side: &str| format!("shunt-{name}-{side}-{}", std::process::id());
        let namespaces = Namespaces { here: name("here"), there: name("there") };
        let Namespaces { here, there } = &namespaces;
        ip_tool(&format!("netns add {here}"));
        ip_tool(&format!("netns add {there}"));
        ip_tool(&format!("-n {here} link add twin-lan type veth peer name peer netns {there}"));
        for command in ["link set lo up", "link set twin-lan up", "addr add 10.0.2.254/24 dev twin-lan"] {
            namespaces.here(command);
        }
        ip_tool(&format!("-n {there} link set peer address {PEER_MAC} up"));
        ip_tool(&format!("-n {there} addr add 10.0.2.11/24 dev peer"));
        ip_tool(&format!("-n {there} addr add 10.0.2.1/24 dev peer"));
        ip_tool(&format!("-n {there} addr add 2001:db8:2::11/64 dev peer nodad"));
        namespaces
    }

    fn here(&self, command: &str) {
        ip_tool(&format!("-n {} {command}", self.here));
    }

    /// Moves the calling thread into the director's namespace.
    fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.here)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

struct Rig {
    namespaces: Namespaces,
    dataplane: Arc<Recorder>,
    director: Arc<Mutex<Director>>,
    requests: Arc<NeighbourRequests>,
    _mirror: Mirror,
}

impl Rig {
    /// `None` where namespaces cannot be made.
    fn new(name: &str, prepare: impl FnOnce(&Namespaces)) -> Option<Rig> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make network namespaces");
            return None;
        }
        let namespaces = Namespaces::new(name);
        prepare(&namespaces);
        namespaces.enter();
        let dataplane = Arc::new(Recorder::new(1, 64));
        let limits = Limits { services: 16, servers: 64 };
        let resolver = Arc::new(StaticResolver::default());
        let director = Director::new(dataplane.clone(), resolver, Vec::new(), limits);
        let director = Arc::new(Mutex::new(director));
        let port = MirrorPort { mac: NIC_MAC, mtu: 1500, twin: Some("twin-lan".to_owned()) };
        let requests = Arc::new(NeighbourRequests::new().unwrap());
        let fixed = StaticWays::default();
        let mirror = Mirror::start(vec![port], fixed, director.clone(), requests.clone()).unwrap();
        Some(Rig { namespaces, dataplane, director, requests, _mirror: mirror })
    }

    fn hop(&self, address: &str) -> Hop {
        let address = address.parse().unwrap();
        lock(&self.dataplane.published)
            .last()
            .map_or(Hop::Unreachable, |tables| tables.routes().lookup(address))
    }

    fn latest<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(lock(&self.dataplane.published).last().expect("something was published"))
    }

    /// Waits until `fine` holds; the time that it took.
    fn wait(&self, what: &str, fine: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !fine() {
            assert!(begun.elapsed() < Duration::from_secs(5), "not within 5 s: {what}");
            std::thread::sleep(Duration::from_micros(100));
        }
        begun.elapsed()
    }

    fn wait_hop(&self, address: &str, hop: Hop) -> Duration {
        self.wait(&format!("{address} is {hop:?}"), || self.hop(address) == hop)
    }
}

fn via(mtu: u16) -> Hop {
    let dst_mac = PEER_MAC.parse::<crate::config::Mac>().unwrap().0;
    Hop::Via(shunt_engine::tables::NextHop { nic_port: NicPortId(0), mtu, dst_mac, src_mac: NIC_MAC })
}

#[test]
fn what_was_there_at_start_is_mirrored() {
    let Some(rig) = Rig::new("start", |namespaces| {
        namespaces.here(&format!("neigh add 10.0.2.77 lladdr {PEER_MAC} dev twin-lan"));
        namespaces.here("route add 203.0.113.0/24 via 10.0.2.77");
        namespaces.here("route add 198.51.100.0/24 nexthop via 10.0.2.77 nexthop via 10.0.2.78");
        namespaces.here("route add blackhole 192.168.0.0/16");
        namespaces.here("route add throw 203.0.113.128/25");
        namespaces.here("route add 203.0.113.0/24 tos 0x10 via 10.0.2.78");
        namespaces.here("addr add 2001:db8:2::fe/64 dev twin-lan nodad");
        namespaces.here("link set twin-lan mtu 1400");
    }) else {
        return;
    };
    for (address, hop) in [
        ("10.0.2.77", via(1400)),
        ("203.0.113.9", via(1400)),
        ("198.51.100.9", via(1400)),
        ("192.168.1.1", Hop::Unreachable),
        ("203.0.113.129", Hop::Unreachable),
        ("10.0.2.254", Hop::Local),
        ("127.0.0.1", Hop::Local),
        ("10.0.2.99", Hop::Unresolved),
        ("2001:db8:2::fe", Hop::Local),
        ("2001:db8:2::99", Hop::Unresolved),
        ("8.8.8.8", Hop::Unreachable),
    ] {
        assert_eq!(rig.hop(address), hop, "{address}");
    }
    assert!(rig.latest(|tables| tables.is_local(&"10.0.2.254".parse().unwrap())));
    rig.latest(|tables| {
        let info = &tables.nic_ports()[0];
        assert_eq!((info.mac, info.mtu, info.address_v4), (NIC_MAC, 1400, Some([10, 0, 2, 254].into())));
        assert_eq!(info.address_v6, Some("2001:db8:2::fe".parse().unwrap()));
    });
}

#[test]
fn a_missing_neighbour_is_resolved_by_the_kernel() {
    let Some(rig) = Rig::new("arp", |namespaces| {
        namespaces.here("addr add 2001:db8:2::fe/64 dev twin-lan nodad");
        namespaces.here("route add default via 10.0.2.1");
    }) else {
        return;
    };
    let requests = &rig.requests;
    // Gateways of routes are looked after without being asked for.
    rig.wait_hop("8.8.8.8", via(1500));
    assert_eq!(rig.hop("10.0.2.11"), Hop::Unresolved);
    requests.resolve_neighbour("10.0.2.11".parse().unwrap());
    let took = rig.wait_hop("10.0.2.11", via(1500));
    eprintln!("ARP, and in force: {took:?}");
    requests.resolve_neighbour("2001:db8:2::11".parse().unwrap());
    rig.wait_hop("2001:db8:2::11", via(1500));
    rig.namespaces.here("neigh del 10.0.2.11 dev twin-lan");
    rig.wait_hop("10.0.2.11", Hop::Unresolved);
}

#[test]
fn changes_are_mirrored_soon() {
    let Some(rig) = Rig::new("change", |_| {}) else { return };
    let here = |command: &str| rig.namespaces.here(command);
    here(&format!("neigh add 10.0.2.77 lladdr {PEER_MAC} dev twin-lan"));
    let took = rig.wait_hop("10.0.2.77", via(1500));
    assert!(took < Duration::from_millis(500), "{took:?}");
    here("route add 203.0.113.0/24 via 10.0.2.77 mtu 1300");
    rig.wait_hop("203.0.113.9", via(1300));
    here("route replace 203.0.113.0/24 via 10.0.2.77");
    rig.wait_hop("203.0.113.9", via(1500));
    here("addr add 192.0.2.1/32 dev twin-lan");
    let vip: IpAddr = "192.0.2.1".parse().unwrap();
    rig.wait("the VIP is local", || rig.latest(|tables| tables.is_local(&vip)));
    here("addr del 192.0.2.1/32 dev twin-lan");
    rig.wait("the VIP is gone", || rig.latest(|tables| !tables.is_local(&vip)));
    // The kernel does not tell that these routes go.
    here("link set twin-lan down");
    rig.wait_hop("203.0.113.9", Hop::Unreachable);
    rig.wait_hop("10.0.2.77", Hop::Unreachable);
    here("link set twin-lan up");
    rig.wait_hop("10.0.2.12", Hop::Unresolved);
}

/// Keepalived's `use_vmac`: the VIP on a macvlan of the virtual router's MAC.
#[test]
fn a_macvlan_on_a_twin_is_a_way_in_and_out() {
    const VIRTUAL_MAC: &str = "00:00:5e:00:01:33";
    let Some(rig) = Rig::new("macvlan", |_| {}) else { return };
    let virtual_mac = VIRTUAL_MAC.parse::<crate::config::Mac>().unwrap().0;
    let twin_mac = rig.latest(|tables| tables.nic_ports()[0].other_macs.clone());
    assert_eq!(twin_mac.len(), 1, "the twin of this test has a MAC of its own");
    let here = |command: &str| rig.namespaces.here(command);
    here(&format!("link add link twin-lan name vrrp address {VIRTUAL_MAC} type macvlan mode private"));
    here("addr add 192.0.2.1/32 dev vrrp");
    here("link set vrrp up");
    let has = || rig.latest(|tables| tables.nic_ports()[0].other_macs.contains(&virtual_mac));
    rig.wait("the virtual MAC is ours", has);
    here("addr add 10.7.0.1/24 dev vrrp");
    here(&format!("neigh add 10.7.0.11 lladdr {PEER_MAC} dev vrrp"));
    let Hop::Via(next_hop) = via(1500) else { unreachable!() };
    let through = Hop::Via(shunt_engine::tables::NextHop { src_mac: virtual_mac, ..next_hop });
    rig.wait_hop("10.7.0.11", through);
    here("link set vrrp down");
    rig.wait("it is not", || !has());
    rig.wait_hop("10.7.0.11", Hop::Unreachable);
}

/// Two gateways at two addresses of the peer, of which one then is silent, and a link that goes.
#[test]
fn several_next_hops_share_a_route() {
    let Some(rig) = Rig::new("ecmp", |namespaces| {
        namespaces.here("link add other type veth peer name other-end");
        namespaces.here("link set other up");
        namespaces.here("link set other-end up");
        namespaces.here("addr add 2001:db8:2::fe/64 dev twin-lan nodad");
        let peers = [("10.0.2.77", PEER_MAC), ("10.0.2.78", "02:00:00:00:02:78")];
        for (address, mac) in peers.into_iter().chain([("2001:db8:2::77", PEER_MAC)]) {
            namespaces.here(&format!("neigh add {address} lladdr {mac} dev twin-lan"));
        }
        namespaces.here("route add default nexthop via 10.0.2.77 weight 3 nexthop via 10.0.2.78");
        namespaces.here("-6 route add 2001:db8:9::/48 nexthop via 2001:db8:2::77 nexthop via 2001:db8:2::78");
    }) else {
        return;
    };
    let first = || (0..=255).filter(|n| rig.hop(&format!("198.51.100.{n}")) == via(1500)).count();
    let (share, all) = (first(), || (0..=255).all(|n| rig.hop(&format!("198.51.{n}.1")) == via(1500)));
    assert!((160..224).contains(&share), "of 256 addresses {share}, for a weight of 3 to 1");
    // Of two gateways over IPv6 one does not answer.
    assert!((0..=255).all(|n| rig.hop(&format!("2001:db8:9::{n}")) == via(1500)));
    rig.namespaces.here("neigh del 10.0.2.78 dev twin-lan");
    rig.wait("the one that answers is left", all);
    rig.namespaces.here("neigh add 10.0.2.78 lladdr 02:00:00:00:02:78 dev twin-lan");
    rig.wait("both are back", || first() == share);
    rig.namespaces.here("route replace default nexthop via 10.0.2.77 nexthop dev other");
    rig.wait("only the twin's next hop counts", all);
}

/// Of routes that change with a next hop, the kernel says nothing but that the next hop has.
#[test]
fn routes_follow_their_next_hop_objects() {
    let Some(rig) = Rig::new("nexthop", |namespaces| {
        namespaces.here(&format!("neigh add 10.0.2.77 lladdr {PEER_MAC} dev twin-lan"));
        namespaces.here("nexthop add id 7 via 10.0.2.77 dev twin-lan");
        namespaces.here("nexthop add id 8 via 10.0.2.78 dev twin-lan");
        namespaces.here("nexthop add id 10 group 7/8");
        namespaces.here("route add 203.0.113.0/24 nhid 7");
        namespaces.here("route add 198.51.100.0/24 nhid 10");
    }) else {
        return;
    };
    assert_eq!([rig.hop("203.0.113.9"), rig.hop("198.51.100.9")], [via(1500); 2]);
    rig.namespaces.here("nexthop del id 7");
    rig.wait_hop("203.0.113.9", Hop::Unreachable);
    rig.wait_hop("198.51.100.9", Hop::Unresolved);
}

#[test]
fn servers_follow_their_neighbours() {
    use crate::ipvsadm::{Access, SystemNames};
    let Some(rig) = Rig::new("server", |_| {}) else { return };
    let run = |line: &str| {
        let argv = crate::protocol::argv(line).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let names = SystemNames::default();
        let director = &rig.director;
        let status = crate::ipvsadm::run(
            &argv,
            &mut io::empty(),
            &mut out,
            &mut err,
            director,
            &names,
            Access::ReadWrite,
        );
        assert_eq!(status, 0, "{line}: {}", String::from_utf8_lossy(&err));
    };
    run("-A -t 192.0.2.1:80 -s rr");
    run("-a -t 192.0.2.1:80 -r 10.0.2.11:8080 -i");
    // Adding the server made the kernel ask for it, and the answer reached the server.
    let server =
        || rig.latest(|tables| tables.servers().next().map(|server| (server.hop, server.tunnel_source)));
    let expected = Some((via(1500), Some("10.0.2.254".parse().unwrap())));
    let took = rig.wait("the server is resolved", || server() == expected);
    eprintln!("from the command to the resolved server: {took:?}");
}

#[test]
fn a_flood_is_survived_and_gathered() {
    const ROUTES: usize = 5_000;
    let Some(rig) = Rig::new("flood", |namespaces| {
        namespaces.here(&format!("neigh add 10.0.2.77 lladdr {PEER_MAC} dev twin-lan"));
    }) else {
        return;
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..ROUTES {
        use std::io::Write;
        writeln!(file, "route add 172.{}.{}.0/24 via 10.0.2.77", 16 + n / 256, n % 256).unwrap();
    }
    let before = lock(&rig.dataplane.published).len();
    rig.namespaces.here(&format!("-batch {}", file.path().display()));
    let last = format!("172.{}.{}.1", 16 + (ROUTES - 1) / 256, (ROUTES - 1) % 256);
    rig.wait_hop(&last, via(1500));
    for n in (0..ROUTES).step_by(97) {
        assert_eq!(rig.hop(&format!("172.{}.{}.1", 16 + n / 256, n % 256)), via(1500));
    }
    let publications = lock(&rig.dataplane.published).len() - before;
    eprintln!("{ROUTES} routes in {publications} publications");
    assert!(publications < ROUTES / 5, "{publications}");
}

#[test]
fn without_twins_the_configuration_alone_counts() {
    let dataplane = Arc::new(Recorder::new(1, 16));
    let limits = Limits { services: 1, servers: 1 };
    let director = Director::new(dataplane.clone(), Arc::new(StaticResolver::default()), Vec::new(), limits);
    let director = Arc::new(Mutex::new(director));
    let port = MirrorPort { mac: NIC_MAC, mtu: 1500, twin: None };
    let mac = PEER_MAC.parse::<crate::config::Mac>().unwrap().0;
    let fixed = |prefix: &str| StaticWays {
        next_hops: vec![(prefix.parse().unwrap(), NicPortId(0), mac)],
        local: Vec::new(),
    };
    let requests = Arc::new(NeighbourRequests::new().unwrap());
    let mirror = Mirror::start(vec![port], fixed("10.0.0.0/8"), director, requests).unwrap();
    let hop = |address: &str| {
        let published = lock(&dataplane.published);
        published.last().unwrap().routes().lookup(address.parse().unwrap())
    };
    assert_eq!(hop("10.1.1.1"), via(1500));
    assert_eq!(hop("11.1.1.1"), Hop::Unreachable);
    mirror.reload(fixed("11.0.0.0/8"));
    let begun = Instant::now();
    while hop("11.1.1.1") != via(1500) {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(hop("10.1.1.1"), Hop::Unreachable);
}
