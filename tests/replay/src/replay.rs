//! Plays a case step by step and tells what differs.

use crate::case::{Bytes, Case, Command, Sent, Step};
use crate::describe::describe;
use crate::kernel::Emitted;
use crate::late::Late;
use crate::machine::{Machine, Output};
use crate::{rules, shell};
use std::fmt;

/// A difference between the recording and the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Milliseconds since the start of the case.
    pub at_ms: u64,
    /// The step that showed it.
    pub what: String,
    /// What was recorded.
    pub expected: String,
    /// What came instead.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { at_ms, what, expected, got } = self;
        write!(out, "[{}.{:03} s] {what}, expected {expected}, got {got}", at_ms / 1000, at_ms % 1000)
    }
}

/// How a replay went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All differences, in order. Later ones often follow from the first.
    pub differences: Vec<Difference>,
    /// Commands without a counterpart, with the reason.
    pub not_applicable: Vec<String>,
}

/// Seconds of a recording, which are exact to the millisecond.
fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round().max(0.0) as u64
}

/// Plays a case on a fresh machine.
#[must_use]
pub fn replay(case: &Case) -> Report {
    let mut player = Player::default();
    for step in &case.steps {
        player.step(step);
    }
    player.report
}

/// Plays one step after another on a machine of its own.
#[derive(Default)]
pub struct Player {
    machine: Machine,
    report: Report,
    /// What came out while time passed, and no step has claimed yet.
    waiting: Output,
    /// Reports of missing fragments that the recording may still show (rule 16), each with its time.
    reports: Vec<(u64, Emitted)>,
    /// What the kernel may still count (rule 8).
    late: Late,
}

