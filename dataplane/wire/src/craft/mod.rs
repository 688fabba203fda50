//! Builds complete Ethernet frames, and checks them. For tests and tools: it allocates, and it is not fast.
//!
//! What a builder is not told has a sensible default, and lengths and checksums are right unless a fault was asked for.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use shunt_wire::Flags;
//! use shunt_wire::craft::{Craft, check};
//!
//! let client = Craft::v4("192.0.2.9".parse()?, "10.0.1.100".parse()?);
//! let syn = client.clone().tcp(40_000, 80, Flags::SYN).frame();
//! let checked = check(&syn)?;
//! assert_eq!((checked.sport, checked.dport, checked.ttl), (40_000, 80, 64));
//!
//! // A broken one, in a VLAN.
//! let broken = client.vlan(7).udp(40_000, 53).payload(b"?").wrong_transport_checksum().frame();
//! assert!(check(&broken).is_err());
//! # Ok(())
//! # }
//! ```

mod assemble;
mod checker;
mod transport;

pub use checker::{Checked, Decapsulated, Fault, Tunnel, check, decapsulate};
use transport::Transport;

use crate::ethernet::ether_type;
use crate::frame::NicPortId;
use crate::heap_frame::HeapFrame;
use crate::ip_protocol;
use crate::mac::MacAddr;
use crate::tcp::Flags;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What to do with a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Right,
    Wrong,
    Zero,
}

/// The two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    V4 { src: Ipv4Addr, dst: Ipv4Addr },
    V6 { src: Ipv6Addr, dst: Ipv6Addr },
}

/// A frame in the making. Each method returns the builder; [`frame`](Craft::frame) and its siblings end it.
#[derive(Clone, Debug)]
pub struct Craft {
    src_mac: MacAddr,
    dst_mac: MacAddr,
    /// EtherType and tag control information, from the outside in.
    tags: Vec<(u16, u16)>,
    ends: Ends,
    ttl: u8,
    traffic_class: u8,
    flow_label: u32,
    id: u16,
    dont_fragment: bool,
    options: Vec<u8>,
    /// Type and bytes behind the first two, which are filled in.
    extensions: Vec<(u8, Vec<u8>)>,
    fragment: Option<(u16, bool, u32)>,
    transport: Transport,
    payload: Vec<u8>,
    ip_sum: Sum,
    transport_sum: Sum,
}

impl Craft {
    /// Source address of frames that were not told another.
    pub const SRC_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    /// Destination address of frames that were not told another.
    pub const DST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// An IPv4 packet.
    #[must_use]
    pub fn v4(src: Ipv4Addr, dst: Ipv4Addr) -> Craft {
        Craft::new(Ends::V4 { src, dst })
    }

    /// An IPv6 packet.
    #[must_use]
    pub fn v6(src: Ipv6Addr, dst: Ipv6Addr) -> Craft {
        Craft::new(Ends::V6 { src, dst })
    }

