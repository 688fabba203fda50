//! Packets that are longer than the way on allows (spec `forwarding.md` §2): answered, or cut.

use crate::conn::Address;
use crate::counters::Counter;
use crate::engine::Origin;
use crate::flow::Pass;
use crate::forward::link;
use crate::forward::nat::Rewrite;
use crate::icmp::Answer;
use crate::packet::{Kind, Packet};
use crate::tables::{Family, ForwardingMethod, Server};
use crate::verdict::Verdict;
use shunt_wire::Frame;

/// What fits on the way to a server, bytes of IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The path MTU.
    pub(crate) path_mtu: u16,
    /// What it leaves to the client's packet: less, by the headers of a tunnel.
    pub(crate) limit: u16,
}

impl<A: Address> Pass<'_, A> {
    /// Forwards a request that is longer than `size.limit`, or tells the client.
    #[cold]
    #[inline(never)]
    pub(crate) fn forward_long<F: Frame>(
        &mut self,
        size: Size,
        method: ForwardingMethod,
        rewrite: Option<Rewrite<A>>,
        server: &Server,
        packet: &Packet,
        frame: &mut F,
    ) -> Verdict {
        let tunnelled = method == ForwardingMethod::Tunnel;
        /// Nobody can be told to send packets that are shorter than what every host must take.
        const LEAST_V4: u16 = 68;
        const LEAST_V6: u16 = 1280;
        let least = if server.daddr.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        if tunnelled && size.limit < least {
            return Verdict::Drop(Counter::TooBig);
        }
        let obeys_df = !tunnelled || self.tables.settings().pmtu_disc;
        if self.is_refused(size.limit, obeys_df, packet, frame) {
            let answer = Answer::TooBig { mtu: size.limit };
            return self.answer(answer, Counter::TooBig, packet, frame);
        }
        let verdict = self.finish(method, rewrite, server, packet, frame);
        self.cut(size.path_mtu, verdict, packet, frame)
    }

    /// The verdict on a packet that is longer than `mtu` and may not be cut.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse_long<F: Frame>(
        &mut self,
        mtu: u16,
        packet: &Packet,
        frame: &mut F,
    ) -> Option<Verdict> {
        self.is_refused(mtu, true, packet, frame)
            .then(|| self.answer(Answer::TooBig { mtu }, Counter::TooBig, packet, frame))
    }

    /// Must the sender make it shorter? IPv4 forbids to cut by DF. IPv6 forbids it always; but what came in fragments
    /// leaves in fragments, and may do so if none of them is too long.
    fn is_refused<F: Frame>(&self, limit: u16, obeys_df: bool, packet: &Packet, frame: &F) -> bool {
        match packet.family {
            // Errors of others are never answered, so they are sent on.
            Family::V4 => {
                obeys_df && !matches!(packet.kind, Kind::Error { .. }) && link::dont_fragment(packet, frame)
            }
            Family::V6 => match self.origin {
                Origin::Fragments { largest } => largest > limit,
                _ => true,
            },
        }
    }

    /// Has a packet that is otherwise ready cut to fragments of at most `mtu` bytes.
    #[cold]
    #[inline(never)]
    pub(crate) fn cut<F: Frame>(
        &mut self,
        mtu: u16,
        verdict: Verdict,
        packet: &Packet,
        frame: &F,
    ) -> Verdict {
        let goes_out = matches!(verdict, Verdict::Transmit(_) | Verdict::AwaitNeighbour { .. });
        if !goes_out || frame.bytes().len() <= usize::from(packet.l3) + usize::from(mtu) {
            return verdict;
        }
        // A datagram that came in fragments is cut where it was put together.
        if matches!(self.origin, Origin::Fragments { .. }) {
            self.core.cut_mtu = mtu;
            return verdict;
        }
        let id = u32::from(self.core.next_ip_id()) | u32::from(self.core.worker) << 16;
        self.core.long.take(frame, usize::from(packet.l3), mtu, id, verdict)
    }

    /// The path MTU of a server: that of the route, or what a router on the way told us since.
    #[inline]
    pub(crate) fn path_mtu(&self, method: ForwardingMethod, server: &Server, route_mtu: u16) -> u16 {
        match method {
            ForwardingMethod::Tunnel => route_mtu.min(self.core.boards.path_mtus().get(server.id, self.now)),
            _ => route_mtu,
        }
    }
}
