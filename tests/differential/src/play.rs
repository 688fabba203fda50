//! Plays a scenario: on the kernel first, then on the engine, step by step.

use crate::ftp;
use crate::oracle::{Frame, Oracle};
use crate::packet::{self, Seen};
use crate::passing;
use crate::scenario::{Event, Flow, Order, Protocol, Scenario, Shape, Side};
use crate::slack::Slack;
use anyhow::Result;
use shunt_replay::case::{Bytes, Case, Command, Sent, Step};
use shunt_replay::describe::describe;
use shunt_replay::ip::{ETHERNET_LEN, Ip};
use shunt_replay::{Difference, Player};

/// Statistics become visible every 2 s.
const STATISTICS_S: f64 = 2.5;

/// How it went.
#[derive(Clone, Debug)]
pub struct Played {
    /// What the kernel did, as a recorded case.
    pub case: Case,
    /// The first difference; the case ends there.
    pub difference: Option<Difference>,
}

struct Play<'a> {
    oracle: &'a mut Oracle,
    player: Player,
    steps: Vec<Step>,
    seen: Vec<Seen>,
    slack: Slack,
}

/// Plays a scenario on a kernel that was just booted or reset.
///
/// # Errors
/// If the kernel does not answer.
pub fn play(oracle: &mut Oracle, scenario: &Scenario, name: &str) -> Result<Played> {
    let seen = vec![Seen::default(); scenario.flows.len()];
    let mut play =
        Play { oracle, player: Player::default(), steps: Vec::new(), seen, slack: Slack::default() };
    if !scenario.setup.is_empty() {
        play.command("ipvsadm -R", &(scenario.setup.join("\n") + "\n"))?;
    }
    for event in &scenario.events {
        if play.differs() {
            break;
        }
        play.wait_until_clear()?;
        play.event(&scenario.flows, event)?;
    }
    let case =
        Case { name: name.to_owned(), title: String::new(), explain: String::new(), steps: play.steps };
    Ok(Played { case, difference: play.player.report().differences.first().cloned() })
}

