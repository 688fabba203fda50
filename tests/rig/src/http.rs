//! An HTTP/1.1 client that makes a new TCP connection for each request and loses nothing silently: each request ends
//! as an answer of a named server or as a failure with its reason.

use crate::body::hexadecimal;
use crate::tally::Tally;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to ask, how often and how patiently.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where.
    pub target: SocketAddr,
    /// The path, starting with a slash.
    pub path: String,
    /// How many requests in all.
    pub requests: u64,
    /// How many at the same time.
    pub concurrency: u64,
    /// For each of: connecting, sending, and any pause while receiving.
    pub timeout: Duration,
}

impl Load {
    /// `requests` requests for `/`, one after another, five seconds of patience.
    pub fn sequential(target: SocketAddr, requests: u64) -> Load {
        Load { target, path: "/".into(), requests, concurrency: 1, timeout: Duration::from_secs(5) }
    }

    /// `requests` requests for `/`, `concurrency` at a time.
    pub fn parallel(target: SocketAddr, requests: u64, concurrency: u64) -> Load {
        Load { concurrency, ..Load::sequential(target, requests) }
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Complete answers with status 200, by the `X-Server` header.
    pub answers: Tally,
    /// The others, by reason.
    pub failures: Tally,
    /// From the first request to the last answer, in seconds.
    pub seconds: f64,
    /// The slowest request in milliseconds. A lost SYN shows as 1000 and more.
    pub slowest_ms: f64,
}

impl Report {
    /// Whether every request was answered.
    pub fn is_perfect(&self) -> bool {
        self.failures.total() == 0
    }

    fn merge(&mut self, other: Report) {
        self.answers.merge(other.answers);
        self.failures.merge(other.failures);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }

    fn record(&mut self, outcome: Result<String, String>, took: Duration) {
        match outcome {
            Ok(server) => self.answers.count(server),
            Err(reason) => self.failures.count(reason),
        }
        self.slowest_ms = self.slowest_ms.max(took.as_secs_f64() * 1000.0);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "answered: {}; failed: {}", self.answers, self.failures)?;
        write!(formatter, "; {:.2} s, slowest {:.1} ms", self.seconds, self.slowest_ms)
    }
}

/// Failures after which [`run`] gives up: where nothing works, a thousand more time-outs would say nothing new.
const FAILURES_MAX: u64 = 20;

/// Makes the requests and waits for all of them; gives up early after 20 failures.
pub fn run(load: &Load) -> Report {
    let next = AtomicU64::new(0);
    let failures = AtomicU64::new(0);
    let more = |good: bool| {
        let failed = failures.fetch_add(u64::from(!good), Ordering::Relaxed) + u64::from(!good);
        failed < FAILURES_MAX && next.fetch_add(1, Ordering::Relaxed) < load.requests
    };
    run_while(load, more)
}

/// Makes requests, `concurrency` at a time, until `stop` is set. `requests` does not matter.
pub fn run_until(load: &Load, stop: &AtomicBool) -> Report {
    run_while(load, |_| !stop.load(Ordering::Relaxed))
}

/// `more` is told whether the latest request of the asking client was answered.
fn run_while(load: &Load, more: impl Fn(bool) -> bool + Sync) -> Report {
    let started = Instant::now();
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..load.concurrency.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let mut report = Report::default();
                    let mut good = true;
                    while more(good) {
                        let started = Instant::now();
                        let outcome = request(load);
                        good = outcome.is_ok();
                        report.record(outcome, started.elapsed());
                    }
                    report
                })
            })
            .collect();
        for client in clients {
            report.merge(client.join().expect("a client thread panicked"));
        }
    });
    report.seconds = started.elapsed().as_secs_f64();
    report
}

