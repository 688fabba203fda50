//! What the two ends of a flow say to each other, in good order and bad.

use super::{chance, pick, plain, side};
use crate::scenario::{Cut, ErrorKind, Event, Flow, Order, Protocol, Shape, Side, Sum};
use fastrand::Rng;
use std::collections::VecDeque;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// A life of TCP: who says what. True: the client.
type Script = &'static [(bool, u8)];

const TCP: &[Script] = &[
    // The client closes.
    &[
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (true, PSH | ACK),
        (false, PSH | ACK),
        (true, FIN | ACK),
        (false, ACK),
        (false, FIN | ACK),
        (true, ACK),
    ],
    // The server closes.
    &[
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (false, FIN | ACK),
        (true, ACK),
        (true, FIN | ACK),
        (false, ACK),
    ],
    // Resets.
    &[(true, SYN), (false, SYN | ACK), (true, ACK), (true, RST | ACK)],
    &[(true, SYN), (false, SYN | ACK), (true, ACK), (false, RST)],
    &[(true, SYN), (false, RST | ACK), (true, SYN)],
    &[(true, SYN), (true, RST), (true, SYN), (false, SYN | ACK)],
    // Half open.
    &[(true, SYN), (true, SYN)],
    &[(true, SYN), (false, SYN | ACK), (false, SYN | ACK)],
    // No beginning, and the same ports again.
    &[(true, ACK), (true, PSH | ACK)],
    &[
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (true, FIN | ACK),
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
    ],
    &[
        (true, SYN),
        (false, SYN | ACK),
        (true, ACK),
        (false, FIN | ACK),
        (true, FIN | ACK),
        (true, SYN),
        (true, ACK),
    ],
];

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

const SCTP: &[Script] = &[
    &[
        (true, INIT),
        (false, INIT_ACK),
        (true, COOKIE_ECHO),
        (false, COOKIE_ACK),
        (true, DATA),
        (false, SACK),
        (true, SHUTDOWN),
        (false, SHUTDOWN_ACK),
        (true, SHUTDOWN_COMPLETE),
    ],
    &[
        (true, INIT),
        (false, INIT_ACK),
        (true, COOKIE_ECHO),
        (false, COOKIE_ACK),
        (false, DATA),
        (true, SACK),
        (false, SHUTDOWN),
        (true, SHUTDOWN_ACK),
        (false, SHUTDOWN_COMPLETE),
        (true, INIT),
    ],
    &[(true, INIT), (false, ABORT), (true, INIT)],
    &[(true, DATA), (true, INIT), (false, INIT_ACK), (true, ABORT)],
];

/// The packets that a flow still has to send.
pub(super) struct Life {
    number: usize,
    protocol: Protocol,
    ahead: VecDeque<(bool, u8)>,
    is_v4: bool,
    is_sip: bool,
    /// All that happens, if that is decided.
    script: Option<VecDeque<Event>>,
    /// What was said last, and how often in a hundred times it is sent again as it was.
    last: Option<Event>,
    again: u32,
}

impl Life {
    pub(super) fn generate(rng: &mut Rng, number: usize, flow: Flow, is_sip: bool) -> Life {
        let ahead = match flow.protocol {
            Protocol::Tcp => pick(rng, TCP).iter().copied().collect(),
            Protocol::Sctp => pick(rng, SCTP).iter().copied().collect(),
            Protocol::Udp => (0..rng.usize(1..6)).map(|nth| (nth == 0 || chance(rng, 60), 0)).collect(),
        };
        let again = pick(rng, &[0, 0, 3, 25]);
        let is_v4 = flow.caddr.is_ipv4();
        let protocol = flow.protocol;
        Life { number, protocol, ahead, is_v4, is_sip, script: None, last: None, again }
    }

    /// One of which all is decided.
    pub(super) fn scripted(events: VecDeque<Event>) -> Life {
        Life {
            number: 0,
            protocol: Protocol::Tcp,
            ahead: VecDeque::new(),
            is_v4: true,
            is_sip: false,
            script: Some(events),
            last: None,
            again: 0,
        }
    }

