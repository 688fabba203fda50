//! Records of version 1 (spec `sync.md` §2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------+-----------------------+
//! | type (1: IPv6)|   protocol    | ver 0 |  length with options  |
//! +---------------+---------------+-------+-----------------------+
//! |                       connection flags                        |
//! +-------------------------------+-------------------------------+
//! |             state             |          client port          |
//! +-------------------------------+-------------------------------+
//! |         virtual port          |          server port          |
//! +-------------------------------+-------------------------------+
//! |                         firewall mark                         |
//! +---------------------------------------------------------------+
//! |                        timeout, seconds                       |
//! +---------------------------------------------------------------+
//! |    client, virtual and server address: 4 or 16 bytes each     |
//! +---------------------------------------------------------------+
//! |           options: type, length (not 0), data …               |
//! +---------------------------------------------------------------+
//! ```

use super::cursor::Cursor;
use super::record::{self, Fault, SEQUENCE, SEQUENCE_LEN, sequence_from, sequence_to};
use shunt_engine::ConnectionInfo;
use shunt_engine::tables::{Family, ServerId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Shortest record: IPv4, no options.
pub(super) const MIN_LEN: usize = 36;
/// Lower 12 bits of the word that holds version and length.
const LEN_MASK: u16 = 0x0fff;
/// Bit 0 of the type.
const TYPE_V6: u8 = 1;

mod option {
    /// Shifts of sequence numbers.
    pub const SEQUENCE: u8 = 1;
    /// Data of a persistence engine.
    pub const ENGINE_DATA: u8 = 2;
    /// Its name.
    pub const ENGINE_NAME: u8 = 3;
    /// Set: who does not know the option may ignore it.
    pub const MAY_IGNORE: u8 = 0x40;
    /// Longest name.
    pub const ENGINE_NAME_MAX: usize = 16;
}

/// The only persistence engine that there is.
const SIP: &[u8] = b"sip";

/// Appends a record. It has no padding.
pub(super) fn encode(info: &ConnectionInfo, out: &mut Vec<u8>) {
    let start = out.len();
    let kind = if info.family == Family::V6 { TYPE_V6 } else { 0 };
    out.extend([kind, info.protocol, 0, 0]);
    out.extend(info.flags.to_be_bytes());
    out.extend(u16::from(info.state).to_be_bytes());
    out.extend(info.cport.to_be_bytes());
    out.extend(info.vport.to_be_bytes());
    out.extend(info.dport.to_be_bytes());
    out.extend(info.fwmark.to_be_bytes());
    out.extend((info.timeout_ms / 1000).to_be_bytes());
    for address in [info.caddr, info.vaddr, info.daddr] {
        put_address(info.family, address, out);
    }
    if info.flags & SEQUENCE != 0 {
        let shifts = info.sequence.unwrap_or_default();
        out.extend([option::SEQUENCE, SEQUENCE_LEN as u8]);
        out.extend(sequence_to(&shifts, u32::to_be_bytes));
    }
    if let Some(data) = info.pe_data.as_ref().filter(|data| (1..=255).contains(&data.len())) {
        out.extend([option::ENGINE_DATA, data.len() as u8]);
        out.extend(data.as_bytes());
        out.extend([option::ENGINE_NAME, SIP.len() as u8]);
        out.extend(SIP);
    }
    // At most 72 + 26 + 257 + 18: it fits into the 12 bits.
    let len = (out.len() - start) as u16;
    out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// An address, as long as those of the record's family: one of the other family, as that of a tunnel's server, would
/// else move what stands behind it.
fn put_address(family: Family, address: IpAddr, out: &mut Vec<u8>) {
    let mut octets = [0; 16];
    match address {
        IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => octets = address.octets(),
    }
    out.extend(&octets[..if family == Family::V6 { 16 } else { 4 }]);
}

/// Options of a record, as far as they are known.
#[derive(Default)]
struct Options<'a> {
    sequence: Option<&'a [u8]>,
    engine_data: Option<&'a [u8]>,
    engine_name: Option<&'a [u8]>,
    unknown: bool,
}

/// Reads the record at the beginning of `bytes`, which are the rest of the datagram. Says how long it is, without
/// padding, and what is in it.
///
/// # Errors
/// [`Fault::Broken`] if what follows cannot be found either.
pub(super) fn decode(bytes: &[u8]) -> Result<(usize, Result<ConnectionInfo, Fault>), Fault> {
    if bytes.len() < MIN_LEN {
        return Err(Fault::Broken);
    }
    let word = u16::from_be_bytes([bytes[2], bytes[3]]);
    let len = usize::from(word & LEN_MASK);
    let record = bytes.get(..len).filter(|_| word & !LEN_MASK == 0).ok_or(Fault::Broken)?;
    match decode_record(record) {
        Err(Fault::Broken) => Err(Fault::Broken),
        result => Ok((len, result)),
    }
}

fn decode_record(record: &[u8]) -> Result<ConnectionInfo, Fault> {
    let mut at = Cursor::new(record);
    let family = match at.u8()? {
        0 => Family::V4,
        kind if kind & TYPE_V6 != 0 => Family::V6,
        _ => return Err(Fault::Broken),
    };
    let protocol = at.u8()?;
    at.skip(2)?;
    let flags = at.u32()?;
    let state = at.u16()?;
    let (cport, vport, dport) = (at.u16()?, at.u16()?, at.u16()?);
    let (fwmark, timeout_s) = (at.u32()?, at.u32()?);
    let mut address = || -> Result<IpAddr, Fault> {
        Ok(match family {
            Family::V4 => Ipv4Addr::from(at.array()?).into(),
            Family::V6 => Ipv6Addr::from(at.array()?).into(),
        })
    };
    let (caddr, vaddr, daddr) = (address()?, address()?, address()?);
    let options = read_options(&mut at)?;
    let flags = record::check(flags, protocol, state)?;
    if options.unknown {
        return Err(Fault::Unusable);
    }
    let sequence = options.sequence.filter(|_| flags & SEQUENCE != 0);
    Ok(ConnectionInfo {
        protocol,
        family,
        caddr,
        cport,
        vaddr,
        vport,
        daddr,
        dport,
        // Checked: less than 14.
        state: state as u8,
        timeout_ms: timeout_s.saturating_mul(1000),
        expires_ms: u64::from(timeout_s) * 1000,
        flags,
        fwmark,
        in_packets: 0,
        server: ServerId::NONE,
        control: None,
        sequence: sequence.map(|bytes| sequence_from(bytes, u32::from_be_bytes)),
        pe_data: engine_data(flags, &options)?,
    })
}

fn read_options<'a>(at: &mut Cursor<'a>) -> Result<Options<'a>, Fault> {
    let mut options = Options::default();
    while !at.is_empty() {
        let (kind, len) = (at.u8()?, usize::from(at.u8()?));
        let data = at.slice(len)?;
        let (place, longest) = match kind & !option::MAY_IGNORE {
            option::SEQUENCE => (&mut options.sequence, SEQUENCE_LEN),
            option::ENGINE_DATA => (&mut options.engine_data, usize::from(u8::MAX)),
            option::ENGINE_NAME => (&mut options.engine_name, option::ENGINE_NAME_MAX),
            _ if len == 0 => return Err(Fault::Broken),
            _ => {
                options.unknown |= kind & option::MAY_IGNORE == 0;
                continue;
            }
        };
        let wrong_len = len == 0 || len > longest || longest == SEQUENCE_LEN && len != longest;
        if wrong_len || place.replace(data).is_some() {
            return Err(Fault::Broken);
        }
    }
    Ok(options)
}

/// The data of a template's persistence engine, which must be one that we know.
fn engine_data(flags: u32, options: &Options<'_>) -> Result<Option<String>, Fault> {
    let Some(data) = options.engine_data.filter(|_| record::is_template(flags)) else { return Ok(None) };
    if options.engine_name != Some(SIP) {
        return Err(Fault::Unusable);
    }
    String::from_utf8(data.to_vec()).map(Some).map_err(|_| Fault::Unusable)
}