/// What a download brought.
#[derive(Debug, Clone, Serialize)]
pub struct Download {
    /// Who sent it.
    pub server: String,
    /// Bytes of the body.
    pub len: u64,
    /// SHA-256 of the body, hexadecimal.
    pub sha256: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Fetches one body and computes its checksum.
///
/// # Errors
/// The reason, in words.
pub fn download(load: &Load) -> Result<Download, String> {
    let started = Instant::now();
    let mut digest = Sha256::new();
    let (server, len) = exchange(load, |bytes| digest.update(bytes))?;
    Ok(Download { server, len, sha256: hexadecimal(digest), seconds: started.elapsed().as_secs_f64() })
}

fn request(load: &Load) -> Result<String, String> {
    exchange(load, |_| ()).map(|(server, _)| server)
}

/// One connection, one request. Returns who answered and the length of the body.
fn exchange(load: &Load, mut take: impl FnMut(&[u8])) -> Result<(String, u64), String> {
    let failed = |doing: &'static str| move |error: io::Error| format!("{doing}: {}", reason(&error));
    let mut stream = TcpStream::connect_timeout(&load.target, load.timeout).map_err(failed("connect"))?;
    stream.set_read_timeout(Some(load.timeout)).map_err(failed("set up"))?;
    stream.set_write_timeout(Some(load.timeout)).map_err(failed("set up"))?;
    stream.set_nodelay(true).map_err(failed("set up"))?;
    let text = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", load.path, load.target);
    stream.write_all(text.as_bytes()).map_err(failed("send"))?;

    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let head = Head::read(&mut reader).map_err(failed("receive the head"))?;
    if head.status != 200 {
        return Err(format!("status {}", head.status));
    }
    let mut left = head.content_len.ok_or("no Content-Length")?;
    while left > 0 {
        let bytes = reader.fill_buf().map_err(failed("receive the body"))?;
        if bytes.is_empty() {
            return Err("body cut short".into());
        }
        let used = usize::try_from(left).map_or(bytes.len(), |left| bytes.len().min(left));
        take(&bytes[..used]);
        reader.consume(used);
        left -= used as u64;
    }
    // The server closes; a reset in place of a clean end is a failure too.
    match reader.read(&mut [0; 1]).map_err(failed("await the end"))? {
        0 => Ok((head.server, head.content_len.unwrap_or(0))),
        _ => Err("bytes after the body".into()),
    }
}

/// What matters of an answer's head.
struct Head {
    status: u16,
    server: String,
    content_len: Option<u64>,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> io::Result<Head> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status =
            line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| bad("no status"))?;
        let mut head = Head { status, server: "unnamed".into(), content_len: None };
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let row = line.trim_end();
            if row.is_empty() {
                return Ok(head);
            }
            let (name, value) = row.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
            match name.to_ascii_lowercase().as_str() {
                "x-server" => head.server = value.trim().to_owned(),
                "content-length" => head.content_len = value.trim().parse().ok(),
                _ => {}
            }
        }
    }
}

/// The kind of an error, without details that would make each one look different.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".into(),
        io::ErrorKind::UnexpectedEof => "closed early".into(),
        io::ErrorKind::InvalidData => error.to_string(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Serves one prepared answer per connection, then goes away.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while request.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn answers_are_counted_by_server_and_failures_by_reason() {
        let target = server(&[
            "HTTP/1.1 200 OK\r\nX-Server: s1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nx-server: s2\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Server: s1\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nX-Server: s1\r\nContent-Length: 3\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nX-Ser",
            "",
        ]);
        let report = run(&Load::sequential(target, 7));
        assert_eq!(report.answers.to_string(), "s1 1, s2 1");
        assert_eq!(report.failures.total(), 5, "{report}");
        for reason in
            ["status 404", "body cut short", "bytes after the body", "receive the head: closed early"]
        {
            assert!(report.failures.of(reason) > 0, "{reason} is missing in: {report}");
        }
        assert!(!report.is_perfect());
    }

    #[test]
    fn a_refused_connection_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let report = run(&Load::parallel(target, 20, 4));
        assert_eq!(report.failures.of("connect: connection refused"), 20, "{report}");
    }

    #[test]
    fn a_download_has_a_checksum() {
        let target = server(&["HTTP/1.1 200 OK\r\nX-Server: s1\r\nContent-Length: 3\r\n\r\nabc"]);
        let download = download(&Load::sequential(target, 1)).unwrap();
        assert_eq!((download.len, download.server.as_str()), (3, "s1"));
        // FIPS 180-2, appendix B.1
        assert_eq!(download.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