    /// The next thing that happens in this flow; `None` at its end.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Option<Event> {
        if let Some(script) = &mut self.script {
            return script.pop_front();
        }
        let again = self.last.clone().filter(|_| chance(rng, self.again));
        if again.is_some() {
            return again;
        }
        self.last = self.anew(rng);
        self.last.clone()
    }

    fn anew(&mut self, rng: &mut Rng) -> Option<Event> {
        if chance(rng, 5) {
            return Some(self.error(rng));
        }
        if chance(rng, 8) {
            // Anything, out of turn.
            let kind = match self.protocol {
                Protocol::Tcp => {
                    pick(rng, &[0, FIN, SYN, RST, ACK, PSH | ACK, SYN | ACK, FIN | ACK, SYN | FIN, SYN | RST])
                }
                Protocol::Udp => 0,
                Protocol::Sctp => rng.u8(0..16),
            };
            let from_client = rng.bool();
            return Some(self.packet(rng, from_client, kind));
        }
        let (from_client, kind) = self.ahead.pop_front()?;
        if chance(rng, 3) {
            // It is said once more, but in another shape.
            self.ahead.push_front((from_client, kind));
        }
        Some(self.packet(rng, from_client, kind))
    }

    fn packet(&self, rng: &mut Rng, from_client: bool, kind: u8) -> Event {
        let carries = match self.protocol {
            Protocol::Tcp => kind & PSH != 0,
            Protocol::Udp => true,
            Protocol::Sctp => kind == DATA,
        };
        Event::Packet { flow: self.number, from: side(from_client), shape: self.shape(rng, kind, carries) }
    }

    fn shape(&self, rng: &mut Rng, kind: u8, carries: bool) -> Shape {
        let mut shape = plain(kind);
        if carries {
            // The longest fill the wire, so that they are too long for a tunnel.
            shape.payload = pick(rng, &[0, 1, 2, 5, 100, 500, 1_000, 1_300, 1_432, 1_440]);
            shape.call = (self.is_sip && chance(rng, 90)).then(|| rng.u8(0..7));
        }
        if chance(rng, 85) {
            return shape;
        }
        shape.id = rng.u16(1..);
        shape.dont_fragment = chance(rng, 50);
        match rng.u32(0..10) {
            0 => shape.ttl = pick(rng, &[0, 1, 2, 255]),
            1 | 2 => shape.tos = rng.u8(..),
            3 => shape.sum = Sum::Wrong,
            4 => shape.sum = Sum::Zero,
            5 => shape.options = true,
            6 | 7 if !self.is_v4 => {
                // Not with options too: once its netfilter took such a header away, the kernel's own stack looks for
                // options in the wrong place, and drops what shunt leaves to it.
                shape.atomic = true;
                // The wire has no room for the longest with one more header.
                shape.payload = shape.payload.min(1_424);
            }
            _ => {
                shape.dont_fragment = false;
                // IPv6 fragments that are together small enough for one packet become one in a tunnel; the data of the
                // second are then wrong in what the kernel of the oracle sends.
                let lengths = [2_500, 4_000, 600, 1_000];
                shape.payload = pick(rng, &lengths[..if self.is_v4 { 4 } else { 2 }]);
                shape.call = None;
                let order = pick(rng, &[Order::First, Order::First, Order::Last, Order::Twice, Order::Lost]);
                shape.cut = Some(Cut { mtu: pick(rng, &[300, 576, 1_300, 1_400]), order });
            }
        }
        shape
    }

    fn error(&self, rng: &mut Rng) -> Event {
        let kinds = [
            ErrorKind::Port,
            ErrorKind::Host,
            ErrorKind::Time,
            ErrorKind::TooBig(1_300),
            ErrorKind::Parameter,
            ErrorKind::Odd,
        ];
        Event::Error {
            flow: self.number,
            from: pick(rng, &[Side::Client, Side::Server, Side::Server]),
            router: rng.bool(),
            kind: pick(rng, &kinds),
            quoted: pick(rng, &[0, 60, 100, 520]),
        }
    }
}
