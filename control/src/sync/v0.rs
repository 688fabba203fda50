//! Records of version 0 (spec `sync.md` §3): IPv4 only, without timeout, mark and engine data.
//!
//! ```text
//! +---------------+---------------+-------------------------------+
//! |       0       |   protocol    |          client port          |
//! +---------------+---------------+-------------------------------+
//! |         virtual port          |          server port          |
//! +-------------------------------+-------------------------------+
//! |               client, virtual and server address              |
//! +-------------------------------+-------------------------------+
//! |     flags, low 16 bits        |             state             |
//! +-------------------------------+-------------------------------+
//! |  24 bytes of sequence shifts, in the sender's byte order,     |
//! |  if flags & 0x0600                                            |
//! +---------------------------------------------------------------+
//! ```

use super::cursor::Cursor;
use super::record::{self, Fault, SEQUENCE, SEQUENCE_LEN, sequence_from, sequence_to};
use shunt_engine::ConnectionInfo;
use shunt_engine::tables::{Family, ServerId};
use std::net::{IpAddr, Ipv4Addr};

/// Appends a record. False if version 0 cannot say it: addresses that are not all IPv4.
pub(super) fn encode(info: &ConnectionInfo, out: &mut Vec<u8>) -> bool {
    let (IpAddr::V4(caddr), IpAddr::V4(vaddr), IpAddr::V4(daddr)) = (info.caddr, info.vaddr, info.daddr)
    else {
        return false;
    };
    out.extend([0, info.protocol]);
    for l4_port in [info.cport, info.vport, info.dport] {
        out.extend(l4_port.to_be_bytes());
    }
    for address in [caddr, vaddr, daddr] {
        out.extend(address.octets());
    }
    out.extend((info.flags as u16).to_be_bytes());
    out.extend(u16::from(info.state).to_be_bytes());
    if info.flags & SEQUENCE != 0 {
        out.extend(sequence_to(&info.sequence.unwrap_or_default(), u32::to_ne_bytes));
    }
    true
}

/// Reads the record at the beginning of `bytes`, which are the rest of the datagram. Says how long it is and what is in
/// it.
///
/// # Errors
/// [`Fault::Broken`] if it does not fit.
pub(super) fn decode(bytes: &[u8]) -> Result<(usize, Result<ConnectionInfo, Fault>), Fault> {
    let mut at = Cursor::new(bytes);
    at.skip(1)?;
    let protocol = at.u8()?;
    let (cport, vport, dport) = (at.u16()?, at.u16()?, at.u16()?);
    let mut address = || -> Result<IpAddr, Fault> { Ok(Ipv4Addr::from(at.array()?).into()) };
    let (caddr, vaddr, daddr) = (address()?, address()?, address()?);
    let (flags, state) = (u32::from(at.u16()?), at.u16()?);
    let sequence = if flags & SEQUENCE == 0 { None } else { Some(at.slice(SEQUENCE_LEN)?) };
    let info = record::check(flags, protocol, state).map(|flags| ConnectionInfo {
        protocol,
        family: Family::V4,
        caddr,
        cport,
        vaddr,
        vport,
        daddr,
        dport,
        // Checked: less than 14.
        state: state as u8,
        // The receiver knows what is usual.
        timeout_ms: 0,
        expires_ms: 0,
        flags,
        fwmark: 0,
        in_packets: 0,
        server: ServerId::NONE,
        control: None,
        sequence: sequence.map(|bytes| sequence_from(bytes, u32::from_ne_bytes)),
        pe_data: None,
    });
    Ok((at.position(), info))
}
