//! How arguments of options are read (spec `cli.md` §8).

use super::Names;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `isspace` of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Cuts a decimal number as strtol does: blanks, a sign, digits. Saturates. The rest of the text comes back too.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches(|character: char| u8::try_from(character).is_ok_and(is_space));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    let number = digits.bytes().take(len).fold(0_i64, |number, digit| {
        number.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))
    });
    Some((number, &digits[len..]))
}

/// A decimal number, the whole text, within bounds.
pub(super) fn number(text: &str, min: u32, max: u32) -> Option<u32> {
    let (number, rest) = leading_number(text)?;
    let number = u32::try_from(number).ok()?;
    (rest.is_empty() && (min..=max).contains(&number)).then_some(number)
}

/// A number at the beginning of a text, as `atoi` reads it: cut to 32 bits, 0 if there is none.
pub(super) fn leading(text: &str) -> i32 {
    leading_number(text).map_or(0, |(number, _)| number as i32)
}

/// An IPv4 address as `inet_aton` reads it: one to four parts, each decimal, octal (`0…`) or hexadecimal (`0x…`). The
/// last part fills what the others leave. Text after a blank is ignored.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(|character: char| u8::try_from(character).is_ok_and(is_space)).next()?;
    let parts: Vec<&str> = text.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 {
        return None;
    }
    let mut address = 0_u32;
    for (index, part) in leading.iter().enumerate() {
        let byte = aton_part(part).filter(|value| *value <= 0xff)?;
        address |= byte << (24 - 8 * index);
    }
    let last = aton_part(last).filter(|value| *value <= u32::MAX >> (8 * leading.len()))?;
    Some(Ipv4Addr::from_bits(address | last))
}

fn aton_part(text: &str) -> Option<u32> {
    if !text.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    // `from_str_radix` takes a sign, which strtoul is not given here.
    let parse = |digits: &str, radix| {
        (!digits.starts_with('+')).then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    match hex {
        Some(digits) => parse(digits, 16),
        None if text.len() > 1 && text.starts_with('0') => parse(&text[1..], 8),
        None => parse(text, 10),
    }
}

/// An IPv4 address, or the first one of a host.
pub(super) fn host(text: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    inet_aton(text).or_else(|| if text.is_empty() { None } else { names.host_address(text) })
}

/// `host[:port]`: the address, and the port (host order) if one was given.
pub(super) fn endpoint(text: &str, protocol: u8, names: &dyn Names) -> Option<(IpAddr, Option<u16>)> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host_text, after_bracket) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host_text, rest) = inside.split_once(']')?;
            (host_text, Some(rest.strip_prefix(':')?))
        }
        None => (text, None),
    };
    let (address, port_text) = match host_text.parse::<Ipv6Addr>() {
        Ok(address) => (IpAddr::V6(address), after_bracket),
        Err(_) => {
            let (host_text, port_text) = match host_text.rsplit_once(':') {
                Some((host_text, port_text)) => (host_text, Some(port_text)),
                None => (host_text, None),
            };
            (IpAddr::V4(host(host_text, names)?), port_text)
        }
    };
    match port_text {
        None => Some((address, None)),
        Some(text) => Some((address, Some(l4_port(text, protocol, names)?))),
    }
}

fn l4_port(text: &str, protocol: u8, names: &dyn Names) -> Option<u16> {
    const MAX: u32 = u16::MAX as u32;
    match number(text, 0, MAX) {
        Some(number) => u16::try_from(number).ok(),
        None => names.service_port(text, protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoNames;

    impl Names for NoNames {
        fn host_address(&self, name: &str) -> Option<Ipv4Addr> {
            (name == "web").then_some(Ipv4Addr::new(192, 0, 2, 1))
        }
        fn host_name(&self, _: IpAddr) -> Option<String> {
            None
        }
        fn service_port(&self, name: &str, protocol: u8) -> Option<u16> {
            (name == "http" && protocol == 6).then_some(80)
        }
        fn service_name(&self, _: u16, _: u8) -> Option<&str> {
            None
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number("5", 0, 10), Some(5));
        assert_eq!(number(" \t+5", 0, 10), Some(5));
        for bad in ["", " ", "+", "5 ", "5x", "-1", "11", "0x5", "99999999999999999999"] {
            assert_eq!(number(bad, 0, 10), None, "{bad}");
        }
        assert_eq!(number("-0", 0, 10), Some(0));
        assert_eq!(leading("64abc"), 64);
        assert_eq!(leading("abc"), 0);
        for (text, number) in [
            ("4294967297", 1),
            ("-4294967295", 1),
            ("99999999999999999999", -1),
            ("-9223372036854775808", 0),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(leading(text), number, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.1", "10.0.0.1"),
            ("012.0.0.1", "10.0.0.1"),
            ("0x0a000009", "10.0.0.9"),
            ("24", "0.0.0.24"),
            ("1.2.3", "1.2.0.3"),
            ("255.255.255.255", "255.255.255.255"),
            ("10.0.0.1 x", "10.0.0.1"),
            ("0", "0.0.0.0"),
        ] {
            assert_eq!(inet_aton(text), Some(expected.parse().unwrap()), "{text}");
        }
        for bad in
            ["", ".", "10.", "10..1", "1.2.3.4.5", "256.0.0.1", "10.16777216", "08", "0x", "a", "1.+2", "-1"]
        {
            assert_eq!(inet_aton(bad), None, "{bad}");
        }
    }

    #[test]
    fn endpoints() {
        let read =
            |text| endpoint(text, 6, &NoNames).map(|(address, l4_port)| (address.to_string(), l4_port));
        for (text, address, l4_port) in [
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("10.0.0.1", "10.0.0.1", None),
            ("10.1:+080", "10.0.0.1", Some(80)),
            ("web:http", "192.0.2.1", Some(80)),
            ("[2001:db8::2]:80", "2001:db8::2", Some(80)),
            ("2001:db8::2", "2001:db8::2", None),
            ("2001:db8::2:80", "2001:db8::2:80", None),
            ("[10.0.0.9]:80", "10.0.0.9", None),
            ("[10.0.0.9:81]:80", "10.0.0.9", Some(81)),
        ] {
            assert_eq!(read(text), Some((address.to_owned(), l4_port)), "{text}");
        }
        for bad in [
            "",
            "80",
            ":80",
            "10.0.0.1:",
            "10.0.0.1:99999",
            "10.0.0.1:-1",
            "10.0.0.1:https",
            "10.0.0.1:0x50",
            "nohost:80",
            "[2001:db8::2]",
            "[2001:db8::2]80",
            "[2001:db8::2]:",
            "[2001:db8::2",
            "[fe80::1%eth0]:80",
            "10.0.0.1:80:90",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
