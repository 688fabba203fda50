//! rtnetlink sockets: one that hears of changes, one that asks.

use super::kernel::{NeighbourKey, Neighbours, Topology};
use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Larger than any datagram that the kernel builds (32 KiB for dumps).
const DATAGRAM_LEN_MAX: usize = 128 * 1024;
/// Asked for; the kernel grants what `net.core.rmem_max` allows.
const EVENT_BUFFER_LEN: usize = 8 * 1024 * 1024;
/// `MSG_TRUNC` of recv(2): return the datagram's real length.
const MSG_TRUNC: i32 = 0x20;
/// The kernel answers at once; this only guards against waiting for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// `linux/rtnetlink.h`: RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE, _NEXTHOP.
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 32];
/// RTM_NEWNEXTHOP and RTM_DELNEXTHOP. The kernel says nothing else of the routes that change with a next hop.
const NEXT_HOP_MESSAGES: RangeInclusive<u16> = 104..=105;

type Message = NetlinkMessage<RouteNetlinkMessage>;

/// What a batch of events means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Heard {
    /// Links, addresses or routes changed: dump them.
    pub topology: bool,
    /// A neighbour changed; it is learnt already.
    pub neighbours: bool,
    /// Events were lost: dump everything.
    pub overrun: bool,
}

/// The sockets.
pub(super) struct Netlink {
    events: Socket,
    requests: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

impl Netlink {
    /// Opens both in the network namespace of the calling thread. Events count from now on.
    pub fn open() -> io::Result<Netlink> {
        let events = open()?;
        // The default would do; a larger buffer makes overruns rarer.
        let _ = events.set_rx_buf_sz(EVENT_BUFFER_LEN as i32);
        for group in GROUPS {
            events.add_membership(group)?;
        }
        let requests = open()?;
        requests.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink { events, requests, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_LEN_MAX) })
    }

    /// Becomes readable with events.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Takes all events that are there.
    pub fn hear(&mut self, neighbours: &mut Neighbours) -> Heard {
        let mut heard = Heard::default();
        loop {
            match receive(&self.events, &mut self.buffer) {
                Ok(()) => each(&self.buffer, |kind, message| {
                    heard.topology |= NEXT_HOP_MESSAGES.contains(&kind);
                    let Some(message) = message else { return };
                    if let NetlinkPayload::InnerMessage(inner) = message.payload {
                        match inner {
                            RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_) => {
                                heard.neighbours |= neighbours.learn(inner);
                            }
                            _ => heard.topology = true,
                        }
                    }
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                // ENOBUFS, or a datagram larger than our buffer.
                Err(error) => {
                    tracing::debug!(%error, "kernel events were lost");
                    heard.overrun = true;
                    return heard;
                }
            }
        }
    }

    /// Asks for all links, addresses and routes.
    pub fn topology(&mut self) -> io::Result<Topology> {
        let mut topology = Topology::default();
        for question in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        ] {
            topology = self.dump(question, topology, |topology, message| topology.learn(message))?;
        }
        Ok(topology)
    }

    /// Asks for all links and addresses.
    pub fn interfaces(&mut self) -> io::Result<Topology> {
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let topology = self.dump(links, Topology::default(), |topology, message| topology.learn(message))?;
        self.dump(addresses, topology, |topology, message| topology.learn(message))
    }

    /// Asks for all neighbours.
    pub fn neighbours(&mut self) -> io::Result<Neighbours> {
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump(question, Neighbours::default(), |neighbours, message| {
            neighbours.learn(message);
        })
    }

    /// Runs a dump, again if a change interrupted it.
    fn dump<T: Clone>(
        &mut self,
        question: RouteNetlinkMessage,
        empty: T,
        learn: impl Fn(&mut T, RouteNetlinkMessage),
    ) -> io::Result<T> {
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            let mut found = empty.clone();
            self.send(question.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if self.collect(&mut found, &learn)? {
                return Ok(found);
            }
        }
        // Changes come faster than we can look: their events will make us look again.
        let mut found = empty;
        self.send(question, NLM_F_REQUEST | NLM_F_DUMP)?;
        self.collect(&mut found, &learn)?;
        Ok(found)
    }

    /// Reads a dump to its end. False if it is not consistent.
    fn collect<T>(
        &mut self,
        found: &mut T,
        learn: &impl Fn(&mut T, RouteNetlinkMessage),
    ) -> io::Result<bool> {
        let (mut done, mut consistent) = (None, true);
        while done.is_none() {
            wait_readable(&self.requests)?;
            match receive(&self.requests, &mut self.buffer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let sequence = self.sequence;
            each(&self.buffer, |_, message| {
                let Some(message) = message else { return };
                // An error about an earlier request for a neighbour, for example.
                if message.header.sequence_number != sequence {
                    return;
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => learn(found, inner),
                    NetlinkPayload::Done(_) => done = Some(Ok(())),
                    NetlinkPayload::Error(error) => done = Some(Err(error.to_io())),
                    _ => {}
                }
            });
        }
        done.unwrap_or(Ok(())).map(|()| consistent)
    }

    /// Makes the kernel resolve a neighbour, or confirm one that it knows, as if it had a packet for it.
    pub fn solicit(&mut self, (interface, address): NeighbourKey) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = interface;
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Destination(address.into()));
        self.send(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE)?;
        // Only failures are answered: the interface has gone, the neighbour table is full.
        self.failure()
    }

    /// Gives an interface a carrier, or takes it away. Interfaces without a cable, as TAPs are, let themselves be told.
    pub fn set_carrier(&mut self, interface: u32, carrier: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::Carrier(carrier.into()));
        self.send(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST)?;
        self.failure()
    }

    /// What the kernel says against a request that it answers only then.
    fn failure(&mut self) -> io::Result<()> {
        let mut failure = Ok(());
        while receive(&self.requests, &mut self.buffer).is_ok() {
            each(&self.buffer, |_, message| {
                if let Some(NetlinkPayload::Error(error)) = message.map(|message| message.payload) {
                    failure = Err(error.to_io());
                }
            });
        }
        failure
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message: Message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.requests.send(&bytes, 0).map(|_| ())
    }
}

fn wait_readable(socket: &Socket) -> io::Result<()> {
    let mut ready = [PollFd::new(socket, PollFlags::IN)];
    let timeout = Timespec { tv_sec: ANSWER_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut ready, Some(&timeout)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads one datagram.
fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let room = buffer.capacity();
    let len = socket.recv(buffer, MSG_TRUNC)?;
    if len > room {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a datagram of {len} bytes")));
    }
    Ok(())
}

/// Calls `take` for each message of a datagram with its type, and the message unless it cannot be parsed: newer kernels say
/// more than we know of.
fn each(mut datagram: &[u8], mut take: impl FnMut(u16, Option<Message>)) {
    const HEADER_LEN: usize = 16;
    const ALIGNMENT: usize = 4;
    while let Some(&[a, b, c, d]) = datagram.first_chunk() {
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        if len < HEADER_LEN || len > datagram.len() {
            return;
        }
        let kind = u16::from_ne_bytes([datagram[4], datagram[5]]);
        let message = Message::deserialize(&datagram[..len]);
        if let Err(error) = &message {
            tracing::debug!(%error, "a message of the kernel is not understood");
        }
        take(kind, message.ok());
        datagram = datagram.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
}
