//! Conversations of FTP: what is announced on control connections, and the data connections that follow, or do not.

use super::{chance, pick};
use crate::scenario::{Event, Flow, Line, Said, Side};
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
        // An answer that is sent again is changed again here, but not there (docs/DIFFERENCES.md).
        let answers = matches!(line, Some(Line::Offer(..) | Line::ExtendedOffer(..)));
        if chance(self.rng, 4) && !answers {
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
        // No port of a client waits for two servers: the second would not get there.
        const PORTS: u16 = 10;
        let cport = l4_port + PORTS * self.control as u16;
        let (how, answer) = (self.how(), self.how());
        match self.rng.u32(0..5) {
            0 => {
                self.line(Side::Client, Line::Passive(how));
                if answer == Line::OFFER_OF_ANOTHER {
                    // Data connections to another host than the server go to the server here (docs/DIFFERENCES.md), so
                    // nobody comes.
                    const NOBODYS: u16 = 60_000;
                    self.line(Side::Server, Line::Offer(NOBODYS, answer));
                    return;
                }
                self.line(Side::Server, Line::Offer(l4_port, answer));
                self.passive(l4_port);
            }
            1 => {
                self.line(Side::Client, Line::ExtendedPassive(how));
                self.line(Side::Server, Line::ExtendedOffer(l4_port, answer));
                self.passive(l4_port);
            }
            2 => {
                self.line(Side::Client, Line::Port(cport, how));
                self.line(Side::Server, Line::Word(2));
                self.active(cport);
            }
            3 => {
                self.line(Side::Client, Line::ExtendedPort(cport, how));
                self.line(Side::Server, Line::Word(2));
                self.active(cport);
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
        let flow = self.flows.len();
        self.flows.push(Flow { cport: 30_000 + flow as u16, vport, ..self.flows[self.control] });
        for (opener, said) in self.transfer() {
            let from = super::side(opener);
            self.events.push_back(Event::Said { flow, from, said });
            self.aside();
        }
    }

    /// The server comes to where the client said that it listens.
    fn active(&mut self, cport: u16) {
        if chance(self.rng, 15) {
            return;
        }
        let data = self.flows.len();
        self.flows.push(Flow { cport, vport: super::FTP - 1, ..self.flows[self.control] });
        let (control, below) = (self.control, chance(self.rng, 80));
        for (opener, said) in self.transfer() {
            let from = super::side(!opener);
            self.events.push_back(Event::Active { control, data, below, from, said });
            self.aside();
        }
    }

    /// The segments of a data connection, or the first of them. True: of the end that opens it.
    fn transfer(&mut self) -> Vec<(bool, Said)> {
        let upwards = self.rng.bool();
        let all = [
            (true, SYN),
            (false, SYN | ACK),
            (true, ACK),
            (upwards, PSH | ACK),
            (!upwards, ACK),
            (upwards, FIN | ACK),
            (!upwards, FIN | ACK),
            (upwards, ACK),
        ];
        let until = self.rng.usize(1..=all.len());
        let said =
            |flags| Said { flags, line: (flags & PSH != 0).then_some(Line::Bytes(1_000)), again: false };
        all[..until].iter().map(|&(opener, flags)| (opener, said(flags))).collect()
    }

    /// Meanwhile on the control connection.
    fn aside(&mut self) {
        if chance(self.rng, 10) {
            self.line(Side::Server, Line::Word(4));
        }
    }
}
