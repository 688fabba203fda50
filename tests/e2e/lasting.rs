//! TCP connections that last, with one request after the other, while something happens to the director.

use shunt_rig::lab::{Family, Lab, vip};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Threads of the client, each with its share of the connections.
const THREADS: usize = 16;
/// TCP repeats after 0.2, 0.6, 1.4, 3, 6.2 s of silence: one that gets no answer for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two rounds of requests.
const PAUSE: Duration = Duration::from_millis(20);

/// Connections that are kept, with one request after the other on each.
pub struct Clients {
    streams: Vec<TcpStream>,
    broken: Vec<String>,
    /// Right answers so far.
    pub answers: u64,
    /// The longest that a request on each of them took.
    slowest: Duration,
}

impl Clients {
    fn connect(family: Family, count: usize) -> Clients {
        let open = |_| TcpStream::connect_timeout(&vip(family, 80), PATIENCE).expect("a connection");
        Clients {
            streams: (0..count).map(open).collect(),
            broken: Vec::new(),
            answers: 0,
            slowest: Duration::ZERO,
        }
    }

    /// One request on each connection. A connection that fails is broken, and not used again.
    fn ask(&mut self) {
        let begun = Instant::now();
        let broken = &mut self.broken;
        // All questions first: after a failure they all wait for their repetition at the same time.
        let asked = |stream: &mut TcpStream| stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        self.streams
            .retain_mut(|stream| asked(stream).map_err(|error| broken.push(error.to_string())).is_ok());
        self.streams.retain_mut(|stream| answer(stream).map_err(|why| broken.push(why)).is_ok());
        self.answers += self.streams.len() as u64;
        self.slowest = self.slowest.max(begun.elapsed());
    }
}

/// Reads one answer of nginx: a head, and the name of the server.
fn answer(stream: &mut TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let len = stream.read(&mut piece).map_err(|error| error.to_string())?;
        text.extend(&piece[..len]);
        if len == 0 {
            return Err("closed by the other side".to_owned());
        }
        let Some(head) = text.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        // "s1\n" is all that there is.
        if text.len() >= head + 4 + 3 {
            let right = text.starts_with(b"HTTP/1.1 200");
            return if right { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) };
        }
    }
}

/// Requests on all connections, by all threads, for as long as `meanwhile` runs, and one more.
pub fn while_asking<R>(lab: &Lab, clients: &mut [Clients], meanwhile: impl FnOnce() -> R) -> R {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for share in clients.iter_mut() {
            scope.spawn(|| {
                lab.on("client", || {
                    while !over.load(Relaxed) {
                        share.ask();
                        // nginx closes a connection after its thousandth request.
                        thread::sleep(PAUSE);
                    }
                    share.ask();
                });
            });
        }
        let result = meanwhile();
        over.store(true, Relaxed);
        result
    })
}

/// This many connections in all, from the client.
pub fn connect(lab: &Lab, family: Family, count: usize) -> Vec<Clients> {
    (0..THREADS).map(|nth| lab.on("client", || Clients::connect(family, (count + nth) / THREADS))).collect()
}

/// Connections that live.
pub fn opened(clients: &[Clients]) -> usize {
    clients.iter().map(|share| share.streams.len()).sum()
}

/// Why connections broke.
pub fn broken(clients: &[Clients]) -> Vec<&String> {
    clients.iter().flat_map(|share| &share.broken).collect()
}

/// The longest that a round of requests took.
pub fn slowest(clients: &[Clients]) -> Duration {
    clients.iter().map(|share| share.slowest).max().unwrap_or_default()
}
