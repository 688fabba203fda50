//! What is measured.

use crate::director::{Method, Service};
use shunt_compare::orders::{Pattern, Payload, Stream};

/// A measurement.
pub struct Case {
    pub name: &'static str,
    /// Also in a quick run.
    pub quick: bool,
    pub kind: Kind,
}

/// How it is measured.
pub enum Kind {
    /// Established flows through virtio-user, beside testpmd.
    Established(Flow),
    /// New flows only, beside testpmd.
    New,
    /// Two services of the same director.
    Versus { fresh: bool, one: Service, other: Service, ratio_min: f64 },
    /// A SYN flood beside established flows, to a service with this scheduler and so many servers.
    Flood { scheduler: &'static str, servers: u32 },
    /// How long packets are under way.
    Latency,
    /// Changes of the tables while packets flow.
    Publish,
    /// What a worker without work takes, and how fast it wakes.
    Idle,
    /// The engine alone, from memory: cycles per packet of established flows next to the floor.
    Engine,
    /// The engine alone: new flows, memory, two workers.
    Figures,
    /// The engine alone: 100 M connections.
    Hold,
    /// One core, packets from memory: net_pcap. The target in Mpps.
    Pcap { flows: u32, mpps_min: f64 },
}

/// Established flows.
pub struct Flow {
    pub method: Method,
    pub family: u8,
    pub payload: Payload,
    pub flows: u32,
    pub pattern: Pattern,
    /// Half of the packets are replies of the real servers.
    pub replies: bool,
    pub ratio_min: Option<f64>,
}

const FLOW: Flow = Flow {
    method: Method::DirectRouting,
    family: 4,
    payload: Payload::Udp,
    flows: 1_000_000,
    pattern: Pattern::Uniform,
    replies: false,
    ratio_min: None,
};

impl Flow {
    pub fn service(&self) -> Service {
        Service {
            family: self.family,
            udp: self.payload == Payload::Udp,
            vport: 80,
            scheduler: "rr",
            method: self.method,
            servers: 4,
        }
    }

    /// Streams, and which of them make the connections.
    pub fn streams(&self) -> (Vec<Stream>, Vec<(usize, Option<usize>)>) {
        let Flow { flows, family, payload, pattern, .. } = *self;
        let requests =
            Stream { network: 48, flows, family, vport: 80, payload, pattern, replies: false, share: 32 };
        if self.replies {
            let requests = Stream { share: 16, ..requests };
            let replies = Stream { replies: true, ..requests.clone() };
            return (vec![requests, replies], vec![(0, Some(1))]);
        }
        if payload == Payload::Udp {
            return (vec![requests], vec![(0, None)]);
        }
        let opening = Stream { payload: Payload::Syn, share: 0, ..requests.clone() };
        (vec![requests, opening], vec![(1, None), (0, None)])
    }
}

/// A stream of flows that are all new.
pub fn fresh(network: u8, vport: u16, payload: Payload) -> Stream {
    let (pattern, replies) = (Pattern::Fresh, false);
    Stream { network, flows: u32::MAX, family: 4, vport, payload, pattern, replies, share: 32 }
}

pub const fn udp_service(vport: u16, scheduler: &'static str, servers: u32) -> Service {
    Service { family: 4, udp: true, vport, scheduler, method: Method::DirectRouting, servers }
}

/// All measurements, in the order in which they are made.
pub fn all() -> Vec<Case> {
    let case = |name, quick, kind| Case { name, quick, kind };
    let flow = |name, quick, flow| case(name, quick, Kind::Established(flow));
    let nat = Flow { method: Method::Nat, ..FLOW };
    vec![
        flow("dr-1k", true, Flow { flows: 1000, ..FLOW }),
        flow("dr-64k", false, Flow { flows: 64_000, ..FLOW }),
        flow("dr-1m", true, Flow { ratio_min: Some(0.8), ..FLOW }),
        flow("dr-10m", false, Flow { flows: 10_000_000, ..FLOW }),
        flow("dr-1m-zipf", false, Flow { pattern: Pattern::Zipf, ..FLOW }),
        flow("dr-1m-tcp", false, Flow { payload: Payload::Ack, ..FLOW }),
        flow("dr6-1m", false, Flow { family: 6, ..FLOW }),
        flow("ipip-1m", true, Flow { method: Method::Tunnel, ratio_min: Some(0.7), ..FLOW }),
        flow("nat-1m", true, Flow { ratio_min: Some(0.7), ..nat }),
        flow("nat-1m-both", true, Flow { replies: true, ratio_min: Some(0.65), method: Method::Nat, ..FLOW }),
        flow("nat6-1m", false, Flow { family: 6, method: Method::Nat, ..FLOW }),
        case("new-udp-wlc", true, Kind::New),
        case(
            "new-1000-servers",
            true,
            Kind::Versus {
                fresh: true,
                one: udp_service(80, "wlc", 10),
                other: udp_service(81, "wlc", 1000),
                ratio_min: 0.95,
            },
        ),
        case(
            "new-wlc-to-rr",
            true,
            Kind::Versus {
                fresh: true,
                one: udp_service(80, "rr", 10),
                other: udp_service(81, "wlc", 10),
                ratio_min: 0.9,
            },
        ),
        case(
            "established-wlc-to-rr",
            true,
            Kind::Versus {
                fresh: false,
                one: udp_service(80, "rr", 10),
                other: udp_service(81, "wlc", 10),
                ratio_min: 0.97,
            },
        ),
        case("syn-flood", true, Kind::Flood { scheduler: "rr", servers: 4 }),
        case("syn-flood-wlc", true, Kind::Flood { scheduler: "wlc", servers: 10 }),
        case("latency", true, Kind::Latency),
        case("publish", true, Kind::Publish),
        case("idle", true, Kind::Idle),
        case("engine", true, Kind::Engine),
        case("engine-figures", true, Kind::Figures),
        case("engine-100m", false, Kind::Hold),
        case("pcap-1k", true, Kind::Pcap { flows: 1000, mpps_min: 18.0 }),
        case("pcap-32k", true, Kind::Pcap { flows: 32_000, mpps_min: 15.0 }),
    ]
}
