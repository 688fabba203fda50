//! What happens in a scenario. Nothing in it depends on how the director answers: what a server says is told as "the
//! server of this flow answers", and becomes bytes while the scenario is played.

use std::net::IpAddr;

/// A scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// Lines for `ipvsadm -R` at the start.
    pub setup: Vec<String>,
    /// The conversations that events name.
    pub flows: Vec<Flow>,
    /// What happens, in order.
    pub events: Vec<Event>,
    /// Leaves records behind in the kernel that another scenario could meet (servers of port 0 in the trash).
    pub leaves_traces: bool,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A client that talks to a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Client.
    pub caddr: IpAddr,
    /// Its port.
    pub cport: u16,
    /// Virtual address.
    pub vaddr: IpAddr,
    /// Virtual port.
    pub vport: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server that the flow's last packet went to.
    Server,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A line for the shell.
    Command(String),
    /// A packet of a flow.
    Packet {
        /// Number of the flow.
        flow: usize,
        /// Who sends it.
        from: Side,
        /// How it looks.
        shape: Shape,
    },
    /// An ICMP error about the last packet that the sender got in this flow.
    Error {
        /// Number of the flow.
        flow: usize,
        /// Who complains: this end, or a router before it.
        from: Side,
        /// Is it a router?
        router: bool,
        /// Type and code in IPv4 and in IPv6.
        kind: ErrorKind,
        /// Bytes of the packet that it quotes.
        quoted: usize,
    },
    /// A segment of a connection of FTP that the client opened: for control, or for passive data.
    Said {
        /// Number of the flow.
        flow: usize,
        /// Who says it.
        from: Side,
        /// What.
        said: Said,
    },
    /// A segment of an active data connection of FTP, which the server opens.
    Active {
        /// Number of the flow that is its control connection.
        control: usize,
        /// Number of the flow that it is itself, as its client sees it.
        data: usize,
        /// Is it opened from the port below that of the server, or from 20 in any case?
        below: bool,
        /// Who sends it.
        from: Side,
        /// What.
        said: Said,
    },
    /// ICMP that belongs to none of the flows, whatever it says of them.
    Passing(Passing),
    /// Time passes: seconds.
    Wait(f64),
    /// Services, statistics and connections are listed.
    List,
}

/// What is said on a connection of FTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Flags of TCP.
    pub flags: u8,
    /// The line.
    pub line: Option<Line>,
    /// Sent with the number of the segment before: once more, that is, if it was this one.
    pub again: bool,
}

/// A line of FTP. The last number of each stands for a way of writing it, right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// No line, but so many bytes of data.
    Bytes(usize),
    /// What announces nothing.
    Word(u8),
    /// `PASV`.
    Passive(u8),
    /// `EPSV`.
    ExtendedPassive(u8),
    /// `PORT`, and the client's port.
    Port(u16, u8),
    /// `EPRT`, and the client's port.
    ExtendedPort(u16, u8),
    /// `227`, and the server's port.
    Offer(u16, u8),
    /// `229`, and the server's port.
    ExtendedOffer(u16, u8),
}

impl Line {
    /// The way of an [`Line::Offer`] that names another host than the server.
    pub const OFFER_OF_ANOTHER: u8 = 4;
}

/// ICMP errors of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Port unreachable.
    Port,
    /// Host unreachable.
    Host,
    /// Time exceeded.
    Time,
    /// Fragmentation needed, packet too big: the MTU.
    TooBig(u16),
    /// Parameter problem.
    Parameter,
    /// What nobody sends any more: source quench, a type for experiments.
    Odd,
}

/// ICMP that no end of a flow sends: it passes by the director, or is for its own stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The wire that it comes from.
    pub from: Side,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv6: with a fragment header, though in one piece.
    pub atomic: bool,
    /// What it says.
    pub message: Message,
}

/// What a [`Passing`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Echo request, or its answer.
    Echo {
        /// Is it an answer?
        answer: bool,
        /// Bytes of payload.
        payload: usize,
    },
    /// An error.
    Error {
        /// Type and code in IPv4 and in IPv6.
        kind: ErrorKind,
        /// The packet that it is about.
        quote: Quote,
        /// Bytes of that packet behind its headers of IP.
        quoted: usize,
    },
}

/// A packet that nobody sent, or another than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source.
    pub src: IpAddr,
    /// Its port.
    pub sport: u16,
    /// Destination.
    pub dst: IpAddr,
    /// Its port.
    pub dport: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// IPv6: with a fragment header, though in one piece.
    pub atomic: bool,
    /// Inside a packet of such a tunnel.
    pub tunnel: Option<Tunnel>,
}

/// The outer packet of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Source: the director.
    pub src: IpAddr,
    /// Destination: a server.
    pub dst: IpAddr,
    /// How it is wrapped.
    pub kind: TunnelKind,
}

/// How packets are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// IP in IP.
    Ipip,
    /// GUE.
    Gue,
    /// GRE, with a checksum or not.
    Gre(bool),
}

/// How a packet looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Flags of TCP, type of the SCTP chunk; nothing in UDP.
    pub kind: u8,
    /// Bytes of payload.
    pub payload: usize,
    /// The payload is a SIP message with this Call-ID instead.
    pub call: Option<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// DF of IPv4.
    pub dont_fragment: bool,
    /// Identification of IPv4, and of fragments.
    pub id: u16,
    /// The transport checksum.
    pub sum: Sum,
    /// IPv4: with an option; IPv6: with an extension header.
    pub options: bool,
    /// IPv6: with a fragment header, though in one piece (RFC 6946).
    pub atomic: bool,
    /// Sent in fragments.
    pub cut: Option<Cut>,
}

/// What to do with a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// As it should be.
    Right,
    /// Another.
    Wrong,
    /// 0.
    Zero,
}

/// How a packet is cut into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Longest IP packet.
    pub mtu: usize,
    /// What happens to the fragments.
    pub order: Order,
}

/// The order in which fragments arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were cut.
    First,
    /// The last one first.
    Last,
    /// The first one twice.
    Twice,
    /// The first one never.
    Lost,
}
