//! The far end of an IP-in-IP tunnel, for a real server whose kernel has no tunnel driver: takes 4in4, 6in4, 4in6 and
//! 6in6 packets from raw sockets and hands the inner packet to the machine's own stack, by sending it, header included,
//! to the address it carries. That address is a local one (the VIP on `lo`), so the packet goes through the loopback
//! and arrives like any other. The checksums of the inner packet are verified by the kernel, as for any packet.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// IANA protocol number of an IPv4 packet inside an IP packet (RFC 2003).
pub const PROTOCOL_IPIP: u8 = 4;
/// IANA protocol number of an IPv6 packet inside an IP packet (RFC 2473, RFC 4213).
pub const PROTOCOL_IPV6: u8 = 41;

/// One tunnel: a family of the outer header and one of the inner.
pub struct Tunnel {
    outer: Socket,
    outer_is_ipv4: bool,
    inner: Socket,
    inner_is_ipv4: bool,
}

impl Tunnel {
    /// The four tunnels of this network namespace.
    ///
    /// # Errors
    /// If raw sockets are not permitted (they need CAP_NET_RAW).
    pub fn open_all() -> io::Result<Vec<Tunnel>> {
        let families = [(true, true), (true, false), (false, true), (false, false)];
        families.into_iter().map(|(outer, inner)| Tunnel::open(outer, inner)).collect()
    }

    fn open(outer_is_ipv4: bool, inner_is_ipv4: bool) -> io::Result<Tunnel> {
        let family = |is_ipv4| if is_ipv4 { Domain::IPV4 } else { Domain::IPV6 };
        let number = if inner_is_ipv4 { PROTOCOL_IPIP } else { PROTOCOL_IPV6 };
        let outer = Socket::new(family(outer_is_ipv4), Type::RAW, Some(Protocol::from(i32::from(number))))?;
        outer.set_recv_buffer_size(4 << 20)?;
        // IPPROTO_RAW: what is sent starts with its IP header, in both families.
        const IPPROTO_RAW: i32 = 255;
        let inner = Socket::new(family(inner_is_ipv4), Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
        Ok(Tunnel { outer, outer_is_ipv4, inner, inner_is_ipv4 })
    }

    /// Unwraps packets for ever; what is not a tunnel packet is passed over.
    ///
    /// # Errors
    /// If the socket cannot be read any more.
    pub fn run(&self) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        loop {
            let len = (&self.outer).read(&mut buffer)?;
            let Some(inner) = self.inner_packet(&buffer[..len]) else { continue };
            let Some(target) = destination(inner, self.inner_is_ipv4) else { continue };
            // Not deliverable (not an address of ours): dropped, as a tunnel driver would.
            let _ = self.inner.send_to(inner, &SockAddr::from(SocketAddr::new(target, 0)));
        }
    }

    /// An IPv4 raw socket delivers the outer header too, an IPv6 one does not (raw(7), RFC 3542 section 3).
    fn inner_packet<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let outer_len = if self.outer_is_ipv4 { usize::from(packet.first()? & 0x0f) * 4 } else { 0 };
        packet.get(outer_len..)
    }
}

/// The destination of an IP packet, `None` if it is not a whole header of the family.
fn destination(packet: &[u8], is_ipv4: bool) -> Option<IpAddr> {
    let version = packet.first()? >> 4;
    match is_ipv4 {
        true if version == 4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?).into()),
        false if version == 6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_only_from_a_whole_header_of_the_right_family() {
        let mut packet = [0; 40];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 0, 1, 100]);
        assert_eq!(destination(&packet, true), Some("10.0.1.100".parse().unwrap()));
        assert_eq!(destination(&packet[..19], true), None);
        assert_eq!(destination(&packet, false), None);
        packet[0] = 0x60;
        packet[24..40].copy_from_slice(&"fd00:1::100".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(destination(&packet, false), Some("fd00:1::100".parse().unwrap()));
        assert_eq!(destination(&packet[..39], false), None);
        assert_eq!(destination(&[], false), None);
    }
}
