//! Reading a packet that needs no special care: TCP or UDP in one piece, right behind an IP header without options,
//! right behind an Ethernet header without tags.
//!
//! Nearly all packets are plain. All that is asked of one is asked here, in straight-line code over one array of known
//! length; whatever fails goes to [`classify`](crate::packet::classify), which knows all the cases and the reasons.

use crate::conn::{Address, Tuple};
use crate::forward::nat::End;
use crate::packet::{IPV4_LEN, IPV6_LEN, Kind, Packet, plain_header_is_valid};
use crate::state::{Signal, protocol, tcp::bits};
use crate::tables::{Hop, Ipip, Routes, Server};
use shunt_wire::checksum::{self, Delta};
use shunt_wire::{MacAddr, NicPortId};

/// Where the IP header of a plain packet begins.
pub const L3: usize = 14;
/// Shortest headers of the two protocols, bytes.
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// The bytes that the shortest plain frame has: Ethernet, IPv4 and UDP headers.
pub type Head = [u8; L3 + IPV4_LEN + UDP_LEN];

/// A plain packet. 16 bytes for IPv4.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Plain<A> {
    /// Destination address, host order.
    pub dst: A,
    /// Source address. Behind the destination, as in a header whose bytes are swapped as a whole.
    pub src: A,
    /// Destination port, host order.
    pub dport: u16,
    /// Source port.
    pub sport: u16,
    /// Length of the IP packet in bytes, header included.
    pub ip_len: u16,
    /// TCP or UDP.
    pub protocol: u8,
    /// The flags byte of TCP.
    pub tcp_flags: u8,
}

/// A family's way of reading.
pub trait Read: Address {
    /// Where the transport header of a plain packet begins.
    const L4: usize;

    /// [`Plain::read`].
    fn read(plain: &mut Plain<Self>, bytes: &[u8], gate: &Gate) -> Option<()>;

    /// Lowers the TTL or hop limit of a plain frame by one, and repairs the checksum of IPv4.
    fn lower_ttl(head: &mut Head);

    /// The way to an address.
    fn route(routes: &Routes, address: Self) -> Hop;

    /// The same, and gives one end another address and port. `delta` is what the new address does to a checksum.
    fn readdress(bytes: &mut [u8], end: End, address: Self, l4_port: u16, delta: Delta);

    /// The header of IPIP over IPv4 around IPv4, if this is the family and that the tunnel.
    fn ipip(server: &Server) -> Option<&Ipip>;
}

impl<A: Read> Plain<A> {
    /// A place for a packet to be read into.
    pub fn empty() -> Plain<A> {
        let (src, dst) = (A::default(), A::default());
        Plain { src, dst, sport: 0, dport: 0, ip_len: 0, protocol: 0, tcp_flags: 0 }
    }

    /// Reads a frame that the gate lets pass. Returns false, and leaves anything here, if it is not plain.
    #[inline(always)]
    #[must_use]
    pub fn read(&mut self, bytes: &[u8], gate: &Gate) -> bool {
        A::read(self, bytes, gate).is_some()
    }

    /// What the connection table is asked for.
    #[inline]
    #[must_use]
    pub fn tuple(&self) -> Tuple<A> {
        let &Plain { src, dst, sport, dport, protocol, .. } = self;
        Tuple { src, dst, sport, dport, protocol }
    }

    /// Length of its frame without padding, bytes.
    #[inline]
    #[must_use]
    pub fn frame_len(&self) -> usize {
        L3 + usize::from(self.ip_len)
    }

    /// Does it leave every state as it is that the fast path knows: UDP's, and ESTABLISHED of TCP?
    #[inline]
    #[must_use]
    pub fn is_steady(&self) -> bool {
        const CHANGING: u8 = bits::SYN | bits::FIN | bits::RST;
        self.protocol == protocol::UDP || self.tcp_flags & (CHANGING | bits::ACK) == bits::ACK
    }

    /// Does it begin a connection, if there is none: a datagram, or a SYN and nothing else?
    #[inline]
    #[must_use]
    pub fn opens(&self) -> bool {
        const OTHERS: u8 = bits::FIN | bits::RST | bits::ACK;
        self.protocol == protocol::UDP || self.tcp_flags & (bits::SYN | OTHERS) == bits::SYN
    }

