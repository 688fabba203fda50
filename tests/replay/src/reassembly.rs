//! Reassembly in the kernel twin: datagrams for the director itself. No limits and no timeouts: a case is short.

use crate::ip::{IPV6_LEN, Ip};
use shunt_wire::{checksum, ext};
use std::collections::HashMap;
use std::net::IpAddr;

/// Length of a fragment header.
const FRAGMENT_HEADER_LEN: usize = 8;

/// Source, destination, protocol and identification.
type Key = (IpAddr, IpAddr, u8, u32);

/// Datagrams that are not complete yet.
#[derive(Debug, Default)]
pub struct Reassembly(HashMap<Key, Datagram>);

#[derive(Debug, Default)]
struct Datagram {
    /// Headers of the first fragment, without the fragment header.
    headers: Vec<u8>,
    /// Offset and data of each fragment.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Length of the data, once the last fragment is there.
    len: Option<usize>,
}

/// Where a fragment belongs.
struct Place {
    id: u32,
    offset: usize,
    more: bool,
}

impl Reassembly {
    /// Adds a fragment. Returns the packet if it is whole now.
    pub fn add(&mut self, ip: &Ip, packet: &[u8]) -> Option<Vec<u8>> {
        let (place, headers) = if ip.src.is_ipv4() { place_v4(ip, packet)? } else { place_v6(ip, packet)? };
        let key = (ip.src, ip.dst, ip.protocol, place.id);
        let data = &packet[ip.header_len..];
        let datagram = self.0.entry(key).or_default();
        if place.offset == 0 {
            datagram.headers = headers;
        }
        if !place.more {
            datagram.len = Some(place.offset + data.len());
        }
        if datagram.pieces.iter().all(|(offset, _)| *offset != place.offset) {
            datagram.pieces.push((place.offset, data.to_vec()));
        }
        let whole = datagram.whole(ip.src.is_ipv4())?;
        self.0.remove(&key);
        Some(whole)
    }
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn place_v4(ip: &Ip, packet: &[u8]) -> Option<(Place, Vec<u8>)> {
    let field = be(packet.get(6..8)?) as usize;
    let place = Place { id: be(packet.get(4..6)?), offset: (field & 0x1fff) * 8, more: field & 0x2000 != 0 };
    Some((place, packet[..ip.header_len].to_vec()))
}

fn place_v6(ip: &Ip, packet: &[u8]) -> Option<(Place, Vec<u8>)> {
    let fragment = ext::walk(packet[6], packet.get(IPV6_LEN..)?).ok()?.fragment?;
    // In what clients send here the fragment header is the last one.
    let at = ip.header_len.checked_sub(FRAGMENT_HEADER_LEN)?;
    let mut headers = packet[..at].to_vec();
    let named_at = if at == IPV6_LEN { 6 } else { IPV6_LEN };
    headers[named_at] = packet[at];
    let id = be(packet.get(at + 4..at + 8)?);
    Some((Place { id, offset: usize::from(fragment.offset), more: fragment.more }, headers))
}

impl Datagram {
    fn whole(&mut self, is_v4: bool) -> Option<Vec<u8>> {
        let len = self.len?;
        self.pieces.sort();
        let mut data = Vec::new();
        for (offset, piece) in &self.pieces {
            if *offset != data.len() {
                return None;
            }
            data.extend_from_slice(piece);
        }
        if data.len() != len || self.headers.is_empty() {
            return None;
        }
        let mut packet = std::mem::take(&mut self.headers);
        let header_len = packet.len();
        packet.extend(data);
        if is_v4 {
            let total = u16::try_from(packet.len()).ok()?;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[6..8].fill(0);
            packet[10..12].fill(0);
            let sum = checksum::checksum(&packet[..header_len]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let payload = u16::try_from(packet.len() - IPV6_LEN).ok()?;
            packet[4..6].copy_from_slice(&payload.to_be_bytes());
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::ETHERNET_LEN;
    use shunt_wire::craft::Craft;

    fn puts_together(craft: Craft) {
        let craft = craft.udp(1, 2).payload(&[7; 500]);
        let mut frames = craft.fragments(200);
        frames.reverse();
        frames.insert(0, frames[1].clone());
        let mut reassembly = Reassembly::default();
        let mut whole = frames.iter().filter_map(|frame| {
            let packet = &frame[ETHERNET_LEN..];
            reassembly.add(&Ip::read(packet).unwrap(), packet)
        });
        assert_eq!(whole.next(), Some(craft.packet()));
        assert_eq!(whole.next(), None);
    }

    #[test]
    fn any_order() {
        puts_together(Craft::v4([192, 0, 2, 1].into(), [10, 0, 1, 1].into()));
        let v6 = Craft::v6("2001:db8::1".parse().unwrap(), "fd00::1".parse().unwrap());
        puts_together(v6.clone());
        puts_together(v6.extension(60, &[1, 4, 0, 0, 0, 0]));
    }
}
