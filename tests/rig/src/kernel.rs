//! What the kernel of the present thread's network namespace has counted. Read through `/proc/thread-self`, because a
//! thread may be in another namespace than its process.

use std::fs;

/// Segments that TCP sent again (RFC 4022 tcpRetransSegs): 0 more of them on both ends means that nothing was lost.
///
/// # Panics
/// If the kernel does not say.
pub fn tcp_retransmissions() -> u64 {
    snmp("Tcp: ", "RetransSegs")
}

/// Datagrams of both families that were put together from fragments (RFC 4293 ipSystemStatsReasmOKs).
///
/// # Panics
/// If the kernel does not say.
pub fn reassembled() -> u64 {
    let ipv6 = read("snmp6");
    let row = ipv6.lines().find_map(|line| line.strip_prefix("Ip6ReasmOKs"));
    let count: u64 = row.and_then(|value| value.trim().parse().ok()).expect("snmp6 has no Ip6ReasmOKs");
    count + snmp("Ip: ", "ReasmOKs")
}

fn snmp(protocol: &str, counter: &str) -> u64 {
    let text = read("snmp");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else { panic!("no {protocol}rows in snmp") };
    let column = names.split_whitespace().position(|name| name == counter);
    column
        .and_then(|column| values.split_whitespace().nth(column)?.parse().ok())
        .unwrap_or_else(|| panic!("snmp has no {counter}"))
}

/// What one interface has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Frames received.
    pub received: u64,
    /// Frames that arrived but were dropped.
    pub receive_dropped: u64,
    /// Frames sent.
    pub transmitted: u64,
    /// Frames that were to be sent but were dropped.
    pub transmit_dropped: u64,
}

/// The counters of an interface, `None` if there is no such interface.
pub fn interface(name: &str) -> Option<InterfaceCounters> {
    let text = read("dev");
    let row = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let fields: Vec<u64> = row.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // bytes packets errs drop fifo frame compressed multicast | bytes packets errs drop fifo colls carrier compressed
    let &[_, received, _, receive_dropped, _, _, _, _, _, transmitted, _, transmit_dropped, ..] = &fields[..]
    else {
        return None;
    };
    Some(InterfaceCounters { received, receive_dropped, transmitted, transmit_dropped })
}

fn read(name: &str) -> String {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_counts() {
        let lo = super::interface("lo").expect("there is always a loopback");
        assert_eq!(lo.received, lo.transmitted);
        assert_eq!(super::interface("no-such-if"), None);
    }
}
