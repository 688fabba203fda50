//! Packets of marks whose service has no server: on to their own destination, if the operator wants that (spec
//! `connections.md` §7.1 step 2, `forwarding.md` §7).

use crate::conn::{Address, Conn, Index, flag};
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::link;
use crate::icmp::Answer;
use crate::packet::{Kind, Packet};
use crate::state::protocol;
use crate::tables::{Family, ForwardingMethod, Hop, ServerId, Service};
use crate::verdict::{NeighbourOf, Verdict};
use shunt_wire::Frame;

impl<A: Address> Pass<'_, A> {
    /// A marked packet whose service has no server. `None`: it is answered as any other.
    #[cold]
    #[inline(never)]
    pub(crate) fn marked_without_server<F: Frame>(
        &mut self,
        service: &Service,
        mark: u32,
        packet: &Packet,
        frame: &mut F,
    ) -> Option<Verdict> {
        let destination = packet.dst_ip();
        // Of an IPv6 address the kernel asks only whether it is a unicast one: its own may be passed by too, to nowhere.
        let own_counts = packet.family == Family::V6 && self.tables.settings().cache_bypass;
        let foreign = own_counts
            || !self.tables.is_local(&destination) && !self.tables.has_virtual_address(&destination);
        if !foreign || destination.is_multicast() || packet.kind != Kind::Flow {
            return None;
        }
        if self.tables.settings().cache_bypass {
            return Some(self.bypass(service, mark, packet, frame));
        }
        // The kernel would have to answer in the name of a foreign IPv4 address, which it does not.
        (packet.family == Family::V4).then_some(Verdict::Drop(Counter::NoRealServer))
    }

    fn bypass<F: Frame>(&mut self, service: &Service, mark: u32, packet: &Packet, frame: &mut F) -> Verdict {
        if service.flags.one_packet && packet.protocol == protocol::UDP {
            return self.forward_to_destination(packet, frame);
        }
        let mut conn: Conn<A> =
            Conn::new(packet.tuple(), ForwardingMethod::Bypass, ServerId::NONE, A::default(), 0);
        conn.fwmark = mark;
        // What it is counted for is a server's, which it has not.
        conn.flags &= !(flag::NO_OUTPUT | flag::INACTIVE);
        conn.timeout_ms = self.core.timeouts.of(conn.protocol, conn.state);
        match self.table.insert(conn, self.now) {
            Some(index) => {
                self.core.counters.add(Counter::NewConnections, 1);
                self.follow_bypass(index, packet, frame)
            }
            None => Verdict::Drop(Counter::ConnTableFull),
        }
    }

    /// A packet from the client of a connection that goes to its own destination.
    pub(crate) fn follow_bypass<F: Frame>(
        &mut self,
        index: Index,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        self.advance(index, crate::conn::Direction::Request, packet.signal);
        self.forward_to_destination(packet, frame)
    }

    fn forward_to_destination<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Verdict {
        let hop = self.tables.routes().lookup(packet.dst_ip());
        match hop {
            Hop::Local => return Verdict::Drop(Counter::NoRoute),
            Hop::Unreachable => {
                return self.answer(Answer::HostUnreachable, Counter::NoRoute, packet, frame);
            }
            Hop::Via(_) | Hop::Unresolved => {}
        }
        if link::ttl(packet, frame) <= 1 {
            return self.answer(Answer::TimeExceeded, Counter::TtlExceeded, packet, frame);
        }
        link::decrement_ttl(packet, frame);
        let long = packet.ip_len > hop.mtu();
        if long && let Some(verdict) = self.refuse_long(hop.mtu(), packet, frame) {
            return verdict;
        }
        let verdict = link::send(&hop, NeighbourOf::Destination, frame);
        if long { self.cut(hop.mtu(), verdict, packet, frame) } else { verdict }
    }
}
