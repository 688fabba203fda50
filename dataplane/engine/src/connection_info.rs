//! A connection or persistence template, whole: for listings, for a peer that synchronises, for a state file.
//!
//! What [`Engine::dump`](crate::Engine::dump) tells of, [`Engine::install`](crate::Engine::install) takes back.

use crate::conn::flag;
use crate::state;
use crate::tables::{Family, ServerId};
use std::net::IpAddr;

/// Names what controls a connection: a persistence template, or the FTP control connection of a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ControlKey {
    /// IP protocol number; 0 in templates of firewall marks.
    pub protocol: u8,
    /// The client's network; of a control connection the client.
    pub client_net: IpAddr,
    /// Client port of a control connection, host order; 0 in templates.
    pub cport: u16,
    /// Virtual address; if `protocol` is 0 its first four bytes are the mark, and there are no others.
    pub vaddr: IpAddr,
    /// Virtual port, host order.
    pub vport: u16,
}

impl ControlKey {
    /// Does it name a control connection of FTP, rather than a template?
    #[must_use]
    pub fn is_connection(&self) -> bool {
        self.cport != 0
    }
}

/// How far the sequence numbers of one direction are shifted, host order (spec `sync.md` §2, option 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceShift {
    /// The sequence number from which on `delta` holds.
    pub init_seq: u32,
    /// Added from `init_seq` on.
    pub delta: u32,
    /// Added before it.
    pub previous_delta: u32,
}

/// All that there is to say of a connection entry (spec `connections.md` §1.3, `cli.md` §13).
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
    /// Virtual address; in templates of firewall marks its first four bytes are the mark.
    pub vaddr: IpAddr,
    /// Virtual port, host order.
    pub vport: u16,
    /// Real server.
    pub daddr: IpAddr,
    /// Its port, host order.
    pub dport: u16,
    /// Number of the protocol state; of a template 1 if it is assured, else 0.
    pub state: u8,
    /// Life after a packet, milliseconds.
    pub timeout_ms: u32,
    /// Milliseconds until it expires; 0 if it is due.
    pub expires_ms: u64,
    /// IPVS connection flags (spec `connections.md` §1.3), `HASHED` left out.
    pub flags: u32,
    /// Mark of the packet that created it; 0 = none.
    pub fwmark: u32,
    /// Packets from the client.
    pub in_packets: u32,
    /// The bound server, [`ServerId::NONE`] if there is none. Means nothing outside of this process.
    pub server: ServerId,
    /// What controls it. Only dumps tell it.
    pub control: Option<ControlKey>,
    /// Shifts of the sequence numbers, client's and server's.
    pub sequence: Option<[SequenceShift; 2]>,
    /// Call-ID of a SIP template.
    pub pe_data: Option<String>,
}

impl ConnectionInfo {
    /// The same with the data of its persistence engine; empty: none.
    #[must_use]
    pub fn with_call_id(self, call_id: &[u8]) -> ConnectionInfo {
        let pe_data = (!call_id.is_empty()).then(|| String::from_utf8_lossy(call_id).into_owned());
        ConnectionInfo { pe_data, ..self }
    }

    /// Is it a persistence template?
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.flags & u32::from(flag::TEMPLATE) != 0
    }

    /// The state's name as `ipvsadm -Lc` prints it.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match (self.is_template(), self.state) {
            (false, state) => state::name(self.protocol, state),
            (true, 0) => "NONE",
            (true, 1) => "ASSURED",
            (true, _) => "ERR!",
        }
    }
}
