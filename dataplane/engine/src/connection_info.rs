//! A connection, told to people.

use crate::tables::{Family, ServerId};
use std::net::IpAddr;

/// What listings show of a connection entry (spec `connections.md` §1.3, `cli.md` §13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// IP protocol number: TCP 6, UDP 17, SCTP 132; 0 in templates of firewall marks.
    pub protocol: u8,
    /// Family of the client side.
    pub family: Family,
    /// Client address.
    pub caddr: IpAddr,
    /// Client port, host order.
    pub cport: u16,
    /// Virtual address; for templates of firewall marks the mark, as an IPv4 address.
    pub vaddr: IpAddr,
    /// Virtual port, host order.
    pub vport: u16,
    /// Real server.
    pub daddr: IpAddr,
    /// Its port, host order.
    pub dport: u16,
    /// Name of the protocol state as `ipvsadm -Lc` prints it.
    pub state: &'static str,
    /// Milliseconds until it expires; 0 if it is due.
    pub expires_ms: u64,
    /// IPVS connection flags (spec §1.3), templates included.
    pub flags: u32,
    /// The bound server.
    pub server: ServerId,
    /// Call-ID of a SIP template.
    pub pe_data: Option<String>,
}
