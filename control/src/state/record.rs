//! A connection or template as bytes of the state file. Integers are little-endian; an address is a byte 4 or 6 and its
//! bytes in network order.

use crate::sync::is_state;
use shunt_engine::tables::{Family, ServerId};
use shunt_engine::{ConnectionInfo, ControlKey, SequenceShift};
use std::net::IpAddr;

/// Longest Call-ID that is kept, in bytes.
const PE_DATA_LEN_MAX: usize = 255;

/// What a record has beside the fields that all have.
const HAS_CONTROL: u8 = 1;
const HAS_SEQUENCE: u8 = 2;
const HAS_PE_DATA: u8 = 4;
/// What controls it is a connection of FTP, whose client port follows.
const HAS_CONTROL_CPORT: u8 = 8;

/// Appends one record.
pub(super) fn write(info: &ConnectionInfo, out: &mut Vec<u8>) {
    let pe_data = info.pe_data.as_deref().filter(|data| data.len() <= PE_DATA_LEN_MAX);
    let has = if info.control.is_some() { HAS_CONTROL } else { 0 }
        | if info.control.is_some_and(|control| control.is_connection()) { HAS_CONTROL_CPORT } else { 0 }
        | if info.sequence.is_some() { HAS_SEQUENCE } else { 0 }
        | if pe_data.is_some() { HAS_PE_DATA } else { 0 };
    out.extend([has, family_byte(info.family), info.protocol, info.state]);
    for number in [
        info.timeout_ms,
        u32::try_from(info.expires_ms).unwrap_or(u32::MAX),
        info.flags,
        info.fwmark,
        info.in_packets,
    ] {
        out.extend(number.to_le_bytes());
    }
    for (address, l4_port) in [(info.caddr, info.cport), (info.vaddr, info.vport), (info.daddr, info.dport)] {
        write_address(address, out);
        out.extend(l4_port.to_le_bytes());
    }
    if let Some(control) = info.control {
        out.push(control.protocol);
        write_address(control.client_net, out);
        write_address(control.vaddr, out);
        out.extend(control.vport.to_le_bytes());
        if control.is_connection() {
            out.extend(control.cport.to_le_bytes());
        }
    }
    for shift in info.sequence.iter().flatten() {
        for number in [shift.init_seq, shift.delta, shift.previous_delta] {
            out.extend(number.to_le_bytes());
        }
    }
    if let Some(data) = pe_data {
        out.push(data.len() as u8);
        out.extend(data.as_bytes());
    }
}

fn family_byte(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    out.push(family_byte(Family::of(&address)));
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

/// Takes one record off the front; `None` if it makes no sense.
pub(super) fn read(from: &mut &[u8]) -> Option<ConnectionInfo> {
    let [has, family, protocol, state] = take(from)?;
    let family = match family {
        4 => Family::V4,
        6 => Family::V6,
        _ => return None,
    };
    let [timeout_ms, expires_ms, flags, fwmark, in_packets] = numbers(from)?;
    if !is_state(flags, protocol, state.into()) {
        return None;
    }
    let (caddr, cport) = (read_address(from)?, u16::from_le_bytes(take(from)?));
    let (vaddr, vport) = (read_address(from)?, u16::from_le_bytes(take(from)?));
    let (daddr, dport) = (read_address(from)?, u16::from_le_bytes(take(from)?));
    let control = if has & HAS_CONTROL == 0 { None } else { Some(read_control(has, from)?) };
    let sequence = if has & HAS_SEQUENCE == 0 { None } else { Some([read_shift(from)?, read_shift(from)?]) };
    let pe_data = if has & HAS_PE_DATA == 0 { None } else { Some(read_text(from)?) };
    Some(ConnectionInfo {
        protocol,
        family,
        caddr,
        cport,
        vaddr,
        vport,
        daddr,
        dport,
        state,
        timeout_ms,
        expires_ms: expires_ms.into(),
        flags,
        fwmark,
        in_packets,
        server: ServerId::NONE,
        control,
        sequence,
        pe_data,
    })
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*bytes)
}

fn numbers<const N: usize>(from: &mut &[u8]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = u32::from_le_bytes(take(from)?);
    }
    Some(numbers)
}

fn read_address(from: &mut &[u8]) -> Option<IpAddr> {
    match take(from)? {
        [4] => Some(IpAddr::from(take::<4>(from)?)),
        [6] => Some(IpAddr::from(take::<16>(from)?)),
        _ => None,
    }
}

fn read_control(has: u8, from: &mut &[u8]) -> Option<ControlKey> {
    let [protocol] = take(from)?;
    let (client_net, vaddr) = (read_address(from)?, read_address(from)?);
    let vport = u16::from_le_bytes(take(from)?);
    let cport = if has & HAS_CONTROL_CPORT == 0 { 0 } else { u16::from_le_bytes(take(from)?) };
    Some(ControlKey { protocol, client_net, cport, vaddr, vport })
}

fn read_shift(from: &mut &[u8]) -> Option<SequenceShift> {
    let [init_seq, delta, previous_delta] = numbers(from)?;
    Some(SequenceShift { init_seq, delta, previous_delta })
}

fn read_text(from: &mut &[u8]) -> Option<String> {
    let [len] = take(from)?;
    let text = from.get(..usize::from(len))?;
    *from = &from[usize::from(len)..];
    String::from_utf8(text.to_vec()).ok()
}
