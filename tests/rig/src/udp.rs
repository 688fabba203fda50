//! A UDP echo that says who it is, and a client that checks every byte and counts every datagram that does not return.
//!
//! An answer is the server's name, a zero byte, and the question.

use crate::tally::Tally;
use serde::Serialize;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The largest question: what an IPv4 datagram can hold (65,507), less room for the name.
pub const QUESTION_LEN_MAX: usize = 65_000;

/// Answers on one socket for ever. One socket per address: so that an answer leaves from the address that was asked.
///
/// # Errors
/// If the socket cannot be read any more.
pub fn serve(socket: &UdpSocket, name: &str) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    let head_len = name.len() + 1;
    buffer[..name.len()].copy_from_slice(name.as_bytes());
    loop {
        match socket.recv_from(&mut buffer[head_len..]) {
            // An answer that cannot be sent is a datagram lost; the client will say so.
            Ok((len, client)) => drop(socket.send_to(&buffer[..head_len + len], client)),
            // An ICMP error about an earlier answer (its client has gone) is reported here; it is not ours to mind.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

/// What became of the datagrams.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Questions sent.
    pub sent: u64,
    /// Right answers, by server.
    pub answers: Tally,
    /// What went wrong, by reason.
    pub failures: Tally,
    /// The slowest answer in milliseconds.
    pub slowest_ms: f64,
}

impl Report {
    /// Whether every question was answered, by the right bytes, once.
    pub fn is_perfect(&self) -> bool {
        self.failures.total() == 0 && self.answers.total() == self.sent
    }

    /// Adds what another flow has met.
    pub fn merge(&mut self, other: Report) {
        self.sent += other.sent;
        self.answers.merge(other.answers);
        self.failures.merge(other.failures);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sent {}; answered: {}; failed: {}", self.sent, self.answers, self.failures)?;
        write!(formatter, "; slowest {:.1} ms", self.slowest_ms)
    }
}

/// One flow (one local address and port), one question at a time.
pub struct Flow {
    socket: UdpSocket,
    counter: u64,
    report: Report,
}

impl Flow {
    /// A new flow to `target`; a question that is not answered within `timeout` is lost.
    ///
    /// # Errors
    /// If there is no route, or no socket.
    pub fn open(target: SocketAddr, timeout: Duration) -> io::Result<Flow> {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Flow::open_from(any.parse().expect("an address"), target, timeout)
    }

    /// The same from an address of our own; L4 port 0 stands for any that is free.
    ///
    /// # Errors
    /// If the address is not ours, or there is no route.
    pub fn open_from(source: SocketAddr, target: SocketAddr, timeout: Duration) -> io::Result<Flow> {
        let socket = UdpSocket::bind(source)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(Flow { socket, counter: 0, report: Report::default() })
    }

    /// Asks with `len` bytes (1 to [`QUESTION_LEN_MAX`]) and waits for the answer.
    pub fn ask(&mut self, len: usize) {
        let question = question(self.counter, len.clamp(1, QUESTION_LEN_MAX));
        self.counter += 1;
        self.ask_in_words(&question);
    }

    /// Asks with these bytes and waits for the answer.
    pub fn ask_in_words(&mut self, question: &[u8]) {
        self.report.sent += 1;
        let started = Instant::now();
        match self.exchange(question) {
            Ok(server) => self.report.answers.count(server),
            Err(reason) => self.report.failures.count(reason),
        }
        self.report.slowest_ms = self.report.slowest_ms.max(started.elapsed().as_secs_f64() * 1000.0);
    }

    fn exchange(&self, question: &[u8]) -> Result<String, String> {
        self.socket.send(question).map_err(|error| format!("send: {error}"))?;
        let mut answer = vec![0; 65_536];
        let len = self.socket.recv(&mut answer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer".to_owned(),
            _ => format!("receive: {error}"),
        })?;
        let end = answer[..len].iter().position(|byte| *byte == 0).ok_or("answer without a name")?;
        // A late answer to an earlier question would be wrong here: it carries another counter.
        if answer[end + 1..len] != *question {
            return Err("wrong bytes".into());
        }
        Ok(String::from_utf8_lossy(&answer[..end]).into_owned())
    }

    /// What became of this flow's questions so far.
    pub fn into_report(self) -> Report {
        self.report
    }
}

/// Failures after which [`run_sizes`] gives up.
const FAILURES_MAX: u64 = 20;

/// Asks once with each size of `sizes`, all in one flow; gives up early after 20 failures.
///
/// # Errors
/// If there is no route, or no socket.
pub fn run_sizes(target: SocketAddr, sizes: RangeInclusive<usize>, timeout: Duration) -> io::Result<Report> {
    let mut flow = Flow::open(target, timeout)?;
    for len in sizes {
        if flow.report.failures.total() < FAILURES_MAX {
            flow.ask(len);
        }
    }
    Ok(flow.into_report())
}

/// Keeps `flows` flows busy, one question of 64 bytes each `pause`, until `stop` is set.
///
/// # Errors
/// If there is no route, or no socket.
pub fn run_until(target: SocketAddr, flows: usize, pause: Duration, stop: &AtomicBool) -> io::Result<Report> {
    let opened: Vec<Flow> =
        (0..flows).map(|_| Flow::open(target, Duration::from_secs(2))).collect::<io::Result<_>>()?;
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = opened
            .into_iter()
            .map(|mut flow| {
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        flow.ask(64);
                        std::thread::sleep(pause);
                    }
                    flow.into_report()
                })
            })
            .collect();
        for flow in running {
            report.merge(flow.join().expect("a flow's thread panicked"));
        }
    });
    Ok(report)
}

/// A question's bytes: its counter, as far as it fits, and a pattern that differs by counter and place.
fn question(counter: u64, len: usize) -> Vec<u8> {
    let head = counter.to_be_bytes();
    (0..len).map(|place| head.get(place).copied().unwrap_or((place as u64 * 7 + counter) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(name: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || serve(&socket, name));
        address
    }

    #[test]
    fn every_size_returns_with_the_server_s_name() {
        let report = run_sizes(echo("s1"), 1..=1400, Duration::from_secs(2)).unwrap();
        assert_eq!(report.answers.of("s1"), 1400, "{report}");
        assert!(report.is_perfect());
    }

    #[test]
    fn a_datagram_that_does_not_return_is_counted() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let report = run_sizes(silent.local_addr().unwrap(), 1..=2, Duration::from_millis(20)).unwrap();
        assert_eq!((report.sent, report.failures.of("no answer")), (2, 2), "{report}");
        assert!(!report.is_perfect());
    }

    #[test]
    fn flows_run_until_they_are_told_to_stop() {
        let stop = AtomicBool::new(false);
        let target = echo("s2");
        let report = std::thread::scope(|scope| {
            let run = scope.spawn(|| run_until(target, 3, Duration::from_millis(1), &stop));
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
            run.join().unwrap().unwrap()
        });
        assert!(report.is_perfect() && report.sent >= 3, "{report}");
    }
}
