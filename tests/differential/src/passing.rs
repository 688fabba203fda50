//! From ICMP that belongs to no flow to frames.

use crate::packet::{CLIENT_ROUTER, CLIENT_SIDE, coded, own_mac, pad};
use crate::scenario::{ErrorKind, Message, Passing, Protocol, Quote, Side, Tunnel, TunnelKind};
use shunt_replay::ip::Ip;
use shunt_wire::MacAddr;
use shunt_wire::craft::Craft;
use shunt_wire::tcp::Flags;

/// The router behind the servers' wire. The director does not look at link-layer sources: all comes from routers.
const SERVER_ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 2, 0xfe]);
const SERVER_SIDE: &str = "eth1";
/// Identification of what has a fragment header.
const FRAGMENT_ID: u32 = 0x4e00;

/// The frame, and where it arrives; `None` if its addresses are of two families.
#[must_use]
pub fn frame(passing: &Passing) -> Option<(String, Vec<u8>)> {
    let (nic_port, router) = match passing.from {
        Side::Client => (CLIENT_SIDE, CLIENT_ROUTER),
        Side::Server => (SERVER_SIDE, SERVER_ROUTER),
    };
    let craft = Craft::between(passing.src, passing.dst)?.macs(router, own_mac(nic_port)).ttl(passing.ttl);
    let is_v4 = passing.src.is_ipv4();
    let craft = match passing.message {
        Message::Echo { answer, payload } => echo(craft, is_v4, answer, payload),
        Message::Error { kind, quote, quoted } => error(craft, is_v4, kind, &quote, quoted)?,
    };
    let craft = if passing.atomic { craft.fragment(0, false, FRAGMENT_ID) } else { craft };
    let mut frame = craft.frame();
    pad(&mut frame);
    Some((nic_port.to_owned(), frame))
}

fn echo(craft: Craft, is_v4: bool, answer: bool, payload: usize) -> Craft {
    const IDENTIFIER_AND_NUMBER: u32 = 0x0007_0001;
    let kind = match (is_v4, answer) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    craft.icmp(kind, 0, IDENTIFIER_AND_NUMBER).payload(&bytes(payload))
}

fn error(craft: Craft, is_v4: bool, kind: ErrorKind, quote: &Quote, quoted: usize) -> Option<Craft> {
    let packet = packet(quote)?;
    let headers = Ip::read(&packet)?.header_len;
    let (kind, code, word) = coded(kind, is_v4);
    Some(craft.icmp(kind, code, word).payload(&packet[..(headers + quoted).min(packet.len())]))
}

/// The packet that an error is about.
fn packet(quote: &Quote) -> Option<Vec<u8>> {
    const PAYLOAD: usize = 64;
    const DATA: u8 = 0;
    let craft = Craft::between(quote.src, quote.dst)?.ttl(3);
    let craft = match quote.protocol {
        Protocol::Tcp => craft.tcp(quote.sport, quote.dport, Flags::ACK),
        Protocol::Udp => craft.udp(quote.sport, quote.dport),
        Protocol::Sctp => craft.sctp(quote.sport, quote.dport, DATA),
    };
    let craft = if quote.atomic { craft.fragment(0, false, FRAGMENT_ID) } else { craft };
    let craft = craft.payload(&bytes(PAYLOAD));
    match quote.tunnel {
        Some(tunnel) => wrapped(&tunnel, &craft),
        None => Some(craft.packet()),
    }
}

fn wrapped(tunnel: &Tunnel, inner: &Craft) -> Option<Vec<u8>> {
    const GUE_SPORT: u16 = 40_000;
    const GUE_DPORT: u16 = 6_080;
    let outer = Craft::between(tunnel.src, tunnel.dst)?;
    let craft = match tunnel.kind {
        TunnelKind::Ipip => outer.ipip(inner),
        TunnelKind::Gue => outer.gue(GUE_SPORT, GUE_DPORT, inner),
        TunnelKind::Gre(checksum) => outer.gre(checksum, inner),
    };
    Some(craft.packet())
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_replay::describe::describe;

    fn quote(tunnel: Option<Tunnel>) -> Quote {
        let (src, dst) = ([192, 0, 2, 9].into(), [10, 0, 1, 100].into());
        Quote { src, sport: 4_000, dst, dport: 80, protocol: Protocol::Udp, atomic: false, tunnel }
    }

    fn described(message: Message) -> String {
        let (src, dst) = ([10, 0, 2, 254].into(), [10, 0, 2, 1].into());
        let passing = Passing { from: Side::Server, src, dst, ttl: 9, atomic: false, message };
        let (nic_port, frame) = frame(&passing).expect("one family");
        format!("{nic_port} {}", describe(&frame))
    }

    #[test]
    fn an_echo() {
        let said = described(Message::Echo { answer: false, payload: 4 });
        assert!(said.starts_with("eth1 to 02:01 | IP 10.0.2.254>10.0.2.1 ttl=9 len=32"), "{said}");
        assert!(said.contains("ICMP type=8"), "{said}");
    }

    #[test]
    fn an_error_quotes_a_packet() {
        let error = |tunnel, quoted| Message::Error { kind: ErrorKind::Host, quote: quote(tunnel), quoted };
        let plain = described(error(None, 8));
        assert!(plain.contains("IP 192.0.2.9>10.0.1.100 ttl=3"), "{plain}");
        assert!(plain.contains("len=56 "), "{plain}");
        let (src, dst) = ([10, 0, 2, 1].into(), [10, 0, 2, 11].into());
        for kind in [TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre(true)] {
            let said = described(error(Some(Tunnel { src, dst, kind }), 500));
            assert!(said.contains("IP 10.0.2.1>10.0.2.11"), "{said}");
        }
    }
}
