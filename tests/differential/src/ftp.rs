//! Connections of FTP, for control and for data: from events to frames. Ends number their bytes as TCP does, because a
//! kernel that rewrites what they say watches the numbers.

use crate::packet::{CLIENT_ROUTER, CLIENT_SIDE, Seen, ends, own_mac, pad};
use crate::scenario::{Flow, Line, Said, Side};
use shunt_replay::ip::{ETHERNET_LEN, Ip};
use shunt_wire::MacAddr;
use shunt_wire::craft::Craft;
use shunt_wire::tcp::Flags;
use std::net::IpAddr;

/// First numbers of the two ends.
const CLIENT_BEGINS: u32 = 1_000;
const SERVER_BEGINS: u32 = 5_000;
/// Where active data connections come from.
const DATA: u16 = 20;

/// The numbers of one end: of what it sends next, and of what it sent last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    next: Option<u32>,
    last: u32,
}

impl Numbers {
    /// The number of a segment that takes so many.
    fn take(&mut self, from: Side, takes: u32, again: bool) -> u32 {
        let first = if from == Side::Client { CLIENT_BEGINS } else { SERVER_BEGINS };
        let number = match self.next {
            Some(_) if again => self.last,
            next => next.unwrap_or(first),
        };
        self.last = number;
        self.next = Some(number.wrapping_add(takes));
        number
    }
}

/// The frame in which an end of a connection that a client opened says this. `None` if it cannot: a server that got
/// nothing.
pub(crate) fn segment(flow: &Flow, seen: &mut Seen, from: Side, said: &Said) -> Option<(String, Vec<u8>)> {
    let way = match from {
        Side::Client => to_director(flow),
        Side::Server => {
            let (nic_port, frame) = seen.at_server.as_ref()?;
            let (client, server, cport, dport) = ends(frame)?;
            if server == flow.vaddr {
                return None;
            }
            Way {
                src: (server, dport),
                dst: (client, cport),
                macs: (MacAddr(frame[..6].try_into().ok()?), own_mac(nic_port)),
                nic_port: nic_port.clone(),
            }
        }
    };
    let payload = said.line.map_or_else(Vec::new, |line| text(line, flow, way.src.0));
    way.frame(seen, from, said, &payload)
}

/// A frame of an active data connection, which the server of the control connection opens to where its client listens.
/// `data` is the connection as its client sees it.
pub(crate) fn active(
    control: &Flow,
    seen_control: &Seen,
    (data, seen): (&Flow, &mut Seen),
    from: Side,
    below: bool,
    said: &Said,
) -> Option<(String, Vec<u8>)> {
    let way = match from {
        Side::Client => {
            // Who was called by nobody answers nothing.
            seen.at_client.as_ref()?;
            to_director(data)
        }
        Side::Server => {
            let (nic_port, frame) = seen_control.at_server.as_ref()?;
            let (client, server, _, dport) = ends(frame)?;
            if server == control.vaddr {
                return None;
            }
            Way {
                src: (server, if below { dport.wrapping_sub(1) } else { DATA }),
                dst: (client, data.cport),
                macs: (MacAddr(frame[..6].try_into().ok()?), own_mac(nic_port)),
                nic_port: nic_port.clone(),
            }
        }
    };
    let payload = said.line.map_or_else(Vec::new, |line| text(line, data, way.src.0));
    way.frame(seen, from, said, &payload)
}

/// Where a segment comes from, and where it goes.
struct Way {
    nic_port: String,
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    macs: (MacAddr, MacAddr),
}

fn to_director(flow: &Flow) -> Way {
    Way {
        nic_port: CLIENT_SIDE.to_owned(),
        src: (flow.caddr, flow.cport),
        dst: (flow.vaddr, flow.vport),
        macs: (CLIENT_ROUTER, own_mac(CLIENT_SIDE)),
    }
}

impl Way {
    /// The next segment of this end.
    fn frame(self, seen: &mut Seen, from: Side, said: &Said, payload: &[u8]) -> Option<(String, Vec<u8>)> {
        let takes = payload.len() as u32 + u32::from(said.flags & (Flags::SYN.0 | Flags::FIN.0) != 0);
        let heard = match from {
            Side::Client => seen.at_client.as_ref(),
            Side::Server => seen.at_server.as_ref(),
        };
        let acknowledged =
            heard.and_then(|(_, frame)| end_of(frame)).filter(|_| said.flags & Flags::ACK.0 != 0);
        let numbers = if from == Side::Client { &mut seen.client } else { &mut seen.server };
        let number = numbers.take(from, takes, said.again);
        let craft = Craft::between(self.src.0, self.dst.0)?.macs(self.macs.0, self.macs.1);
        let craft = craft.ttl(64).id(0x1234).dont_fragment().tcp(self.src.1, self.dst.1, Flags(said.flags));
        let mut frame = craft.sequence(number, acknowledged.unwrap_or(0)).payload(payload).frame();
        pad(&mut frame);
        Some((self.nic_port, frame))
    }
}

