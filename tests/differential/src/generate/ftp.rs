//! Conversations of FTP: what is announced on control connections, and the data connections that follow, or do not.

use super::{chance, pick, plain};
use crate::scenario::{Event, Flow, Line, Protocol, Said, Side};
use fastrand::Rng;
use std::collections::VecDeque;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// A conversation that is being written.
struct Talk<'a> {
    rng: &'a mut Rng,
    control: usize,
    flows: &'a mut Vec<Flow>,
    events: VecDeque<Event>,
}

/// All that happens on the control connection with this number, and its data connections, which become flows.
pub(super) fn talk(rng: &mut Rng, control: usize, flows: &mut Vec<Flow>) -> VecDeque<Event> {
    let mut talk = Talk { rng, control, flows, events: VecDeque::new() };
    talk.say(Side::Client, SYN, None);
    talk.say(Side::Server, SYN | ACK, None);
    talk.say(Side::Client, ACK, None);
    if chance(talk.rng, 70) {
        talk.line(Side::Server, Line::Word(1));
    }
    for _ in 0..talk.rng.usize(0..5) {
        talk.announcement();
    }
    if chance(talk.rng, 60) {
        talk.say(Side::Client, FIN | ACK, None);
        talk.say(Side::Server, FIN | ACK, None);
        talk.say(Side::Client, ACK, None);
    } else if chance(talk.rng, 30) {
        talk.say(Side::Client, RST, None);
    }
    talk.events
}

impl Talk<'_> {
    fn say(&mut self, from: Side, flags: u8, line: Option<Line>) {
        let said = Said { flags, line, again: false };
        self.events.push_back(Event::Said { flow: self.control, from, said });
        if chance(self.rng, 4) {
            self.events.push_back(Event::Said {
                flow: self.control,
                from,
                said: Said { again: true, ..said },
            });
        }
    }

    fn line(&mut self, from: Side, line: Line) {
        self.say(from, PSH | ACK, Some(line));
        if chance(self.rng, 30) {
            let other = if from == Side::Client { Side::Server } else { Side::Client };
            self.say(other, ACK, None);
        }
    }

    /// A way of saying something: mostly the common one.
    fn how(&mut self) -> u8 {
        if chance(self.rng, 75) { 0 } else { self.rng.u8(0..8) }
    }

    fn announcement(&mut self) {
        let l4_port = pick(self.rng, &[50_000, 50_001, 50_002, 40_961, 9]);
        let (how, answer) = (self.how(), self.how());
        match self.rng.u32(0..5) {
            0 => {
                self.line(Side::Client, Line::Passive(how));
                self.line(Side::Server, Line::Offer(l4_port, answer));
                self.passive(l4_port);
            }
            1 => {
                self.line(Side::Client, Line::ExtendedPassive(how));
                self.line(Side::Server, Line::ExtendedOffer(l4_port, answer));
                self.passive(l4_port);
            }
            2 => {
                self.line(Side::Client, Line::Port(l4_port, how));
                self.line(Side::Server, Line::Word(2));
                self.active(l4_port);
            }
            3 => {
                self.line(Side::Client, Line::ExtendedPort(l4_port, how));
                self.line(Side::Server, Line::Word(2));
                self.active(l4_port);
            }
            _ => {
                let (word, answer) = (self.rng.u8(..), self.rng.u8(..));
                self.line(Side::Client, Line::Word(word));
                self.line(Side::Server, Line::Word(answer));
            }
        }
    }

    /// The client comes to where the server said that it listens.
    fn passive(&mut self, vport: u16) {
        if chance(self.rng, 15) {
            return;
        }
        let nth = self.flows.len();
        let cport = 30_000 + nth as u16;
        self.flows.push(Flow { cport, vport, protocol: Protocol::Tcp, ..self.flows[self.control] });
        let all = [
            (true, SYN),
            (false, SYN | ACK),
            (true, ACK),
            (false, PSH | ACK),
            (true, ACK),
            (false, FIN | ACK),
            (true, FIN | ACK),
            (false, ACK),
        ];
        let until = self.rng.usize(1..=all.len());
        for &(from_client, flags) in &all[..until] {
            let shape =
                crate::scenario::Shape { payload: if flags & PSH != 0 { 1_000 } else { 0 }, ..plain(flags) };
            self.events.push_back(Event::Packet { flow: nth, from: super::side(from_client), shape });
            self.aside();
        }
    }

    /// The server comes to where the client said that it listens.
    fn active(&mut self, cport: u16) {
        if chance(self.rng, 15) {
            return;
        }
        for flags in [SYN, ACK, PSH | ACK, FIN | ACK].into_iter().take(self.rng.usize(1..5)) {
            self.events.push_back(Event::Active { control: self.control, cport, flags, from: Side::Server });
            if chance(self.rng, 70) {
                self.events.push_back(Event::Active {
                    control: self.control,
                    cport,
                    flags: SYN | ACK,
                    from: Side::Client,
                });
            }
            self.aside();
        }
    }

    /// Meanwhile on the control connection.
    fn aside(&mut self) {
        if chance(self.rng, 10) {
            self.line(Side::Server, Line::Word(4));
        }
    }
}
