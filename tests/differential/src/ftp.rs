//! Control connections of FTP and what they announce: from events to frames. Ends number their bytes as TCP does, because
//! a kernel that rewrites what they say watches the numbers.

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

/// The frame in which an end of a control connection says this. `None` if it cannot: a server that got nothing.
pub(crate) fn segment(flow: &Flow, seen: &mut Seen, from: Side, said: &Said) -> Option<(String, Vec<u8>)> {
    let (nic_port, src, dst, macs) = match from {
        Side::Client => {
            let macs = (CLIENT_ROUTER, own_mac(CLIENT_SIDE));
            (CLIENT_SIDE.to_owned(), (flow.caddr, flow.cport), (flow.vaddr, flow.vport), macs)
        }
        Side::Server => {
            let (nic_port, frame) = seen.at_server.as_ref()?;
            let (client, server, cport, dport) = ends(frame)?;
            if server == flow.vaddr {
                return None;
            }
            let macs = (MacAddr(frame[..6].try_into().ok()?), own_mac(nic_port));
            (nic_port.clone(), (server, dport), (client, cport), macs)
        }
    };
    let payload = said.line.map_or_else(Vec::new, |line| text(line, flow, src.0).into_bytes());
    let takes = payload.len() as u32 + u32::from(said.flags & (Flags::SYN.0 | Flags::FIN.0) != 0);
    let heard = match from {
        Side::Client => seen.at_client.as_ref(),
        Side::Server => seen.at_server.as_ref(),
    };
    let acknowledged = heard.and_then(|(_, frame)| end_of(frame)).filter(|_| said.flags & Flags::ACK.0 != 0);
    let numbers = if from == Side::Client { &mut seen.client } else { &mut seen.server };
    let number = numbers.take(from, takes, said.again);
    let craft = Craft::between(src.0, dst.0)?.macs(macs.0, macs.1).ttl(64).id(0x1234).dont_fragment();
    let craft = craft.tcp(src.1, dst.1, Flags(said.flags)).sequence(number, acknowledged.unwrap_or(0));
    let mut frame = craft.payload(&payload).frame();
    pad(&mut frame);
    Some((nic_port, frame))
}

/// A frame of an active data connection, which the server of the control connection opens to where its client listens.
pub(crate) fn active(
    control: &Flow,
    seen: &Seen,
    from: Side,
    cport: u16,
    flags: u8,
) -> Option<(String, Vec<u8>)> {
    let (nic_port, frame) = seen.at_server.as_ref()?;
    let (client, server, ..) = ends(frame)?;
    if server == control.vaddr {
        return None;
    }
    let (nic_port, craft) = match from {
        Side::Server => {
            let macs = (MacAddr(frame[..6].try_into().ok()?), own_mac(nic_port));
            let craft = Craft::between(server, client)?.macs(macs.0, macs.1);
            (&nic_port[..], craft.tcp(DATA, cport, Flags(flags)))
        }
        Side::Client => {
            let craft =
                Craft::between(control.caddr, control.vaddr)?.macs(CLIENT_ROUTER, own_mac(CLIENT_SIDE));
            (CLIENT_SIDE, craft.tcp(cport, DATA, Flags(flags)))
        }
    };
    let mut frame = craft.ttl(64).id(0x1234).dont_fragment().frame();
    pad(&mut frame);
    Some((nic_port.to_owned(), frame))
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
fn text(line: Line, flow: &Flow, own: IpAddr) -> String {
    let family = if flow.caddr.is_ipv4() { 1 } else { 2 };
    let other = if flow.caddr.is_ipv4() {
        [192, 0, 2, 200].into()
    } else {
        "2001:db8:c::9".parse().expect("an address")
    };
    match line {
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
            4 => format!("227 Entering Passive Mode ({})\r\n", six([10, 0, 2, 250].into(), dport)),
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
    }
}
