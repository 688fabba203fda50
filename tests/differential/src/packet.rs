//! From the events of a scenario to frames.

use crate::ftp::Numbers;
use crate::scenario::{ErrorKind, Event, Flow, Order, Protocol, Shape, Side, Sum};
use shunt_replay::ip::{ETHERNET_LEN, Ip};
use shunt_wire::craft::Craft;
use shunt_wire::tcp::Flags;
use shunt_wire::{MacAddr, ip_protocol};
use std::net::IpAddr;

/// The router in front of the clients, and its wire.
pub(crate) const CLIENT_ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xfe]);
pub(crate) const CLIENT_SIDE: &str = "eth0";

/// What is known of a flow while it is played: the last frames that its ends got.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// At the server: NIC port and frame.
    pub at_server: Option<(String, Vec<u8>)>,
    /// At the client.
    pub at_client: Option<(String, Vec<u8>)>,
    /// FTP: how the client numbers its segments.
    pub client: Numbers,
    /// And the server.
    pub server: Numbers,
}

/// Frames to send, and where. Empty if an event cannot happen: a server that got nothing does not answer.
#[must_use]
pub fn frames(flow: &Flow, seen: &Seen, event: &Event) -> (String, Vec<Vec<u8>>) {
    let made = match event {
        Event::Packet { from: Side::Client, shape, .. } => client_packet(flow, shape),
        Event::Packet { from: Side::Server, shape, .. } => server_packet(flow, seen, shape),
        Event::Error { from, router, kind, quoted, .. } => error(flow, seen, *from, *router, *kind, *quoted),
        // Others make their own.
        _ => None,
    };
    made.unwrap_or_default()
}

pub(crate) fn own_mac(nic_port: &str) -> MacAddr {
    MacAddr([2, 0, 0, 0, if nic_port == CLIENT_SIDE { 1 } else { 2 }, 1])
}

fn client_packet(flow: &Flow, shape: &Shape) -> Option<(String, Vec<Vec<u8>>)> {
    let craft = Craft::between(flow.caddr, flow.vaddr)?.macs(CLIENT_ROUTER, own_mac(CLIENT_SIDE));
    let craft = transport(craft, flow.protocol, flow.cport, flow.vport, shape);
    Some((CLIENT_SIDE.to_owned(), finished(craft, shape)))
}

/// The answer to the last packet that a server got. Of direct routing and tunnels the director sees none.
fn server_packet(flow: &Flow, seen: &Seen, shape: &Shape) -> Option<(String, Vec<Vec<u8>>)> {
    let (nic_port, frame) = seen.at_server.as_ref()?;
    let (src, dst, sport, dport) = ends(frame)?;
    if dst == flow.vaddr {
        return None;
    }
    let server_mac = MacAddr(frame[..6].try_into().ok()?);
    let craft = Craft::between(dst, src)?.macs(server_mac, own_mac(nic_port));
    Some((nic_port.clone(), finished(transport(craft, flow.protocol, dport, sport, shape), shape)))
}

/// Addresses and ports of a frame that is no later fragment.
#[must_use]
pub fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr, u16, u16)> {
    let packet = frame.get(ETHERNET_LEN..)?;
    let ip = Ip::read(packet)?;
    let at = ip.header_len;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    (!ip.is_later_fragment).then_some((ip.src, ip.dst, word(at)?, word(at + 2)?))
}

fn transport(craft: Craft, protocol: Protocol, sport: u16, dport: u16, shape: &Shape) -> Craft {
    let payload = match shape.call {
        Some(call) => sip_message(call),
        None => (0..shape.payload).map(|at| (at % 251) as u8).collect(),
    };
    match protocol {
        Protocol::Tcp => craft.tcp(sport, dport, Flags(shape.kind)),
        Protocol::Udp => craft.udp(sport, dport),
        Protocol::Sctp => craft.sctp(sport, dport, shape.kind),
    }
    .payload(&payload)
}

