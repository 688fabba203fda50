//! ICMP errors of our own. The packet that caused one becomes the answer: headers are put in front, the rest is cut.

use crate::binding;
use crate::conn::{Address, Conn, Direction, NIL};
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::link;
use crate::packet::{IPV4_LEN, IPV6_LEN, Packet};
use crate::tables::{Family, ForwardingMethod, Tables};
use crate::tick::Tick;
use crate::verdict::{NeighbourOf, Verdict};
use shunt_wire::{Frame, checksum};
use std::net::IpAddr;

/// What the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Type 3 code 3; IPv6 type 1 code 4.
    PortUnreachable,
    /// Type 3 code 1; IPv6 type 1 code 3.
    HostUnreachable,
    /// Type 11 code 0; IPv6 type 3 code 0.
    TimeExceeded,
    /// Type 11 code 1; IPv6 type 3 code 1.
    FragmentsMissing,
    /// Type 3 code 4; IPv6 type 2.
    TooBig {
        /// The largest IP packet that would have passed, bytes.
        mtu: u16,
    },
    /// What somebody else reported about the packet (IPv4).
    Relayed {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// Second word of the ICMP header.
        word: u32,
    },
}

/// Length of the ICMP header.
pub(super) const ICMP_LEN: usize = 8;
/// Longest ICMP error over IPv4 (RFC 1812 §4.3.2.3) and IPv6 (RFC 4443 §2.4 c).
const LONGEST_V4: usize = 576;
/// The minimum MTU of IPv6.
const LONGEST_V6: usize = 1280;
/// The kernel marks its errors as internetwork control, and keeps these bits of the packet that caused them.
const TOS: u8 = 0xc0;
const TOS_KEPT: u8 = 0x1e;
/// The kernel's default TTL.
const TTL: u8 = 64;

/// Limits the errors that a worker sends, as the kernel's `icmp_msgs_per_sec` (1,000) and `icmp_msgs_burst` (50) do, so
/// that a flood is not answered packet by packet.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    since: Tick,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: Budget::BURST, since: Tick(0) }
    }
}

impl Budget {
    const BURST: u32 = 50;

    /// Takes one, if there is one. One comes back per millisecond.
    fn take(&mut self, now: Tick) -> bool {
        let earned = now.0.saturating_sub(self.since.0).min(u64::from(Budget::BURST)) as u32;
        self.since = now;
        self.left = (self.left + earned).min(Budget::BURST);
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

impl<A: Address> Pass<'_, A> {
    /// Turns the packet into an ICMP error to its sender; or drops it, counted as `reason`, if that may not be.
    #[cold]
    pub(crate) fn answer<F: Frame>(
        &mut self,
        answer: Answer,
        reason: Counter,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let from = source(self.tables, packet, frame);
        let id = self.core.next_ip_id();
        let allowed =
            !matches!(packet.kind, crate::packet::Kind::Error { .. }) && self.core.budget.take(self.now);
        let built = match (allowed, from) {
            (true, Some(IpAddr::V4(from))) => build_v4(answer, from.octets(), id, packet, frame),
            (true, Some(IpAddr::V6(from))) => build_v6(answer, from.octets(), packet, frame),
            _ => false,
        };
        if !built {
            return Verdict::Drop(reason);
        }
        self.core.counters.add(Counter::Answered, 1);
        self.count_answer(packet, frame);
        let to = packet.src_ip();
        link::send(&self.tables.routes().lookup(to), NeighbourOf::Destination, frame)
    }
}

impl<A: Address> Pass<'_, A> {
    /// In the kernel our own errors pass IPVS on their way out. Those about a connection without NAT look like its
    /// server's, which has the virtual address, and count as its reply.
    fn count_answer<F: Frame>(&self, packet: &Packet, frame: &F) {
        let tuple = packet.tuple();
        let Some((index, Direction::Request)) = self.table.find(&tuple, self.table.probe(&tuple), NIL) else {
            return;
        };
        let conn = self.table.get(index);
        if conn.method() != ForwardingMethod::Nat {
            self.count_as_reply(conn, packet, frame);
        }
    }

    /// Counts an error that the packet has become as a reply of this connection.
    pub(crate) fn count_as_reply<F: Frame>(&self, conn: &Conn<A>, packet: &Packet, frame: &F) {
        if self.tables.server(conn.server).is_some_and(|server| server.available) {
            let len = frame.bytes().len() - usize::from(packet.l3);
            binding::count_reply(&self.core.boards, conn.server, len as u16);
        }
    }
}