impl Play<'_> {
    fn differs(&self) -> bool {
        !self.player.report().differences.is_empty()
    }

    fn event(&mut self, flows: &[Flow], event: &Event) -> Result<()> {
        match event {
            Event::Command(line) => {
                // What is zeroed is what is visible.
                if line == "ipvsadm -Z" {
                    self.wait(STATISTICS_S)?;
                }
                self.command(line, "")
            }
            Event::Wait(seconds) => self.wait(*seconds),
            Event::List => self.list(),
            Event::Packet { flow, shape, from } => {
                self.packet(&flows[*flow], *flow, event)?;
                self.note_incomplete(&flows[*flow], *from, shape);
                Ok(())
            }
            Event::Error { flow, .. } => self.packet(&flows[*flow], *flow, event),
            Event::Said { flow, from, said } => {
                let mut seen = self.seen[*flow].clone();
                if let Some((nic_port, frame)) = ftp::segment(&flows[*flow], &mut seen, *from, said) {
                    self.transmit(&nic_port, frame, |sent| notice(&flows[*flow], &mut seen, sent))?;
                }
                self.seen[*flow] = seen;
                Ok(())
            }
            Event::Active { control, data, below, from, said } => {
                let (mut seen, flow) = (self.seen[*data].clone(), &flows[*data]);
                let opener = (&flows[*control], &self.seen[*control]);
                let frame = ftp::active(opener.0, opener.1, (flow, &mut seen), *from, *below, said);
                if let Some((nic_port, frame)) = frame {
                    self.transmit(&nic_port, frame, |sent| notice(flow, &mut seen, sent))?;
                }
                self.seen[*data] = seen;
                Ok(())
            }
            Event::Passing(passing) => {
                let arrival = passing::frame(passing);
                arrival.map_or(Ok(()), |(nic_port, frame)| self.transmit(&nic_port, frame, |_| {}))
            }
        }
    }

    fn list(&mut self) -> Result<()> {
        self.wait(STATISTICS_S)?;
        for line in ["ipvsadm -Ln", "ipvsadm -Ln --stats", "cat /proc/net/ip_vs_conn"] {
            self.wait_until_clear()?;
            self.command(line, "")?;
        }
        Ok(())
    }

    fn command(&mut self, line: &str, stdin: &str) -> Result<()> {
        let answer = self.oracle.command(line, stdin)?;
        let t = self.oracle.now()?;
        let out = sent(self.oracle.drain()?);
        self.step(Step::Cmd(Command {
            t,
            cmd: line.to_owned(),
            stdin: stdin.to_owned(),
            rc: answer.status,
            stdout: answer.stdout,
            stderr: answer.stderr,
            out,
        }));
        Ok(())
    }

    fn wait(&mut self, s: f64) -> Result<()> {
        let t = self.oracle.now()?;
        self.oracle.advance(s)?;
        let out = sent(self.oracle.drain()?);
        self.step(Step::Advance { t, s, out });
        Ok(())
    }

    fn wait_until_clear(&mut self) -> Result<()> {
        // Waiting for one entry may lead into the time of another; it ends, because entries that nobody uses end.
        const ROUNDS: usize = 50;
        for _ in 0..ROUNDS {
            let now_ms = self.player.machine().now_ms();
            self.slack.observe(now_ms, &self.player.machine().connections());
            let Some(until_ms) = self.slack.unclear_until(now_ms) else { return Ok(()) };
            self.wait((until_ms - now_ms) as f64 / 1000.0)?;
        }
        Ok(())
    }

    fn packet(&mut self, flow: &Flow, number: usize, event: &Event) -> Result<()> {
        let mut seen = self.seen[number].clone();
        let (nic_port, frames) = packet::frames(flow, &seen, event);
        for frame in frames {
            self.transmit(&nic_port, frame, |sent| notice(flow, &mut seen, sent))?;
        }
        self.seen[number] = seen;
        Ok(())
    }

    /// A frame arrives. `each` gets what comes out.
    fn transmit(&mut self, nic_port: &str, frame: Vec<u8>, each: impl FnMut(&Sent)) -> Result<()> {
        let t = self.oracle.now()?;
        self.oracle.transmit(nic_port, &frame)?;
        self.oracle.settle()?;
        let out = sent(self.oracle.drain()?);
        out.iter().for_each(each);
        let note = describe(&frame);
        self.step(Step::Rx { t, nic_port: nic_port.to_owned(), frame: Bytes(frame), note, out });
        Ok(())
    }

    fn note_incomplete(&mut self, flow: &Flow, from: Side, shape: &Shape) {
        let sent = from == Side::Client || self.seen.iter().any(|seen| seen.at_server.is_some());
        // A fragment that comes twice may begin a datagram of its own.
        if sent && shape.cut.is_some_and(|cut| matches!(cut.order, Order::Lost | Order::Twice)) {
            self.slack.incomplete(self.player.machine().now_ms(), flow.caddr.is_ipv4());
        }
    }

    fn step(&mut self, step: Step) {
        // What already differs needs no more steps.
        if !self.differs() {
            self.player.step(&step);
            self.steps.push(step);
        }
    }
}

fn sent(frames: Vec<Frame>) -> Vec<Sent> {
    let sent = |frame: Frame| Sent {
        t: frame.t,
        nic_port: frame.nic_port,
        desc: describe(&frame.bytes),
        frame: Bytes(frame.bytes),
        volatile: Vec::new(),
    };
    frames.into_iter().map(sent).collect()
}

/// Remembers what an end of the flow got: the other events answer it.
fn notice(flow: &Flow, seen: &mut Seen, sent: &Sent) {
    let Some(ip) = sent.frame.0.get(ETHERNET_LEN..).and_then(Ip::read) else { return };
    let protocol = match flow.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    if ip.protocol != protocol || ip.is_later_fragment {
        return;
    }
    let got = Some((sent.nic_port.clone(), sent.frame.0.clone()));
    if ip.src == flow.caddr {
        seen.at_server = got;
    } else if ip.dst == flow.caddr && ip.src == flow.vaddr {
        seen.at_client = got;
    }
}