    /// A packet of the family that both addresses are of; `None` if they differ.
    #[must_use]
    pub fn between(src: IpAddr, dst: IpAddr) -> Option<Craft> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Craft::v4(src, dst)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Craft::v6(src, dst)),
            _ => None,
        }
    }

    fn new(ends: Ends) -> Craft {
        Craft {
            src_mac: Craft::SRC_MAC,
            dst_mac: Craft::DST_MAC,
            tags: Vec::new(),
            ends,
            ttl: 64,
            traffic_class: 0,
            flow_label: 0,
            id: 0x1234,
            dont_fragment: false,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport: Transport::Raw { protocol: ip_protocol::NO_NEXT_HEADER },
            payload: Vec::new(),
            ip_sum: Sum::Right,
            transport_sum: Sum::Right,
        }
    }

    /// Ethernet source and destination.
    #[must_use]
    pub fn macs(mut self, src: MacAddr, dst: MacAddr) -> Craft {
        (self.src_mac, self.dst_mac) = (src, dst);
        self
    }

    /// Adds an 802.1Q tag inside those that are there.
    #[must_use]
    pub fn vlan(mut self, vlan_id: u16) -> Craft {
        self.tags.push((ether_type::VLAN, vlan_id));
        self
    }

    /// Adds a service tag (802.1ad) inside those that are there.
    #[must_use]
    pub fn qinq(mut self, vlan_id: u16) -> Craft {
        self.tags.push((ether_type::QINQ, vlan_id));
        self
    }

    /// TTL or hop limit; 64 if not called.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Craft {
        self.ttl = ttl;
        self
    }

    /// Type of service or traffic class: DSCP in the upper six bits, ECN in the lower two.
    #[must_use]
    pub fn traffic_class(mut self, traffic_class: u8) -> Craft {
        self.traffic_class = traffic_class;
        self
    }

    /// Flow label of IPv6, of which 20 bits count.
    #[must_use]
    pub fn flow_label(mut self, flow_label: u32) -> Craft {
        self.flow_label = flow_label;
        self
    }

    /// Identification of IPv4.
    #[must_use]
    pub fn id(mut self, id: u16) -> Craft {
        self.id = id;
        self
    }

    /// Sets DF in IPv4.
    #[must_use]
    pub fn dont_fragment(mut self) -> Craft {
        self.dont_fragment = true;
        self
    }

    /// Options of IPv4, up to 40 bytes; the end is padded to a multiple of 4 with "end of options".
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Craft {
        const MAX: usize = 40;
        self.options = options[..options.len().min(MAX)].to_vec();
        self.options.resize(self.options.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an IPv6 extension header of this type behind those that are there. `body` is what follows its first two
    /// bytes, and is padded with zeros to the next possible length.
    #[must_use]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Craft {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// Makes it one fragment: what follows the IP header is said to lie `offset` bytes (a multiple of 8) into its
    /// packet. In IPv6 the fragment header comes behind all other extension headers. See also
    /// [`fragments`](Craft::fragments), which cuts a whole packet.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool, id: u32) -> Craft {
        self.fragment = Some((offset, more, id));
        self
    }

    /// TCP, with sequence number 1000, acknowledgment number 2000 if ACK is set, and window 65535.
    #[must_use]
    pub fn tcp(mut self, sport: u16, dport: u16, flags: Flags) -> Craft {
        let acknowledgment = if flags.contains(Flags::ACK) { 2000 } else { 0 };
        self.transport =
            Transport::Tcp { sport, dport, flags, sequence: 1000, acknowledgment, options: Vec::new() };
        self
    }

    /// Sequence and acknowledgment number of TCP; call it after [`tcp`](Craft::tcp).
    #[must_use]
    pub fn sequence(mut self, sequence: u32, acknowledgment: u32) -> Craft {
        if let Transport::Tcp { sequence: own, acknowledgment: other, .. } = &mut self.transport {
            (*own, *other) = (sequence, acknowledgment);
        }
        self
    }

    /// Options of TCP, up to 40 bytes, padded like those of IPv4; call it after [`tcp`](Craft::tcp).
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Craft {
        const MAX: usize = 40;
        if let Transport::Tcp { options, .. } = &mut self.transport {
            *options = bytes[..bytes.len().min(MAX)].to_vec();
            options.resize(options.len().next_multiple_of(4), 0);
        }
        self
    }

    /// UDP.
    #[must_use]
    pub fn udp(mut self, sport: u16, dport: u16) -> Craft {
        self.transport = Transport::Udp { sport, dport };
        self
    }

    /// SCTP with one chunk, which the payload fills; see [`crate::sctp::chunk`] for its type.
    #[must_use]
    pub fn sctp(mut self, sport: u16, dport: u16, chunk: u8) -> Craft {
        self.transport =
            Transport::Sctp { sport, dport, tag: 0x0102_0304, chunks: vec![(chunk, Vec::new())] };
        self
    }

    /// Adds a chunk in front of the last, which the payload fills; call it after [`sctp`](Craft::sctp).
    #[must_use]
    pub fn chunk_before(mut self, kind: u8, value: &[u8]) -> Craft {
        if let Transport::Sctp { chunks, .. } = &mut self.transport {
            chunks.insert(chunks.len() - 1, (kind, value.to_vec()));
        }
        self
    }

    /// ICMP of the packet's family. `rest` is the second half of the header: identifier and sequence number, or MTU.
    #[must_use]
    pub fn icmp(mut self, kind: u8, code: u8, rest: u32) -> Craft {
        self.transport = Transport::Icmp { kind, code, rest };
        self
    }

    /// IPIP: the payload is the IP packet of another frame.
    #[must_use]
    pub fn ipip(self, inner: &Craft) -> Craft {
        self.protocol(inner.tunnel_protocol()).payload(&inner.packet())
    }

    /// GUE, variant 0 without options: the same behind UDP.
    #[must_use]
    pub fn gue(self, sport: u16, dport: u16, inner: &Craft) -> Craft {
        let header = [0, inner.tunnel_protocol(), 0, 0];
        self.udp(sport, dport).payload(&[&header[..], &inner.packet()].concat())
    }

    /// GRE without key and sequence number, with a checksum or not.
    #[must_use]
    pub fn gre(mut self, checksum: bool, inner: &Craft) -> Craft {
        self.transport = Transport::Gre { ethertype: inner.ethertype(), checksum };
        self.payload(&inner.packet())
    }

    /// Another protocol, or a later fragment: the payload follows the IP header.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Craft {
        self.transport = Transport::Raw { protocol };
        self
    }

    /// What follows the transport header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Craft {
        self.payload = payload.to_vec();
        self
    }

    /// Makes the header checksum of IPv4 wrong.
    #[must_use]
    pub fn wrong_ip_checksum(mut self) -> Craft {
        self.ip_sum = Sum::Wrong;
        self
    }

    /// Makes the checksum of TCP, UDP, SCTP, ICMP or GRE wrong. That of UDP does not become 0.
    #[must_use]
    pub fn wrong_transport_checksum(mut self) -> Craft {
        self.transport_sum = Sum::Wrong;
        self
    }

    /// Sets the checksum of TCP, UDP, SCTP, ICMP or GRE to 0: for UDP it means "none".
    #[must_use]
    pub fn zero_transport_checksum(mut self) -> Craft {
        self.transport_sum = Sum::Zero;
        self
    }

    /// The same packet in the other direction: Ethernet addresses, IP addresses and ports change places.
    #[must_use]
    pub fn reversed(mut self) -> Craft {
        std::mem::swap(&mut self.src_mac, &mut self.dst_mac);
        match &mut self.ends {
            Ends::V4 { src, dst } => std::mem::swap(src, dst),
            Ends::V6 { src, dst } => std::mem::swap(src, dst),
        }
        self.transport.reverse();
        self
    }

    /// The finished frame. A packet longer than its length field can say claims the most that it can.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        [self.link_header(), self.packet()].concat()
    }

    /// The finished frame, padded with zeros to the 60 bytes that Ethernet needs.
    #[must_use]
    pub fn padded_frame(&self) -> Vec<u8> {
        let mut frame = self.frame();
        frame.resize(frame.len().max(crate::ethernet::FRAME_LEN_MIN), 0);
        frame
    }

    /// The finished frame, received from a NIC port.
    #[must_use]
    pub fn heap_frame(&self, nic_port: NicPortId) -> HeapFrame {
        HeapFrame::new(&self.frame(), nic_port)
    }

    fn ethertype(&self) -> u16 {
        match self.ends {
            Ends::V4 { .. } => ether_type::IPV4,
            Ends::V6 { .. } => ether_type::IPV6,
        }
    }

    /// The IP protocol of this packet inside another.
    fn tunnel_protocol(&self) -> u8 {
        match self.ends {
            Ends::V4 { .. } => ip_protocol::IPIP,
            Ends::V6 { .. } => ip_protocol::IPV6,
        }
    }
}
