//! Is an answer the expected one?

use super::{Answer, Case, Order};
use std::cmp::Ordering;
use std::fmt::Write;
use std::net::IpAddr;

/// What is different, as lines with `-` (expected) and `+` (got); `None` if nothing is.
pub(super) fn difference(case: &Case, got: &Answer) -> Option<String> {
    let expected = &case.expected;
    let mut text = String::new();
    if expected.status.is_some() && expected.status != got.status {
        let number = |status: Option<i64>| status.map_or("none".to_owned(), |status| status.to_string());
        let _ = writeln!(
            text,
            "    exit status: expected {}, got {}",
            number(expected.status),
            number(got.status)
        );
    }
    for (name, expected, got) in
        [("stdout", &expected.stdout, &got.stdout), ("stderr", &expected.stderr, &got.stderr)]
    {
        let (Some(expected), Some(got)) = (expected, got) else { continue };
        if !is_same(expected, got, case.order) {
            let _ = writeln!(text, "    {name}:");
            text += &line_difference(expected, got);
        }
    }
    (!text.is_empty()).then_some(text)
}

fn is_same(expected: &str, got: &str, order: Order) -> bool {
    let order = if order == Order::Exact && order_is_open(expected) { Order::OfServices } else { order };
    match order {
        Order::Exact => expected == got,
        Order::OfServices => sorted(blocks(expected)) == sorted(blocks(got)),
        Order::OfLines => {
            sorted(expected.split_inclusive('\n').collect()) == sorted(got.split_inclusive('\n').collect())
        }
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}

/// Services with their servers; title lines by themselves.
fn blocks(list: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in list.split_inclusive('\n') {
        match blocks.last_mut() {
            Some(block) if line.starts_with("  ->") || line.starts_with("-a ") => block.push_str(line),
            _ => blocks.push(line.to_owned()),
        }
    }
    blocks
}

/// ipvsadm sorts marks and addresses by the sign of their difference, which is no order: a < b < c < a is possible.
/// Where the list holds such a circle, the order depends on the kernel's random one even in a sorted list.
fn order_is_open(list: &str) -> bool {
    let services: Vec<[u32; 5]> = blocks(list).iter().filter_map(|block| place_of(block)).collect();
    let before = |one: &[u32; 5], other: &[u32; 5]| compare(one, other) == Ordering::Less;
    services.iter().any(|a| {
        services
            .iter()
            .filter(|b| before(a, b))
            .any(|b| services.iter().any(|c| before(b, c) && before(c, a)))
    })
}

fn compare(one: &[u32; 5], other: &[u32; 5]) -> Ordering {
    let words = one.iter().zip(other).map(|(one, other)| (one.wrapping_sub(*other) as i32).cmp(&0));
    words.fold(Ordering::Equal, Ordering::then)
}

/// The mark and the address of a line about a service, as words. The recordings know one name.
fn place_of(line: &str) -> Option<[u32; 5]> {
    let mut words = line.split_whitespace();
    let mut first = words.next()?;
    if first == "-A" {
        first = words.next()?;
    }
    let value = words.next()?;
    if first == "FWM" || first == "-f" {
        // Printed signed.
        return value.parse::<i32>().ok().map(|mark| [mark as u32, 0, 0, 0, 0]);
    }
    let (host, _) = value.rsplit_once(':')?;
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    Some(match host.trim_start_matches('[').trim_end_matches(']').parse().ok()? {
        IpAddr::V4(address) => [0, address.to_bits(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [0, (bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
        }
    })
}

/// Lines that only one of them has. Trailing blanks show as `·`, a missing last newline as `\`.
fn line_difference(expected: &str, got: &str) -> String {
    let expected: Vec<&str> = expected.split_inclusive('\n').collect();
    let got: Vec<&str> = got.split_inclusive('\n').collect();
    // Longest common subsequence, from the end; transcripts have tens of lines.
    let mut common = vec![vec![0_u32; got.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..got.len()).rev() {
            common[i][j] = if expected[i] == got[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < expected.len() || j < got.len() {
        if i < expected.len() && j < got.len() && expected[i] == got[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < expected.len() && (j == got.len() || common[i + 1][j] >= common[i][j + 1]) {
            text += &shown('-', expected[i]);
            i += 1;
        } else {
            text += &shown('+', got[j]);
            j += 1;
        }
    }
    text
}

fn shown(sign: char, line: &str) -> String {
    let (body, end) = line.strip_suffix('\n').map_or((line, "\\"), |body| (body, ""));
    let bare = body.trim_end_matches(' ');
    format!("    {sign} {bare}{}{end}\n", "·".repeat(body.len() - bare.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_counts_unless_it_is_open() {
        let one = "TCP  10.0.0.1:80 rr\n  -> 10.1.0.1:80\nTCP  10.0.0.2:80 rr\n";
        let other = "TCP  10.0.0.2:80 rr\nTCP  10.0.0.1:80 rr\n  -> 10.1.0.1:80\n";
        assert!(!is_same(one, other, Order::Exact) && is_same(one, other, Order::OfServices));
        let moved = "TCP  10.0.0.1:80 rr\nTCP  10.0.0.2:80 rr\n  -> 10.1.0.1:80\n";
        assert!(!is_same(one, moved, Order::OfServices) && is_same(one, moved, Order::OfLines));
        assert!(!order_is_open(one));
        assert!(order_is_open(
            "TCP  255.255.255.255:80\nTCP  10.0.0.1:80\nTCP  224.0.0.1:80\nTCP  127.0.0.1:80\n"
        ));
        assert!(order_is_open("-A -t 200.0.0.1:80\n-A -t 10.0.0.1:80\n-A -t 100.0.0.1:80\n"));
        assert!(order_is_open("FWM  1 rr\nFWM  2147483647 wlc\nFWM  -2 IPv6 wlc\n"));
        assert!(order_is_open("-A -t 10.0.0.1:80\n-A -f 2147483647 -s rr\n-A -f -2 -s rr\n"));
        assert!(!order_is_open("TCP  10.0.0.1:80\nFWM  1 rr\nFWM  2147483647 wlc\n"));
    }

    #[test]
    fn differences_name_the_lines() {
        assert_eq!(line_difference("a\nb \nc\n", "a\nc"), "    - b·\n    - c\n    + c\\\n");
        assert_eq!(line_difference("a\n", "b\na\n"), "    + b\n");
    }
}
