//! Packets of real servers that belong to no connection (spec `connections.md` §2 "out", §4.6).

use crate::conn::Address;
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::link;
use crate::icmp::Answer;
use crate::packet::Packet;
use crate::state::{Signal, protocol, sctp, tcp};
use crate::verdict::Verdict;
use shunt_wire::Frame;

impl<A: Address> Pass<'_, A> {
    /// The verdict on a packet without a connection, if it is a NAT server's and something is to be done about it.
    #[cold]
    #[inline(never)]
    pub(crate) fn stray<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Option<Verdict> {
        self.tables.nat_server(packet.src_ip(), packet.sport, packet.protocol)?;
        if packet.protocol == protocol::UDP
            && self.tables.has_sip_services()
            && let Some(verdict) = self.admit_outgoing(packet, frame)
        {
            return Some(verdict);
        }
        // Who says that it is over need not be told so.
        let resets = match packet.signal {
            Signal::Tcp(flags) => flags & tcp::bits::RST != 0,
            Signal::Sctp(event) => event == sctp::Event::Abort,
            Signal::Udp | Signal::Nothing => false,
        };
        if resets || !self.tables.settings().nat_icmp_send {
            return None;
        }
        // What is only passing through is quoted with the TTL that it would leave with; one that may not, is the kernel's.
        if !self.tables.is_local(&packet.dst_ip()) {
            if link::ttl(packet, frame) <= 1 {
                return None;
            }
            link::decrement_ttl(packet, frame);
        }
        Some(self.answer(Answer::PortUnreachable, Counter::NoConnection, packet, frame))
    }
}