/// The address that an error comes from: the packet's destination if it is ours, else the NIC port's.
fn source<F: Frame>(tables: &Tables, packet: &Packet, frame: &F) -> Option<IpAddr> {
    let destination = packet.dst_ip();
    if tables.is_local(&destination) {
        return Some(destination);
    }
    let info = tables.nic_ports().get(usize::from(frame.nic_port().0))?;
    let own = match packet.family {
        Family::V4 => info.address_v4.map(IpAddr::V4),
        Family::V6 => info.address_v6.map(IpAddr::V6),
    };
    // A rig without a kernel knows no own addresses; the virtual one is known to be right for the client.
    own.or_else(|| tables.has_virtual_address(&destination).then_some(destination))
}

/// Makes room for `added` bytes of headers behind the link layer, and cuts the quoted packet to fit `longest`.
fn make_room<F: Frame>(packet: &Packet, added: usize, longest: usize, frame: &mut F) -> bool {
    let l2_len = usize::from(packet.l3);
    let quoted = usize::from(packet.ip_len).min(longest - added);
    frame.truncate(l2_len + quoted);
    if !frame.prepend(added) {
        return false;
    }
    frame.bytes_mut().copy_within(added..added + l2_len, 0);
    true
}

fn build_v4<F: Frame>(answer: Answer, from: [u8; 4], id: u16, packet: &Packet, frame: &mut F) -> bool {
    let (kind, code, rest) = match answer {
        Answer::PortUnreachable => (3, 3, 0),
        Answer::HostUnreachable => (3, 1, 0),
        Answer::TimeExceeded => (11, 0, 0),
        Answer::FragmentsMissing => (11, 1, 0),
        Answer::TooBig { mtu } => (3, 4, u32::from(mtu)),
        Answer::Relayed { kind, code, word } => (kind, code, word),
    };
    let l3 = usize::from(packet.l3);
    let tos = frame.bytes()[l3 + 1] & TOS_KEPT | TOS;
    if !make_room(packet, IPV4_LEN + ICMP_LEN, LONGEST_V4, frame) {
        return false;
    }
    let bytes = &mut frame.bytes_mut()[l3..];
    let total = bytes.len() as u16;
    bytes[..IPV4_LEN].fill(0);
    bytes[0] = 0x45;
    bytes[1] = tos;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    bytes[8] = TTL;
    bytes[9] = 1;
    bytes[12..16].copy_from_slice(&from);
    bytes[16..20].copy_from_slice(&(packet.src as u32).to_be_bytes());
    let sum = checksum::checksum(&bytes[..IPV4_LEN]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    let message = &mut bytes[IPV4_LEN..];
    write_icmp(kind, code, rest, message);
    let sum = checksum::checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    true
}

fn build_v6<F: Frame>(answer: Answer, from: [u8; 16], packet: &Packet, frame: &mut F) -> bool {
    let (kind, code, rest) = match answer {
        Answer::PortUnreachable => (1, 4, 0),
        Answer::HostUnreachable => (1, 3, 0),
        Answer::TimeExceeded => (3, 0, 0),
        Answer::FragmentsMissing => (3, 1, 0),
        Answer::TooBig { mtu } => (2, 0, u32::from(mtu)),
        // Errors about IPv6 tunnels are not relayed.
        Answer::Relayed { .. } => return false,
    };
    const ICMPV6: u8 = 58;
    let l3 = usize::from(packet.l3);
    if !make_room(packet, IPV6_LEN + ICMP_LEN, LONGEST_V6, frame) {
        return false;
    }
    let bytes = &mut frame.bytes_mut()[l3..];
    let payload = (bytes.len() - IPV6_LEN) as u16;
    bytes[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    bytes[4..6].copy_from_slice(&payload.to_be_bytes());
    bytes[6] = ICMPV6;
    bytes[7] = TTL;
    bytes[8..24].copy_from_slice(&from);
    bytes[24..40].copy_from_slice(&packet.src.to_be_bytes());
    write_icmp(kind, code, rest, &mut bytes[IPV6_LEN..]);
    let pseudo = checksum::sum(&bytes[8..40]) + u64::from(ICMPV6) + u64::from(payload);
    let sum = checksum::transport(pseudo, &bytes[IPV6_LEN..]);
    bytes[IPV6_LEN + 2..IPV6_LEN + 4].copy_from_slice(&sum.to_be_bytes());
    true
}

fn write_icmp(kind: u8, code: u8, rest: u32, message: &mut [u8]) {
    message[..4].copy_from_slice(&[kind, code, 0, 0]);
    message[4..8].copy_from_slice(&rest.to_be_bytes());
}
