//! A packet and its connection: found, followed, forwarded (spec `connections.md` §2, §7, §8).

use crate::binding;
use crate::conn::{Address, Conn, ConnTable, Direction, Index, NIL, Probe, Tuple, flag};
use crate::counters::Counter;
use crate::engine::{Core, Origin};
use crate::forward::nat::Rewrite;
use crate::forward::{link, tunnel};
use crate::ftp::{Coming, ControlId, Helped};
use crate::icmp;
use crate::packet::{Kind, Packet};
use crate::persist::{CONTROLLING_MS, Handle};
use crate::size::Size;
use crate::state::{self, Signal, Way, sctp, tcp};
use crate::tables::{ForwardingMethod, Hop, Server, Tables};
use crate::tick::Tick;
use crate::verdict::{NeighbourOf, Verdict};
use shunt_wire::Frame;

/// One packet's way through the tables of its family.
pub(crate) struct Pass<'a, A> {
    pub(crate) table: &'a mut ConnTable<A>,
    pub(crate) core: &'a mut Core,
    pub(crate) tables: &'a Tables,
    pub(crate) now: Tick,
    pub(crate) origin: Origin,
}

impl<'a, A: Address> Pass<'a, A> {
    /// Decides on a packet whose ports are known.
    #[inline]
    pub(crate) fn packet<F: Frame>(
        &mut self,
        probe: Probe,
        guess: Index,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let tuple: Tuple<A> = packet.tuple();
        let Some((index, direction)) = self.table.find(&tuple, probe, guess) else {
            return self.miss(packet, frame);
        };
        // A client on the director itself reaches its service through the kernel, or not at all.
        if self.origin.is_kernel() && direction == Direction::Request {
            return Verdict::Transmit(frame.nic_port());
        }
        if let Kind::Error { tunnelled, quoted_l3, quoted_l4 } = packet.kind {
            if !self.tables.balances(A::FAMILY) {
                return self.leave_alone(frame);
            }
            let quoted = icmp::Quoted { l3: usize::from(quoted_l3), l4: usize::from(quoted_l4) };
            if tunnelled {
                return self.relay_tunnelled((index, direction), quoted, packet, frame);
            }
            return self.relay_error(index, direction, quoted, packet, frame);
        }
        match direction {
            Direction::Request if self.core.stands_by => Verdict::Punt(frame.nic_port()),
            Direction::Request => self.request(index, packet, frame),
            Direction::Reply => self.reply(index, packet, frame),
        }
    }

    /// A packet without a connection while data connections are expected: it may begin one.
    #[cold]
    #[inline(never)]
    fn admit_expected<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Verdict {
        match self.take_expected(packet) {
            Coming::Expected(index, Direction::Request) if !self.origin.is_kernel() => {
                self.request(index, packet, frame)
            }
            Coming::Expected(index, Direction::Reply) => self.reply(index, packet, frame),
            Coming::TooEarly if self.tables.balances(A::FAMILY) && !self.origin.is_kernel() => {
                Verdict::Drop(Counter::ServerGone)
            }
            _ if self.origin.is_kernel() => Verdict::Transmit(frame.nic_port()),
            _ => self.admit(packet, frame),
        }
    }

    fn miss<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Verdict {
        if self.origin == Origin::Wire
            && self.core.workers > 1
            && let Some(verdict) = self.core.hand_over(self.tables, packet)
        {
            return verdict;
        }
        if packet.kind == Kind::Flow
            && self.tables.watches_servers()
            && !self.origin.is_kernel()
            && let Some(verdict) = self.stray(packet, frame)
        {
            return verdict;
        }
        match packet.kind {
            Kind::Flow
                if !self.core.expectations.is_empty()
                    && self.core.expectations.may_know(packet.src, packet.dst) =>
            {
                self.admit_expected(packet, frame)
            }
            _ if self.origin.is_kernel() => Verdict::Transmit(frame.nic_port()),
            _ if self.core.stands_by => Verdict::Punt(frame.nic_port()),
            Kind::Flow => self.admit(packet, frame),
            Kind::Error { tunnelled: false, quoted_l3, quoted_l4 }
                if self.tables.settings().schedule_icmp =>
            {
                let quoted = icmp::Quoted { l3: usize::from(quoted_l3), l4: usize::from(quoted_l4) };
                self.admit_error(quoted, packet, frame)
            }
            _ => Verdict::Punt(frame.nic_port()),
        }
    }