/// The number behind the last byte of a segment.
fn end_of(frame: &[u8]) -> Option<u32> {
    let packet = frame.get(ETHERNET_LEN..)?;
    let ip = Ip::read(packet)?;
    let header = packet.get(ip.header_len..)?;
    let number = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?);
    let len = ip.len.checked_sub(ip.header_len + usize::from(header.get(12)? >> 4) * 4)? as u32;
    let flags = *header.get(13)?;
    Some(number.wrapping_add(len + u32::from(flags & (Flags::SYN.0 | Flags::FIN.0) != 0)))
}

/// Six numbers.
fn six(address: IpAddr, l4_port: u16) -> String {
    let address = address.to_string().replace(['.', ':'], ",");
    format!("{address},{},{}", l4_port >> 8, l4_port & 0xff)
}

/// The words of a line, in one of the ways in which people write it.
fn text(line: Line, flow: &Flow, own: IpAddr) -> Vec<u8> {
    let family = if flow.caddr.is_ipv4() { 1 } else { 2 };
    let other = if flow.caddr.is_ipv4() {
        [192, 0, 2, 200].into()
    } else {
        "2001:db8:c::9".parse().expect("an address")
    };
    let words = match line {
        Line::Bytes(len) => return (0..len).map(|at| (at % 251) as u8).collect(),
        Line::Word(nth) => ["USER ftp\r\n", "220 ready\r\n", "200 ok\r\n", "", "226 done\r\n"]
            [usize::from(nth) % 5]
            .to_owned(),
        Line::Passive(how) => ["PASV\r\n", "pasv\r\n", "NOOP\r\nPASV\r\n", "PASV\n", "PASV", " PASV\r\n"]
            [usize::from(how) % 6]
            .to_owned(),
        Line::ExtendedPassive(how) => {
            ["EPSV\r\n", "epsv\r\n", "EPSV 1\r\n", "EPSV 2\r\n", "EPSV ALL\r\n", "EPSV\n"]
                [usize::from(how) % 6]
                .to_owned()
        }
        Line::Port(cport, how) => match how % 8 {
            0..3 => format!("PORT {}\r\n", six(own, cport)),
            3 => format!("port   {}\r\n", six(own, cport)),
            4 => format!("PORT {}\r\n", six(other, cport)),
            5 => format!("PORT {}", six(own, cport)),
            6 => format!("PORT {},300\r\n", six(own, cport)),
            _ => "PORT 1,2,3\r\n".to_owned(),
        },
        Line::ExtendedPort(cport, how) => match how % 8 {
            0..3 => format!("EPRT |{family}|{own}|{cport}|\r\n"),
            3 => format!("eprt  !{family}!{own}!{cport}!\r\n"),
            4 => format!("EPRT |{family}|{other}|{cport}|\r\n"),
            5 => format!("EPRT |{}|{own}|{cport}|\r\n", 3 - family),
            6 => format!("EPRT |{family}|{own}|0|\r\n"),
            _ => format!("EPRT |{family}|{own}|{cport}\r\n"),
        },
        Line::Offer(dport, how) => match how % 8 {
            0..3 => format!("227 Entering Passive Mode ({}).\r\n", six(own, dport)),
            3 => format!("227 {}\r\n", six(own, dport)),
            Line::OFFER_OF_ANOTHER => {
                format!("227 Entering Passive Mode ({})\r\n", six([10, 0, 2, 250].into(), dport))
            }
            5 => format!("227 Entering Passive Mode ({}.\r\n", six(own, dport)),
            6 => "227 Entering Passive Mode\r\n".to_owned(),
            _ => format!(" 227 Entering ({}).\r\n", six(own, dport)),
        },
        Line::ExtendedOffer(dport, how) => match how % 8 {
            0..3 => format!("229 Entering Extended Passive Mode (|||{dport}|)\r\n"),
            3 => format!("229 (!!!{dport}!)\r\n"),
            4 => format!("229 Extended (|{family}|{own}|{dport}|)\r\n"),
            5 => format!("229 Extended |||{dport}|\r\n"),
            6 => format!("229 Extended (|||{dport})\r\n"),
            _ => "229 Extended (|||0|)\r\n".to_owned(),
        },
    };
    words.into_bytes()
}