    /// What the transport header says.
    #[inline]
    #[must_use]
    pub fn signal(&self) -> Signal {
        if self.protocol == protocol::TCP { Signal::Tcp(self.tcp_flags) } else { Signal::Udp }
    }

    /// The same as [`classify`](crate::packet::classify) makes of it.
    #[inline]
    #[must_use]
    pub fn packet(&self, nic_port: NicPortId) -> Packet {
        Packet {
            kind: Kind::Flow,
            nic_port,
            family: A::FAMILY,
            l3: L3 as u16,
            l4: A::L4 as u16,
            ip_len: self.ip_len,
            protocol: self.protocol,
            signal: self.signal(),
            sport: self.sport,
            dport: self.dport,
            src: self.src.bits(),
            dst: self.dst.bits(),
        }
    }
}

/// Which frames of a NIC port may be plain: those that are addressed to it. A number, so that it is one comparison.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    nic_port: NicPortId,
    /// The address in the upper 48 bits; what lies below is 0, or no frame passes.
    mac: u64,
}

impl Gate {
    /// For the frames of a NIC port with this address. Without one, it lets none pass.
    #[must_use]
    pub fn new(nic_port: NicPortId, mac: Option<MacAddr>) -> Gate {
        const CLOSED: u64 = 1;
        let number = |MacAddr([a, b, c, d, e, f])| u64::from_le_bytes([0, 0, a, b, c, d, e, f]);
        Gate { nic_port, mac: mac.map_or(CLOSED, number) }
    }

    /// Is it the gate of this NIC port?
    #[inline]
    #[must_use]
    pub fn is_of(&self, nic_port: NicPortId) -> bool {
        self.nic_port == nic_port
    }

    /// Is a frame that begins so addressed to the NIC port?
    #[inline]
    fn lets_pass(&self, head: &[u8; 8]) -> bool {
        u64::from_le_bytes(*head) << 16 == self.mac
    }
}

/// The TCP flags; 0 for UDP. `None` if the packet is neither, or too short for what it is.
#[inline]
fn flags(protocol: u8, bytes: &[u8], l4: usize, ip_len: usize, header_len: usize) -> Option<u8> {
    match protocol {
        protocol::TCP if ip_len >= header_len + TCP_LEN => bytes.get(l4 + 13).copied(),
        protocol::UDP if ip_len >= header_len + UDP_LEN => Some(0),
        _ => None,
    }
}

#[inline]
fn be16(head: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}

/// Source and destination port of a transport header.
#[inline]
fn l4_ports(header: &[u8]) -> Option<(u16, u16)> {
    let both = u32::from_be_bytes(*header.first_chunk()?);
    Some(((both >> 16) as u16, both as u16))
}

impl Read for u32 {
    const L4: usize = L3 + IPV4_LEN;

    #[inline(always)]
    fn read(plain: &mut Plain<u32>, bytes: &[u8], gate: &Gate) -> Option<()> {
        const HEAD: usize = u32::L4 + UDP_LEN;
        const ETHERTYPE: [u8; 2] = [0x08, 0x00];
        /// Version 4, five words.
        const VERSION_AND_LEN: u8 = 0x45;
        const MORE_OR_OFFSET: u16 = 0x3fff;
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let (ethernet, rest) = head.split_first_chunk::<L3>()?;
        let (header, transport) = rest.split_first_chunk::<IPV4_LEN>()?;
        let is_ipv4 = ethernet[12..] == ETHERTYPE && header[0] == VERSION_AND_LEN;
        if !gate.lets_pass(ethernet.first_chunk()?) || !is_ipv4 {
            return None;
        }
        let ip_len = be16(header, 2);
        let whole = be16(header, 6) & MORE_OR_OFFSET == 0 && bytes.len() >= L3 + usize::from(ip_len);
        let expendable_ttl = header[8] > 1;
        if !whole || !expendable_ttl || !plain_header_is_valid(header) {
            return None;
        }
        plain.tcp_flags = flags(header[9], bytes, u32::L4, usize::from(ip_len), IPV4_LEN)?;
        (plain.protocol, plain.ip_len) = (header[9], ip_len);
        let addresses = u64::from_be_bytes(*header.last_chunk()?);
        (plain.src, plain.dst) = ((addresses >> 32) as u32, addresses as u32);
        (plain.sport, plain.dport) = l4_ports(transport)?;
        Some(())
    }