    /// A packet from the client.
    #[inline]
    fn request<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Verdict {
        if opens(packet.signal) && self.is_reusable(index) {
            return self.start_over(index, packet, frame);
        }
        let Some(server) = self.bound_server(index) else {
            return self.request_without_server(index, packet, frame);
        };
        self.follow_request(index, server, packet, frame)
    }

    /// The server of a connection, if it is still configured.
    #[inline]
    fn bound_server(&self, index: Index) -> Option<&'a Server> {
        self.tables.server(self.table.get(index).server).filter(|server| server.available)
    }

    /// Counts, follows the state and forwards.
    #[inline]
    pub(crate) fn follow_request<F: Frame>(
        &mut self,
        index: Index,
        server: &Server,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        binding::count_request(&self.core.boards, server.id, packet.ip_len);
        self.advance(index, Direction::Request, packet.signal);
        if self.core.announces {
            self.announce(index);
        }
        if self.table.get(index).has(flag::HELPED)
            && let Helped::Dropped(counter) = self.help_request(index, packet, frame)
        {
            return Verdict::Drop(counter);
        }
        let conn = self.table.get(index);
        let method = conn.method();
        let rewrite = (method == ForwardingMethod::Nat).then(|| Rewrite::request(conn));
        self.forward_by(method, rewrite, server, packet, frame)
    }

    /// Follows the protocol state and renews the timer.
    #[inline]
    pub(crate) fn advance(&mut self, index: Index, direction: Direction, signal: Signal) {
        let conn = self.table.get_mut(index);
        let way = match direction {
            Direction::Reply => {
                conn.flags &= !flag::NO_OUTPUT;
                Way::Reply
            }
            Direction::Request => conn.request_way(),
        };
        if direction == Direction::Request {
            conn.in_packets = conn.in_packets.wrapping_add(1);
        }
        let mut timeout_ms = conn.timeout_ms;
        if signal != Signal::Nothing {
            let next = state::next(conn.state, way, signal, self.core.defence.secure_tcp);
            if next != conn.state {
                binding::enter(self.core, conn, next);
            }
            if conn.control != NIL && !conn.has(flag::PROVEN) && proves(signal, direction, next) {
                conn.flags |= flag::PROVEN;
                self.core.templates.assure(Handle(conn.control));
            }
            timeout_ms = self.core.timeouts.of(conn.protocol, next);
        }
        self.table.touch(index, timeout_ms, self.now);
    }

    /// Sends a request on its way (spec `forwarding.md`). NAT comes with what to rewrite.
    #[inline]
    pub(crate) fn forward_by<F: Frame>(
        &mut self,
        method: ForwardingMethod,
        rewrite: Option<Rewrite<A>>,
        server: &Server,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        if method == ForwardingMethod::Local {
            return Verdict::Punt(frame.nic_port());
        }
        let next = match &server.hop {
            Hop::Via(next) => Some(next),
            Hop::Unresolved => None,
            // A local server gets the packet through the kernel, NAT's rewritten, others as they came (spec §1.2).
            Hop::Local => {
                if let Some(rewrite) = rewrite {
                    rewrite.apply(packet, frame);
                }
                return Verdict::Punt(frame.nic_port());
            }
            Hop::Unreachable => {
                return self.answer(icmp::Answer::HostUnreachable, Counter::NoRoute, packet, frame);
            }
        };
        if link::ttl(packet, frame) <= 1 {
            return self.answer(icmp::Answer::TimeExceeded, Counter::TtlExceeded, packet, frame);
        }
        // Before the size is checked: "too big" quotes the packet with its new TTL, as the kernel's does.
        link::decrement_ttl(packet, frame);
        if let Some(next) = next {
            let path_mtu = self.path_mtu(method, server, next.mtu);
            let tunnelled = method == ForwardingMethod::Tunnel;
            let limit = if tunnelled { path_mtu.saturating_sub(tunnel::overhead(server)) } else { path_mtu };
            if packet.ip_len > limit {
                let size = Size { path_mtu, limit };
                return self.forward_long(size, method, rewrite, server, packet, frame);
            }
        }
        self.finish(method, rewrite, server, packet, frame)
    }

    /// Rewrites or encapsulates, and sends.
    #[inline]
    pub(crate) fn finish<F: Frame>(
        &mut self,
        method: ForwardingMethod,
        rewrite: Option<Rewrite<A>>,
        server: &Server,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        if let Some(rewrite) = rewrite {
            rewrite.apply(packet, frame);
        }
        if method == ForwardingMethod::Tunnel {
            let flow = self.core.owner.hash(A::from_bits(packet.src), packet.sport);
            let Core { df_mask, ip_id, .. } = self.core;
            if let Err(counter) = tunnel::encapsulate(packet, server, (*df_mask, ip_id), flow, frame) {
                return Verdict::Drop(counter);
            }
        }
        link::send(&server.hop, NeighbourOf::Server(server.id), frame)
    }

    /// A packet from the server.
    #[inline]
    pub(crate) fn reply<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Verdict {
        let nat = self.table.get(index).method() == ForwardingMethod::Nat;
        // Other servers answer from the virtual address. Where that is one of the director's own, nobody else may
        // use it: the kernel drops such packets as martians.
        let forwarded = !self.origin.is_kernel();
        if forwarded && !nat && self.tables.is_local(&packet.src_ip()) {
            return Verdict::Punt(frame.nic_port());
        }
        let hop = self.tables.routes().lookup(packet.dst_ip());
        let mtu = if forwarded { hop.mtu() } else { u16::MAX };
        if let Some(verdict) = self.refuse_to_forward(mtu, packet, frame) {
            return verdict;
        }
        let server = self.bound_server(index);
        if server.is_none() && !self.tables.balances(A::FAMILY) {
            return self.leave_alone(frame);
        }
        let mut packet = packet;
        let changed;
        let helped = self.table.get(index).has(flag::HELPED);
        // Before it is counted and followed: what counts is what leaves, and the segment that ends a conversation is still
        // read.
        if helped {
            match self.help_reply(index, packet, frame) {
                Helped::On(grown) => changed = grown,
                Helped::Dropped(counter) => return Verdict::Drop(counter),
            }
            packet = &changed;
        }
        if let Some(server) = server {
            binding::count_reply(&self.core.boards, server.id, packet.ip_len);
        }
        self.advance(index, Direction::Reply, packet.signal);
        if helped {
            self.share(index);
        }
        let conn = self.table.get(index);
        if conn.method() == ForwardingMethod::Nat {
            Rewrite::reply(conn).apply(packet, frame);
        }
        let verdict = self.send_reply(&hop, packet, frame);
        if packet.ip_len > mtu { self.cut(mtu, verdict, packet, frame) } else { verdict }
    }

    /// The verdict on a server's packet that may not be forwarded, and so does not get to IPVS: its TTL is spent, or it is too
    /// long and must not be cut.
    #[inline]
    pub(crate) fn refuse_to_forward<F: Frame>(
        &mut self,
        mtu: u16,
        packet: &Packet,
        frame: &mut F,
    ) -> Option<Verdict> {
        if !self.origin.is_kernel() && link::ttl(packet, frame) <= 1 {
            return Some(self.answer(icmp::Answer::TimeExceeded, Counter::TtlExceeded, packet, frame));
        }
        if packet.ip_len > mtu { self.refuse_long(mtu, packet, frame) } else { None }
    }

    /// A reply goes on its way to the client as any forwarded packet does. What the kernel sent is on its way already.
    pub(crate) fn send_reply<F: Frame>(&mut self, hop: &Hop, packet: &Packet, frame: &mut F) -> Verdict {
        if self.origin.is_kernel() {
            return Verdict::Transmit(frame.nic_port());
        }
        link::decrement_ttl(packet, frame);
        link::send(hop, NeighbourOf::Destination, frame)
    }

    /// A packet that is the kernel's business: IPVS looks at none while there is no service of its family.
    #[cold]
    fn leave_alone<F: Frame>(&self, frame: &F) -> Verdict {
        if self.origin.is_kernel() {
            return Verdict::Transmit(frame.nic_port());
        }
        Verdict::Punt(frame.nic_port())
    }

    /// May a packet that opens a connection take this entry's place (spec `connections.md` §7.4)?
    fn is_reusable(&self, index: Index) -> bool {
        let conn = self.table.get(index);
        let settings = self.tables.settings();
        if settings.expire_nodest_conn
            && self.tables.server(conn.server).is_some_and(|server| server.weight == 0)
        {
            return true;
        }
        if settings.conn_reuse_mode == 0 || conn.control != NIL {
            return false;
        }
        if conn.has(flag::HELPED) && self.controls_others(index) {
            return false;
        }
        match conn.protocol {
            state::protocol::TCP => {
                let half_closed = settings.conn_reuse_mode & 2 != 0 && conn.state == tcp::FIN_WAIT;
                matches!(conn.state, tcp::TIME_WAIT | tcp::CLOSE) || half_closed && conn.has(flag::NO_OUTPUT)
            }
            state::protocol::SCTP => conn.state == sctp::CLOSED,
            _ => false,
        }
    }

    /// The packet begins a new connection in the place of this one. As in the kernel, where the old entry goes a moment
    /// later, schedulers and thresholds still count it.
    #[cold]
    pub(crate) fn start_over<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Verdict {
        if !self.tables.balances(A::FAMILY) {
            return self.leave_alone(frame);
        }
        let old = self.table.remove(index);
        if old.has(flag::HELPED) {
            self.forget_control(index);
        }
        let answered = self.core.counters.get(Counter::Answered);
        let verdict = self.admit(packet, frame);
        // The kernel's answer passes IPVS, which finds the new entry, or else the old one. It looks like a reply of the
        // virtual address, which is not what a server of NAT sends.
        let looks_like_its_reply =
            |(index, _): (Index, Direction)| self.table.get(index).method() != ForwardingMethod::Nat;
        let answers_old = self.core.counters.get(Counter::Answered) != answered
            && old.method() != ForwardingMethod::Nat
            && !self.table.lookup(&packet.tuple()).is_some_and(looks_like_its_reply);
        if answers_old {
            self.count_as_reply(&old, packet, frame);
        }
        self.forget(&old);
        verdict
    }

    /// Removes a connection before its time.
    pub(crate) fn discard(&mut self, index: Index) {
        let conn = self.table.remove(index);
        if conn.has(flag::HELPED) {
            self.forget_control(index);
        }
        self.forget(&conn);
    }

    /// What a connection that is no longer in the table leaves.
    #[inline(always)]
    fn forget(&mut self, conn: &Conn<A>) {
        binding::unbind(self.core, self.tables, conn);
        self.release_control(conn.control);
    }

    /// Removes connections that are due.
    pub(crate) fn expire(&mut self, budget: &mut u32) {
        while let Some(index) = self.table.due(self.now, budget) {
            let helped = self.table.get(index).has(flag::HELPED);
            if helped && self.controls_others(index) {
                // It lives on, in steps, for as long as it has data connections (spec §8).
                self.table.revive(index, CONTROLLING_MS, self.now);
                if self.core.announces {
                    self.announce_outlived(index);
                }
                continue;
            }
            let conn = self.table.expired(index);
            if helped {
                self.forget_control(index);
            }
            binding::unbind(self.core, self.tables, &conn);
            self.release_control(conn.control);
            self.core.counters.add(Counter::ExpiredConnections, 1);
        }
    }

    /// A connection of a persistent client is gone.
    pub(crate) fn release_control(&mut self, control: u32) {
        match ControlId::of_word(control) {
            Some(id) => self.core.expectations.controls().leave(id),
            None if control != NIL => self.core.templates.leave(Handle(control)),
            None => {}
        }
    }
}

/// Does this packet prove that the client is real (spec `connections.md` §4.4)?
fn proves(signal: Signal, direction: Direction, state: u8) -> bool {
    match signal {
        Signal::Tcp(_) => state == tcp::ESTABLISHED,
        Signal::Sctp(_) => state == sctp::ESTABLISHED,
        Signal::Udp => direction == Direction::Reply,
        Signal::Nothing => false,
    }
}

/// Does this packet open a connection (TCP SYN, SCTP INIT)?
pub(crate) fn opens(signal: Signal) -> bool {
    match signal {
        Signal::Tcp(flags) => flags & tcp::bits::SYN != 0,
        Signal::Sctp(event) => event == sctp::Event::Init,
        Signal::Udp | Signal::Nothing => false,
    }
}
