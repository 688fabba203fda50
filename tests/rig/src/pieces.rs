//! UDP datagrams sent in fragments that are made here, so that a test chooses their size and order: the kernel would send
//! them in one order only.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

/// IANA protocol number of UDP.
const PROTOCOL_UDP: u8 = 17;
/// IANA protocol number of the IPv6 fragment header (RFC 8200 section 4.5).
const PROTOCOL_FRAGMENT: u8 = 44;
/// IPPROTO_RAW: what is sent starts with its IP header, in both families (raw(7)).
const IPPROTO_RAW: i32 = 255;
/// Hops that a fragment may take.
const TTL: u8 = 64;

/// Sends datagrams from one address to another, which must be of the same family.
pub struct Sender {
    socket: Socket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Sender {
    /// Of the present network namespace. `from` should be the address of a socket that waits for the answer.
    ///
    /// # Errors
    /// If raw sockets are not permitted (they need CAP_NET_RAW), or `from` is not an address of this namespace.
    pub fn open(from: SocketAddr, to: SocketAddr) -> io::Result<Sender> {
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
        // Routing by source address looks at the socket, not at the header.
        socket.bind(&SockAddr::from(SocketAddr::new(from.ip(), 0)))?;
        Ok(Sender { socket, from, to })
    }

    /// Sends `payload` in fragments of at most `piece_len` bytes of UDP, a multiple of 8. `order` gets them in their
    /// natural order and may turn it, drop some or double some.
    ///
    /// # Errors
    /// If the kernel does not send one.
    pub fn send(
        &self,
        payload: &[u8],
        piece_len: usize,
        order: impl FnOnce(&mut Vec<Vec<u8>>),
    ) -> io::Result<()> {
        assert!(piece_len > 0 && piece_len.is_multiple_of(8), "offsets are told in units of 8 bytes");
        // No two datagrams of a process are alike, from whichever sender: what is left of one must not meet the next.
        static IDENTIFICATION: AtomicU32 = AtomicU32::new(0x5000);
        let identification = IDENTIFICATION.fetch_add(1, Ordering::Relaxed);
        let datagram = self.datagram(payload);
        let last = datagram.len().div_ceil(piece_len) - 1;
        let piece = |(nth, bytes): (usize, &[u8])| {
            self.fragment(identification, (nth * piece_len / 8) as u16, nth < last, bytes)
        };
        let mut pieces: Vec<Vec<u8>> = datagram.chunks(piece_len).enumerate().map(piece).collect();
        order(&mut pieces);
        let target = SockAddr::from(SocketAddr::new(self.to.ip(), 0));
        pieces.iter().try_for_each(|piece| self.socket.send_to(piece, &target).map(drop))
    }

    /// UDP header and payload.
    fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + payload.len()).expect("at most 65,527 bytes");
        let mut bytes = Vec::with_capacity(len.into());
        for word in [self.from.port(), self.to.port(), len, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(payload);
        let pseudo = [&octets(self.from.ip())[..], &octets(self.to.ip()), &[0, PROTOCOL_UDP]].concat();
        let sum = fold(sum(&pseudo) + sum(&bytes) + u64::from(len));
        // 0 means "no checksum" (RFC 768).
        let checksum = if sum == 0xffff { sum } else { !sum };
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `offset` in units of 8 bytes. The kernel fills in the checksum of an IPv4 header.
    fn fragment(&self, identification: u32, offset: u16, more: bool, bytes: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(48 + bytes.len());
        if self.to.is_ipv4() {
            packet.extend([0x45, 0]);
            packet.extend((20 + bytes.len() as u16).to_be_bytes());
            packet.extend((identification as u16).to_be_bytes());
            packet.extend((offset | if more { 0x2000 } else { 0 }).to_be_bytes());
            packet.extend([TTL, PROTOCOL_UDP, 0, 0]);
        } else {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((8 + bytes.len() as u16).to_be_bytes());
            packet.extend([PROTOCOL_FRAGMENT, TTL]);
        }
        packet.extend(octets(self.from.ip()));
        packet.extend(octets(self.to.ip()));
        if self.to.is_ipv6() {
            packet.extend([PROTOCOL_UDP, 0]);
            packet.extend((offset << 3 | u16::from(more)).to_be_bytes());
            packet.extend(identification.to_be_bytes());
        }
        packet.extend(bytes);
        packet
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of the 16-bit words, the last byte padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// The kernel puts them together, and verifies the checksum. Needs the right to open raw sockets.
    #[test]
    fn the_kernel_accepts_them_in_any_order() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = UdpSocket::bind(address) else { continue };
            let client = UdpSocket::bind(address).unwrap();
            let ends = (client.local_addr().unwrap(), server.local_addr().unwrap());
            let Ok(sender) = Sender::open(ends.0, ends.1) else { continue };
            server.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let payload: Vec<u8> = (0..8000).map(|place: u32| (place * 7) as u8).collect();
            let orders: [fn(&mut Vec<Vec<u8>>); 3] = [
                |_| {},
                |pieces| pieces.reverse(),
                |pieces| {
                    pieces.rotate_left(2);
                },
            ];
            for order in orders {
                sender.send(&payload, 1480, order).unwrap();
                let mut got = vec![0; 9000];
                let (len, from) = server.recv_from(&mut got).unwrap();
                assert!(from == ends.0 && got[..len] == payload, "{len} bytes from {from}");
            }
        }
    }
}
