//! Addresses and ports as text (spec `cli.md` §12.2).

use super::Names;
use std::net::{IpAddr, Ipv6Addr};

/// Longest text of an address and port, in bytes.
const TEXT_LEN: usize = 59;

/// An IPv6 address as the C library prints it: like Rust, but for the "IPv4-compatible" addresses.
fn ipv6_text(address: &Ipv6Addr) -> String {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = address.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => address.to_string(),
    }
}

/// Cuts a text to at most `len` bytes.
pub(super) fn cut(text: &mut String, len: usize) {
    let end = (0..=len.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}

/// `ADDRESS:PORT`, by name if wanted and known. `protocol` selects the names of ports.
pub(super) fn endpoint(
    address: IpAddr,
    l4_port: u16,
    protocol: u8,
    numeric: bool,
    names: &dyn Names,
) -> String {
    let numeric_host = || match &address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => ipv6_text(address),
    };
    let (host, service) = if numeric {
        (numeric_host(), None)
    } else {
        let host = names.host_name(address).unwrap_or_else(numeric_host);
        (host, names.service_name(l4_port, protocol))
    };
    let mut text = match (address, service) {
        (IpAddr::V4(_), None) => format!("{host}:{l4_port}"),
        (IpAddr::V4(_), Some(service)) => format!("{host}:{service}"),
        (IpAddr::V6(_), None) => format!("[{host}]:{l4_port}"),
        (IpAddr::V6(_), Some(service)) => format!("[{host}]:{service}"),
    };
    cut(&mut text, TEXT_LEN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_as_the_c_library_prints_it() {
        for (address, text) in [
            ("::", "::"),
            ("::1", "::1"),
            ("::a:b", "::0.10.0.11"),
            ("::ffff:10.0.1.1", "::ffff:10.0.1.1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ] {
            assert_eq!(ipv6_text(&address.parse().unwrap()), text);
        }
    }
}
