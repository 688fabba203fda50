//! Reports that the director's own tunnel packets over IPv6 were too long for the way. IPVS has no such thing (spec
//! `connections.md` §11.3), and so loses all full packets behind a narrower wire. Here the path MTU is learnt; the client
//! is told by the next packet that does not fit.

use super::relay::checksum_is_right;
use super::tunnelled::{is_own, shim_len};
use crate::conn::Address;
use crate::counters::Counter;
use crate::flow::Pass;
use crate::forward::tunnel;
use crate::packet::{IPV4_LEN, IPV6_LEN, Kind, Packet, be16, be32, be128};
use crate::state::{Signal, protocol};
use crate::tables::{Family, Server, Tables};
use crate::verdict::Verdict;
use shunt_wire::{Frame, ext};

/// ICMPv6 "packet too big" (RFC 4443 §3.2).
const PACKET_TOO_BIG: u8 = 2;
/// Every way carries packets of this length (RFC 8200 §5). Whoever says less would cut a tunnel off.
const LEAST: u16 = 1280;

/// Looks into the packet that an IPv6 error quotes. If it is a tunnel packet of ours that was too long, `packet` gets the
/// family and the tuple of what it carried: a client's request, not reversed.
#[cold]
#[inline(never)]
pub(crate) fn look_inside_v6(tables: &Tables, bytes: &[u8], packet: &mut Packet) {
    let Kind::Error { quoted_l4, .. } = packet.kind else { return };
    // The quoted tuple is reversed: its source is where the tunnel ends.
    let is_ours = bytes.get(usize::from(packet.l4)) == Some(&PACKET_TOO_BIG)
        && tables.is_real_address(&packet.src_ip())
        && is_own(tables, packet.dst_ip());
    let end = usize::from(packet.l3) + usize::from(packet.ip_len);
    let quoted_l4 = usize::from(quoted_l4);
    let bytes = bytes.get(..end).filter(|_| is_ours).unwrap_or_default();
    let inner = [Family::V4, Family::V6].into_iter().find_map(|family| {
        let l3 = quoted_l4 + shim_len(packet.protocol, family, bytes, quoted_l4)?;
        inner_flow(family, bytes, l3, packet)
    });
    match inner {
        Some(inner) => *packet = inner,
        None if matches!(packet.protocol, protocol::IPIP | protocol::IPV6 | protocol::GRE) => {
            packet.kind = Kind::Punt;
        }
        None => {}
    }
}

/// The error, described by the request that the tunnel packet carried.
fn inner_flow(family: Family, bytes: &[u8], l3: usize, packet: &Packet) -> Option<Packet> {
    let header = bytes.get(l3..)?;
    let (l4, protocol, src, dst) = match family {
        Family::V4 => {
            let header = header.first_chunk::<IPV4_LEN>().filter(|header| header[0] >> 4 == 4)?;
            let l4 = l3 + usize::from(header[0] & 0x0f) * 4;
            (l4, header[9], be32(header, 12).into(), be32(header, 16).into())
        }
        Family::V6 => {
            let (fixed, rest) =
                header.split_first_chunk::<IPV6_LEN>().filter(|(fixed, _)| fixed[0] >> 4 == 6)?;
            let walk = ext::walk(fixed[6], rest).ok()?;
            (l3 + IPV6_LEN + walk.offset, walk.protocol, be128(fixed, 8), be128(fixed, 24))
        }
    };
    let known = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let (sport, dport) = (be16(bytes, l4)?, be16(bytes, l4 + 2)?);
    let kind = Kind::Error { tunnelled: true, quoted_l3: l3 as u16, quoted_l4: l4 as u16 };
    let signal = Signal::Nothing;
    known.then_some(Packet { kind, family, protocol, signal, sport, dport, src, dst, ..*packet })
}

impl<A: Address> Pass<'_, A> {
    /// A router says that a tunnel packet to this server was too long for it.
    #[cold]
    #[inline(never)]
    pub(super) fn learn_from_v6<F: Frame>(&self, server: &Server, packet: &Packet, frame: &F) -> Verdict {
        let outer = Packet { family: Family::V6, ..*packet };
        if !checksum_is_right(&outer, frame.bytes()) {
            return Verdict::Drop(Counter::BadChecksum);
        }
        let mtu = be32(frame.bytes(), usize::from(packet.l4) + 4).min(u32::from(u16::MAX)) as u16;
        let mtu = mtu.max(LEAST + tunnel::overhead(server));
        self.core.boards.path_mtus().learn(server.id, mtu, self.now);
        Verdict::Drop(Counter::PathMtu)
    }
}
