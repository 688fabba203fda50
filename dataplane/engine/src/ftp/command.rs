//! The lines of FTP that name data connections (spec `forwarding.md` §8; RFC 959 §4.1.2, RFC 2428). Read in one segment:
//! what is cut in two is not understood, as in the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The server shall listen; its answer begins with 227.
    Passive,
    /// The same, answered by 229.
    ExtendedPassive,
    /// The client listens here.
    Active(IpAddr, u16),
}

/// Where a server listens, and where its answer says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// `None`: the address of the control connection.
    pub(super) address: Option<IpAddr>,
    pub(super) dport: u16,
    /// The text that says it.
    pub(super) text: Range<usize>,
}

/// Reads a segment of the client.
pub(super) fn request(payload: &[u8], v6: bool) -> Option<Request> {
    for at in 0..(payload.len() + 1).saturating_sub(6) {
        let line = &payload[at..];
        if !v6 && starts_with(line, b"PASV\r\n") {
            return Some(Request::Passive);
        }
        if starts_with(line, b"EPSV\r") {
            return Some(Request::ExtendedPassive);
        }
        if starts_with(line, b"EPSV ") {
            let own = if v6 { b'2' } else { b'1' };
            return (line.get(5..7) == Some(&[own, b'\r'])).then_some(Request::ExtendedPassive);
        }
    }
    let (address, cport) = match v6 {
        false if starts_with(payload, b"PORT ") => six_numbers(after_spaces(&payload[5..]))?.0,
        _ if starts_with(payload, b"EPRT ") => {
            let ((address, cport), _) = extended(after_spaces(&payload[5..]), v6)?;
            (address?, cport)
        }
        _ => return None,
    };
    (cport != 0).then_some(Request::Active(address, cport))
}

/// What this segment of the server answers, when nobody knows what was asked.
pub(super) fn answered(payload: &[u8]) -> Option<Request> {
    match payload {
        [b'2', b'2', b'7', b' ', ..] => Some(Request::Passive),
        [b'2', b'2', b'9', b' ', ..] => Some(Request::ExtendedPassive),
        _ => None,
    }
}

/// Reads a segment of the server that answers `to`.
pub(super) fn offer(payload: &[u8], to: Request, v6: bool) -> Option<Offer> {
    let (code, plain): (&[u8], bool) = match to {
        Request::Passive => (b"227 ", true),
        Request::ExtendedPassive => (b"229 ", false),
        Request::Active(..) => return None,
    };
    if !payload.starts_with(code) {
        return None;
    }
    // Before six numbers the parenthesis is optional.
    let begins = |byte: &u8| *byte == b'(' || plain && byte.is_ascii_digit();
    let mut start = code.len() + payload[code.len()..].iter().position(begins)?;
    while payload.get(start) == Some(&b'(') {
        start += 1;
    }
    let rest = payload.get(start..)?;
    let ((address, dport), len) = match plain {
        true => {
            let ((address, dport), len) = six_numbers(rest)?;
            ((Some(address), dport), len)
        }
        false => extended(rest, v6)?,
    };
    (dport != 0).then_some(Offer { address, dport, text: start..start + len })
}

/// What the answer says instead: where the client finds the server.
pub(super) fn write_offer(to: Request, vaddr: IpAddr, vport: u16, text: &mut Text) {
    match (to, vaddr) {
        (Request::Passive, IpAddr::V4(vaddr)) => {
            for byte in vaddr.octets() {
                text.number(byte.into());
                text.push(b',');
            }
            text.number(vport >> 8);
            text.push(b',');
            text.number(vport & 0xff);
        }
        _ => {
            text.bytes(b"|||");
            text.number(vport);
            text.push(b'|');
        }
    }
}

/// A short text: six numbers of three digits and five commas are the longest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text {
    bytes: [u8; 24],
    len: usize,
}

impl Text {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }

    fn number(&mut self, number: u16) {
        let mut divisor = 10_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            self.push(b'0' + (number / divisor % 10) as u8);
            divisor /= 10;
        }
    }
}

fn starts_with(bytes: &[u8], upper: &[u8]) -> bool {
    bytes.get(..upper.len()).is_some_and(|start| start.eq_ignore_ascii_case(upper))
}

fn after_spaces(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| **byte == b' ').count();
    &bytes[spaces..]
}

/// An end that is named, and how long its name is.
type Read<T> = ((T, u16), usize);

/// `a,b,c,d,hi,lo`, and more text behind it: what was cut off may have been a digit. Servers write "(1,2,3,4,5,6)." and
/// "1,2,3,4,5,6." alike.
fn six_numbers(text: &[u8]) -> Option<Read<IpAddr>> {
    let mut numbers = [0u8; 6];
    let mut at = 0;
    for (nth, place) in numbers.iter_mut().enumerate() {
        let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        *place = decimal(&text[at..at + digits]).and_then(|number| u8::try_from(number).ok())?;
        at += digits;
        let next = text.get(at)?;
        if nth < 5 {
            if *next != b',' {
                return None;
            }
            at += 1;
        }
    }
    let [a, b, c, d, high, low] = numbers;
    Some(((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])), at))
}

/// `|family|address|port|` with any delimiter; family and address may be empty.
fn extended(text: &[u8], v6: bool) -> Option<Read<Option<IpAddr>>> {
    let delimiter = *text.first().filter(|byte| (33..=126).contains(*byte))?;
    let mut fields = text[1..].split(|byte| *byte == delimiter);
    let (family, address, l4_port) = (fields.next()?, fields.next()?, fields.next()?);
    // The delimiter behind the port is there.
    fields.next()?;
    let len = family.len() + address.len() + l4_port.len() + 4;
    let own: &[u8] = if v6 { b"2" } else { b"1" };
    let address = match (family, address) {
        ([], []) => None,
        (family, address) if family == own => {
            let address: IpAddr = std::str::from_utf8(address).ok()?.parse().ok()?;
            Some(address).filter(|address| address.is_ipv6() == v6)?.into()
        }
        _ => return None,
    };
    let l4_port = decimal(l4_port).and_then(|number| u16::try_from(number).ok())?;
    Some(((address, l4_port), len))
}