/// A SIP message; some Call-IDs are none, and some headers are odd.
fn sip_message(call: u8) -> Vec<u8> {
    let header = match call {
        0 => "Call-ID: a84b4c76e66710@192.0.2.9",
        1 => "call-id:  f81d4fae-7dec@x",
        2 => "i: f81d4fae-7dec@x",
        3 => "Call-ID : 77",
        4 => "Call-ID: two@hosts@x",
        5 => "Call-ID:",
        _ => "Subject: none",
    };
    format!("INVITE sip:bob@example.com SIP/2.0\r\nTo: Bob\r\n{header}\r\nCSeq: 1 INVITE\r\n\r\n")
        .into_bytes()
}

fn finished(craft: Craft, shape: &Shape) -> Vec<Vec<u8>> {
    const NO_OPERATION: [u8; 4] = [1, 1, 1, 1];
    let mut craft = craft.ttl(shape.ttl).traffic_class(shape.tos).id(shape.id);
    if shape.dont_fragment {
        craft = craft.dont_fragment();
    }
    craft = match shape.sum {
        Sum::Right => craft,
        Sum::Wrong => craft.wrong_transport_checksum(),
        Sum::Zero => craft.zero_transport_checksum(),
    };
    if shape.options {
        // PadN for IPv6, no operation for IPv4: nobody acts on either.
        craft = craft.options(&NO_OPERATION).extension(ip_protocol::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
    }
    if shape.atomic {
        craft = craft.fragment(0, false, shape.id.into());
    }
    let mut frames = match shape.cut {
        None => vec![craft.frame()],
        Some(cut) => {
            let mut frames = craft.fragments(cut.mtu);
            match cut.order {
                Order::First => {}
                Order::Last => frames.reverse(),
                Order::Twice => frames.insert(0, frames[0].clone()),
                Order::Lost => drop(frames.remove(0)),
            }
            frames
        }
    };
    frames.iter_mut().for_each(pad);
    frames
}

/// Wires carry 60 bytes at least.
pub(crate) fn pad(frame: &mut Vec<u8>) {
    const FRAME_LEN_MIN: usize = 60;
    frame.resize(frame.len().max(FRAME_LEN_MIN), 0);
}

fn error(
    flow: &Flow,
    seen: &Seen,
    from: Side,
    router: bool,
    kind: ErrorKind,
    quoted: usize,
) -> Option<(String, Vec<Vec<u8>>)> {
    let (nic_port, frame) = match from {
        Side::Client => seen.at_client.as_ref()?,
        Side::Server => seen.at_server.as_ref()?,
    };
    let (src, dst, ..) = ends(frame)?;
    let packet = &frame[ETHERNET_LEN..];
    let ip = Ip::read(packet)?;
    let net = if from == Side::Client { 1 } else { 2 };
    let reporter: IpAddr = match (router, src) {
        // A server of direct routing has the virtual address, from which nobody else may speak to the director.
        (false, _) if from == Side::Server && dst == flow.vaddr => return None,
        (false, _) => dst,
        (true, IpAddr::V4(_)) => [10, 0, net, 254].into(),
        (true, IpAddr::V6(_)) => [0xfd00, net.into(), 0, 0, 0, 0, 0, 0xfe].into(),
    };
    let (kind, code, word) = coded(kind, src.is_ipv4());
    let quote = &packet[..quoted.clamp(ip.header_len + 8, ip.len.max(ip.header_len + 8)).min(ip.len)];
    let mac = MacAddr(frame[..6].try_into().ok()?);
    let craft = Craft::between(reporter, src)?.macs(mac, own_mac(nic_port));
    let mut frame = craft.icmp(kind, code, word).payload(quote).frame();
    pad(&mut frame);
    Some((nic_port.clone(), vec![frame]))
}

/// Type, code and second word of an ICMP error.
pub(crate) fn coded(kind: ErrorKind, is_v4: bool) -> (u8, u8, u32) {
    let (v4, v6) = match kind {
        ErrorKind::Port => ((3, 3, 0), (1, 4, 0)),
        ErrorKind::Host => ((3, 1, 0), (1, 3, 0)),
        ErrorKind::Time => ((11, 0, 0), (3, 0, 0)),
        ErrorKind::TooBig(mtu) => ((3, 4, mtu.into()), (2, 0, mtu.into())),
        ErrorKind::Parameter => ((12, 0, 0x0800_0000), (4, 0, 7)),
        ErrorKind::Odd => ((4, 0, 0), (100, 0, 0)),
    };
    if is_v4 { v4 } else { v6 }
}