    #[inline(always)]
    fn lower_ttl(head: &mut Head) {
        head[L3 + 8] -= 1;
        let checksum = checksum::after_ttl_decrement([head[L3 + 10], head[L3 + 11]]);
        [head[L3 + 10], head[L3 + 11]] = checksum;
    }

    #[inline]
    fn route(routes: &Routes, address: u32) -> Hop {
        routes.lookup_v4(address)
    }

    #[inline(always)]
    fn readdress(bytes: &mut [u8], end: End, address: u32, l4_port: u16, delta: Delta) {
        const HEAD: usize = u32::L4 + 4;
        let Some(head) = bytes.first_chunk_mut::<HEAD>() else { return };
        head[L3 + 8] -= 1;
        let checksum = Delta::TTL_DECREMENT.apply_field([head[L3 + 10], head[L3 + 11]]);
        [head[L3 + 10], head[L3 + 11]] = delta.apply_field(checksum);
        let (address_at, port_at) = match end {
            End::Source => (L3 + 12, u32::L4),
            End::Destination => (L3 + 16, u32::L4 + 2),
        };
        head[address_at..address_at + 4].copy_from_slice(&address.to_be_bytes());
        head[port_at..port_at + 2].copy_from_slice(&l4_port.to_be_bytes());
    }

    #[inline]
    fn ipip(server: &Server) -> Option<&Ipip> {
        server.outer.ipip.as_ref()
    }
}

impl Read for u128 {
    const L4: usize = L3 + IPV6_LEN;

    #[inline(always)]
    fn read(plain: &mut Plain<u128>, bytes: &[u8], gate: &Gate) -> Option<()> {
        const HEAD: usize = u128::L4 + UDP_LEN;
        const ETHERTYPE: u16 = 0x86dd;
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let (ethernet, rest) = head.split_first_chunk::<L3>()?;
        let (header, transport) = rest.split_first_chunk::<IPV6_LEN>()?;
        let is_ipv6 = be16(ethernet, 12) == ETHERTYPE && header[0] >> 4 == 6;
        if !gate.lets_pass(ethernet.first_chunk()?) || !is_ipv6 {
            return None;
        }
        let l4_len = usize::from(be16(header, 4));
        let ip_len = IPV6_LEN + l4_len;
        let whole = ip_len <= usize::from(u16::MAX) && bytes.len() >= L3 + ip_len;
        let expendable_hop_limit = header[7] > 1;
        if !whole || !expendable_hop_limit {
            return None;
        }
        plain.tcp_flags = flags(header[6], bytes, u128::L4, ip_len, IPV6_LEN)?;
        (plain.protocol, plain.ip_len) = (header[6], ip_len as u16);
        let (_, addresses) = header.split_first_chunk::<8>()?;
        let (src, dst) = addresses.split_first_chunk::<16>()?;
        plain.src = u128::from_be_bytes(*src);
        plain.dst = u128::from_be_bytes(*dst.first_chunk()?);
        (plain.sport, plain.dport) = l4_ports(transport)?;
        Some(())
    }

    #[inline(always)]
    fn lower_ttl(head: &mut Head) {
        head[L3 + 7] -= 1;
    }

    #[inline]
    fn route(routes: &Routes, address: u128) -> Hop {
        routes.lookup_v6(address)
    }

    #[inline(always)]
    fn readdress(bytes: &mut [u8], end: End, address: u128, l4_port: u16, _: Delta) {
        const HEAD: usize = u128::L4 + 4;
        let Some(head) = bytes.first_chunk_mut::<HEAD>() else { return };
        head[L3 + 7] -= 1;
        let (address_at, port_at) = match end {
            End::Source => (L3 + 8, u128::L4),
            End::Destination => (L3 + 24, u128::L4 + 2),
        };
        head[address_at..address_at + 16].copy_from_slice(&address.to_be_bytes());
        head[port_at..port_at + 2].copy_from_slice(&l4_port.to_be_bytes());
    }

    #[inline]
    fn ipip(_: &Server) -> Option<&Ipip> {
        None
    }
}