/// A decimal number of at most five digits.
fn decimal(digits: &[u8]) -> Option<u32> {
    let plausible = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plausible.then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn requests_of_clients() {
        let active = |address, cport| Some(Request::Active(ip(address), cport));
        assert_eq!(request(b"PASV\r\n", false), Some(Request::Passive));
        assert_eq!(request(b"NOOP\r\npasv\r\n", false), Some(Request::Passive));
        assert_eq!(request(b"PASV\r\n", true), None);
        assert_eq!(request(b"EPSV\r\n", true), Some(Request::ExtendedPassive));
        assert_eq!(request(b"EPSV 1\r\n", false), Some(Request::ExtendedPassive));
        assert_eq!(request(b"epsv 2\r\n", true), Some(Request::ExtendedPassive));
        for other in
            [&b"EPSV ALL\r\n"[..], b"EPSV 2\r\n", b"EPSV", b"PASV", b"", b"PORT", b"\r\n\r\n\r\n\r\n"]
        {
            assert_eq!(request(other, false), None, "{other:?}");
        }
        assert_eq!(request(b"PORT 192,0,2,9,160,0\r\n", false), active("192.0.2.9", 40_960));
        assert_eq!(request(b"port   192,0,2,9,0,20\r\n", false), active("192.0.2.9", 20));
        assert_eq!(request(b"PORT 192,0,2,9,0,20\n", false), active("192.0.2.9", 20));
        for broken in [
            &b"PORT 192,0,2,9,160\r\n"[..],
            b"PORT 192,0,2,256,160,0\r\n",
            b"PORT 192,0,2,9,160,0",
            b"PORT 192,0,2,9,0,0\r\n",
            b"PORT ,,,,,\r\n",
            b"PORT 1,1,1,1,999999999999,1\r\n",
        ] {
            assert_eq!(request(broken, false), None, "{broken:?}");
        }
        assert_eq!(request(b"EPRT |1|192.0.2.9|40960|\r\n", false), active("192.0.2.9", 40_960));
        assert_eq!(request(b"EPRT !2!2001:db8::9!40960!\r\n", true), active("2001:db8::9", 40_960));
        for broken in [
            &b"EPRT |2|2001:db8::9|40960|\r\n"[..],
            b"EPRT |1|192.0.2.9|40960\r\n",
            b"EPRT |1||1|\r\n",
            b"EPRT |1|192.0.2.9|65536|\r\n",
            b"EPRT \r\n",
            b"EPRT ||||\r\n",
        ] {
            assert_eq!(request(broken, false), None, "{broken:?}");
        }
    }

    #[test]
    fn offers_of_servers() {
        let plain =
            offer(b"227 Entering Passive Mode (10,0,2,11,195,80).\r\n", Request::Passive, false).unwrap();
        assert_eq!((plain.address, plain.dport, plain.text), (Some(ip("10.0.2.11")), 50_000, 27..43));
        let bare = offer(b"227 10,0,2,11,195,80.\r\n", Request::Passive, false).unwrap();
        assert_eq!((bare.dport, bare.text), (50_000, 4..20));
        let open = offer(b"227 (10,0,2,11,195,80.\r\n", Request::Passive, false).unwrap();
        assert_eq!((open.dport, open.text), (50_000, 5..21), "what stands behind the numbers stays");
        let extended = offer(b"229 Extended (|||50000|)\r\n", Request::ExtendedPassive, true).unwrap();
        assert_eq!((extended.address, extended.dport, extended.text), (None, 50_000, 14..23));
        let open = offer(b"229 (|||50000| or so)\r\n", Request::ExtendedPassive, false).unwrap();
        assert_eq!((open.dport, open.text), (50_000, 5..14));
        for (text, to) in [
            (&b"229 (|||50000|)\r\n"[..], Request::Passive),
            (b"227 (1,2,3,4,5)\r\n", Request::Passive),
            (b"227 none", Request::Passive),
            (b"227 (", Request::Passive),
            (b"229 (|||70000|)\r\n", Request::ExtendedPassive),
            (b"229 |||50000|\r\n", Request::ExtendedPassive),
            (b"229 (||10.0.2.11|50000|)\r\n", Request::ExtendedPassive),
            (b"229 (|1||50000|)\r\n", Request::ExtendedPassive),
            (b"227 (1,2,3,4,5,6", Request::Passive),
            (b"227 (1,2,3,4,0,0)\r\n", Request::Passive),
        ] {
            assert_eq!(offer(text, to, false), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for (to, vaddr, vport) in [
            (Request::Passive, ip("203.0.113.255"), 65_535),
            (Request::Passive, ip("1.2.3.4"), 256),
            (Request::ExtendedPassive, ip("203.0.113.1"), 7),
            (Request::ExtendedPassive, ip("2001:db8::1"), 40_000),
        ] {
            let mut text = Text::default();
            write_offer(to, vaddr, vport, &mut text);
            let code: &[u8] = if to == Request::Passive { b"227 (" } else { b"229 (" };
            let line = [code, text.as_bytes(), b")\r\n"].concat();
            let offer = offer(&line, to, vaddr.is_ipv6()).unwrap();
            assert_eq!(offer.dport, vport);
            assert_eq!(offer.address, (to == Request::Passive).then_some(vaddr));
        }
    }
}