impl Player {
    /// What differed so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The director.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Plays the next step and compares.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Cmd(command) => self.command(command),
            Step::Rx { t, nic_port, frame, note, out } => {
                self.receive(*t, &[(nic_port, std::slice::from_ref(frame))], note, out);
            }
            Step::Rxn { t, nic_port, frames, note, out } => {
                self.receive(*t, &[(nic_port, frames)], note, out);
            }
            Step::Unlisted { t, arrivals, out } => {
                let arrivals: Vec<(&str, &[Bytes])> = arrivals
                    .iter()
                    .map(|(nic_port, frame)| (nic_port.as_str(), std::slice::from_ref(frame)))
                    .collect();
                self.receive(*t, &arrivals, "of the capture", out);
            }
            Step::Advance { t, s, out } => {
                self.pass(ms(t + s));
                let got = std::mem::take(&mut self.waiting);
                self.frames(&format!("frames in {s} s"), out, got);
            }
            Step::Note {} => {}
        }
        self.late.look(self.machine.connections(), self.machine.now_ms());
    }

    fn pass(&mut self, until_ms: u64) {
        let output = self.machine.advance_to(until_ms);
        self.waiting.sent.extend(output.sent);
        self.waiting.dropped.extend(output.dropped);
    }

    fn receive(&mut self, t: f64, arrivals: &[(&str, &[Bytes])], note: &str, expected: &[Sent]) {
        self.pass(ms(t));
        let mut got = std::mem::take(&mut self.waiting);
        for (nic_port, frames) in arrivals {
            let Some(id) = self.machine.topology().nic_port(nic_port) else {
                self.differs(
                    format!("a frame from {nic_port}"),
                    "a NIC port".to_owned(),
                    "none of this name".to_owned(),
                );
                continue;
            };
            let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame.0[..]).collect();
            if let [frame] = frames[..] {
                self.machine.foresee(id, frame, expected);
            }
            let output = self.machine.receive(id, &frames);
            got.sent.extend(output.sent);
            got.dropped.extend(output.dropped);
        }
        let nic_ports: Vec<&str> = arrivals.iter().map(|(nic_port, _)| *nic_port).collect();
        let nic_port = nic_ports.join(" and ");
        // The recorder let 20 ms pass; what a thread of the kernel said meanwhile came after 10 ms at most.
        const SETTLE_MS: u64 = 10;
        let later = self.machine.advance_to(ms(t) + SETTLE_MS);
        got.sent.extend(later.sent);
        got.dropped.extend(later.dropped);
        let note = if note.is_empty() { "no remark" } else { note };
        self.frames(&format!("frame in {nic_port} ({note})"), expected, got);
    }

    fn frames(&mut self, what: &str, expected: &[Sent], mut got: Output) {
        let topology = self.machine.topology().clone();
        let expected = self.without_reports(expected, &mut got);
        if let Some((expected, mut sent)) = rules::frames_differ(&topology, &expected, &got.sent) {
            if !got.dropped.is_empty() {
                sent = format!("{sent} (dropped: {})", got.dropped.join(", "));
            }
            self.differs(what.to_owned(), expected, sent);
        }
    }

    /// Rule 16: sets our reports of missing fragments aside, and takes the recorded ones that are among them away.
    fn without_reports(&mut self, expected: &[Sent], got: &mut Output) -> Vec<Sent> {
        let now_ms = self.machine.now_ms();
        let is_report = |emitted: &Emitted| rules::reports_missing_fragments(&emitted.frame);
        self.reports
            .extend(got.sent.iter().filter(|sent| is_report(sent)).map(|sent| (now_ms, sent.clone())));
        got.sent.retain(|sent| !is_report(sent));
        let mut left = Vec::new();
        for sent in expected {
            match self.reports.iter().position(|(_, ours)| rules::frame_differs(sent, ours).is_none()) {
                Some(at) => drop(self.reports.remove(at)),
                None => left.push(sent.clone()),
            }
        }
        if self.reports.first().is_some_and(|(at_ms, _)| at_ms + rules::REPORT_SLACK_MS < now_ms) {
            let (_, report) = self.reports.remove(0);
            let nothing = "no report of missing fragments".to_owned();
            self.differs("frames of a while ago".to_owned(), nothing, describe(&report.frame));
        }
        left
    }

    fn command(&mut self, command: &Command) {
        self.pass(ms(command.t));
        self.late.look(self.machine.connections(), self.machine.now_ms());
        let waiting = std::mem::take(&mut self.waiting);
        self.frames("frames before a command", &command.out, waiting);
        let answer = shell::run(&mut self.machine, &command.cmd, &command.stdin);
        if !answer.not_applicable.is_empty() {
            self.report.not_applicable.extend(answer.not_applicable);
            return;
        }
        let what = |part: &str| format!("{part} of `{}'", command.cmd.trim());
        if answer.of_others && answer.stdout.is_empty() {
            return;
        }
        if answer.status != command.rc {
            let got = format!("{} {}", answer.status, answer.stderr.trim());
            self.differs(what("status"), format!("{} {}", command.rc, command.stderr.trim()), got);
            return;
        }
        if let Some((expected, got)) = rules::texts_differ(&command.stderr, &answer.stderr) {
            self.differs(what("stderr"), expected, got);
        }
        let elapsed_s = self.machine.now_ms() / 1000;
        let difference = match rules::lists_differ(&command.stdout, &answer.stdout, elapsed_s) {
            Some(difference) => difference,
            None if lists_in_hash_order(&command.cmd)
                && rules::same_services(&command.stdout, &answer.stdout) =>
            {
                None
            }
            None if rules::counts_of_late(&command.stdout, &answer.stdout, |daddr, dport| {
                self.late.of(daddr, dport)
            }) =>
            {
                None
            }
            None => rules::texts_differ(&command.stdout, &answer.stdout),
        };
        if let Some((expected, got)) = difference {
            self.differs(what("output"), expected, got);
        }
    }

    fn differs(&mut self, what: String, expected: String, got: String) {
        let at_ms = self.machine.now_ms();
        self.report.differences.push(Difference { at_ms, what, expected, got });
    }
}

/// Does this command list services in the order of the kernel's hash table?
fn lists_in_hash_order(command: &str) -> bool {
    command.contains("--nosort") || command.contains("/proc/net/ip_vs")
}
