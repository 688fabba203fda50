//! Sending and receiving on one port.

use crate::latency::Histogram;
use anyhow::{Result, bail};
use shunt_compare::flows::flow_of;
use shunt_compare::orders::{Outcome, Run};
use shunt_compare::stream::{Flows, read};
use shunt_dpdk::{Burst, Mempool, RxQueue, TxQueue};
use shunt_wire::Frame;
use std::time::{Duration, Instant};

/// Frames that are made at once.
const BURST: usize = 32;
/// Streams at most.
const STREAMS_MAX: usize = 8;
/// While it sends at full rate it looks at most this often for what came back: both sides pull at the same cache lines.
const POLL_EVERY: Duration = Duration::from_micros(20);
/// Bursts that are taken at one look.
const POLL_BURSTS: usize = 64;
/// What has not come back when nothing has come for so long is lost: the director may wait for its core meanwhile.
const QUIET: Duration = Duration::from_millis(300);
/// With a window: sending goes on when nothing has come back for so long.
const GO_ON_AFTER: Duration = Duration::from_millis(5);
/// Under way at most when all flows are visited: half a ring.
const VISIT_WINDOW: u64 = 512;

/// A port, and where frames come from.
pub struct Sender {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    epoch: Instant,
    /// Frames that the ring has not taken yet, and the stream of each.
    pending: Burst<BURST>,
    pending_streams: [u8; BURST],
}

/// What is counted.
#[derive(Default)]
struct Tally {
    sent: u64,
    received: u64,
    foreign: u64,
    streams: [(u64, u64); STREAMS_MAX],
    latency: Option<Histogram>,
    /// Which server each flow was sent to.
    servers: Option<Vec<u32>>,
}

impl Tally {
    /// Sent, and not come back yet.
    fn under_way(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    fn outcome(&self, seconds: f64, received_meanwhile: u64, streams: usize) -> Outcome {
        Outcome {
            seconds,
            sent: self.sent,
            received_meanwhile,
            received: self.received,
            foreign: self.foreign,
            streams: self.streams[..streams].to_vec(),
            latency: self.latency.as_ref().and_then(Histogram::summary),
        }
    }
}

impl Sender {
    pub fn new((rx, tx): (RxQueue, TxQueue), pool: Mempool, epoch: Instant) -> Sender {
        Sender { rx, tx, pool, epoch, pending: Burst::new(), pending_streams: [0; BURST] }
    }

    /// Sends as the order says.
    pub fn run(&mut self, run: &Run, flows: &mut [Flows]) -> Result<Outcome> {
        let slots = slots(flows)?;
        self.discard();
        let mut tally = Tally { latency: run.stamp.then(Histogram::new), ..Tally::default() };
        let started = Instant::now();
        let end = Duration::from_millis(run.millis);
        let (mut polled, mut lost, mut last_received) = (Duration::ZERO, 0, Duration::ZERO);
        let (mut slot, mut elapsed) = (0, Duration::ZERO);
        while elapsed < end {
            let closed = run.window > 0 && tally.under_way().saturating_sub(lost) + BURST as u64 > run.window;
            if run.stamp || closed || elapsed >= polled + POLL_EVERY {
                polled = elapsed;
                if self.receive(&mut tally) > 0 {
                    last_received = elapsed;
                } else if closed && elapsed > last_received + GO_ON_AFTER {
                    lost = tally.under_way();
                }
            }
            if self.pending.is_empty() && !closed {
                let due = if run.rate == 0 {
                    BURST
                } else {
                    let by_now = (elapsed.as_nanos() as u64).saturating_mul(run.rate) / 1_000_000_000;
                    by_now.saturating_sub(tally.sent).min(BURST as u64) as usize
                };
                let nanos = if run.stamp { self.epoch.elapsed().as_nanos() as u64 } else { 0 };
                self.make(due, |frame| {
                    slot = (slot + 1) % slots.len();
                    let stream = slots[slot];
                    let flows = &mut flows[usize::from(stream)];
                    let n = flows.choose();
                    put(flows, n, nanos, frame).then_some(stream)
                })?;
            }
            self.offer(&mut tally);
            elapsed = started.elapsed();
        }
        let meanwhile = tally.received;
        self.discard();
        self.drain(&mut tally);
        Ok(tally.outcome(elapsed.as_secs_f64(), meanwhile, flows.len()))
    }

    /// Sends every flow once, and returns to which server each was sent if it is to be learnt.
    pub fn visit(&mut self, flows: &Flows, stream: usize, learn: bool) -> Result<(Outcome, Vec<u32>)> {
        self.discard();
        let count = flows.order().flows;
        let mut tally = Tally { servers: learn.then(|| vec![0; count as usize]), ..Tally::default() };
        let started = Instant::now();
        let (mut next, mut last_received) = (0, started);
        while next < count || !self.pending.is_empty() {
            if self.pending.is_empty() && tally.under_way() < VISIT_WINDOW {
                let due = ((count - next) as usize).min(BURST);
                self.make(due, |frame| {
                    next += 1;
                    put(flows, next - 1, 0, frame).then_some(stream as u8)
                })?;
            }
            self.offer(&mut tally);
            if self.receive(&mut tally) > 0 {
                last_received = Instant::now();
            } else if last_received.elapsed() > Duration::from_secs(2) {
                bail!(
                    "{} of {count} flows were sent, {} came back, then nothing more",
                    tally.sent,
                    tally.received
                );
            }
        }
        let (seconds, meanwhile) = (started.elapsed().as_secs_f64(), tally.received);
        self.drain(&mut tally);
        if tally.received != tally.sent {
            bail!("{} packets were sent and {} came back", tally.sent, tally.received);
        }
        let servers = tally.servers.take().unwrap_or_default();
        if let Some(flow) = servers.iter().position(|&server| server == 0) {
            bail!("flow {flow} did not come back");
        }
        Ok((tally.outcome(seconds, meanwhile, stream + 1), servers))
    }

    /// Makes `count` frames.
    fn make(
        &mut self,
        count: usize,
        mut write: impl FnMut(&mut shunt_dpdk::Mbuf) -> Option<u8>,
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if count == BURST {
            if self.pool.alloc_bulk(&mut self.pending) == 0 {
                bail!("no buffers left");
            }
        } else {
            for _ in 0..count {
                let Some(frame) = self.pool.alloc() else { bail!("no buffers left") };
                // There is room: it was empty, and count is at most its size.
                let _ = self.pending.push(frame);
            }
        }
        for (frame, stream) in self.pending.iter_mut().zip(&mut self.pending_streams) {
            let Some(of) = write(frame) else { bail!("a frame does not fit into a buffer") };
            *stream = of;
        }
        Ok(())
    }

    /// Offers what is pending to the ring.
    #[inline]
    fn offer(&mut self, tally: &mut Tally) {
        let before = self.pending.len();
        if before == 0 {
            return;
        }
        let taken = self.tx.burst(&mut self.pending);
        if taken == 0 {
            // Asking again at once would only take the ring's cache line from the other side.
            (0..64).for_each(|_| std::hint::spin_loop());
            return;
        }
        tally.sent += taken as u64;
        for &stream in &self.pending_streams[..taken] {
            tally.streams[usize::from(stream)].0 += 1;
        }
        self.pending_streams.copy_within(taken..before, 0);
    }

    /// Frames that were made and not taken: never sent.
    fn discard(&mut self) {
        self.pending.clear();
    }

    /// Takes what has come back, and returns how many frames that were.
    #[inline]
    fn receive(&mut self, tally: &mut Tally) -> usize {
        let mut all = 0;
        for _ in 0..POLL_BURSTS {
            let mut burst: Burst<BURST> = Burst::new();
            let count = self.rx.burst(&mut burst);
            all += count;
            let now = if tally.latency.is_some() { self.epoch.elapsed().as_nanos() as u64 } else { 0 };
            for frame in burst.iter() {
                note(tally, frame.bytes(), now);
            }
            burst.clear();
            if count < BURST {
                break;
            }
        }
        all
    }

    /// Receives until nothing more comes.
    fn drain(&mut self, tally: &mut Tally) {
        let mut last = Instant::now();
        while tally.under_way() > 0 && last.elapsed() < QUIET {
            if self.receive(tally) > 0 {
                last = Instant::now();
            }
        }
    }
}

/// Writes the packet of flow `n` into a fresh buffer; false if it does not fit.
#[inline]
fn put(flows: &Flows, n: u32, nanos: u64, frame: &mut shunt_dpdk::Mbuf) -> bool {
    let fits = frame.append(flows.frame_len());
    if fits {
        flows.write(n, nanos, frame.bytes_mut());
    }
    fits
}

#[inline]
fn note(tally: &mut Tally, frame: &[u8], now: u64) {
    tally.received += 1;
    let Some((stream, stamp)) = read(frame).filter(|&(stream, _)| stream < STREAMS_MAX) else {
        tally.foreign += 1;
        return;
    };
    tally.streams[stream].1 += 1;
    if let Some(latency) = &mut tally.latency {
        latency.add(now.saturating_sub(stamp));
    }
    if let Some(servers) = &mut tally.servers {
        learn(servers, frame);
    }
}

/// IPv4: the client's address stands where it stood, the service's has become the server's.
fn learn(servers: &mut [u32], frame: &[u8]) {
    let word = |place: usize| {
        frame.get(place..place + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    };
    let (Some(caddr), Some(daddr), Some(ports)) = (word(26), word(30), word(34)) else { return };
    let (_, flow) = flow_of(caddr, (ports >> 16) as u16);
    if let Some(server) = servers.get_mut(flow as usize) {
        *server = daddr;
    }
}

/// The stream of each of 32 successive packets: each has its share, spread out.
fn slots(flows: &[Flows]) -> Result<Vec<u8>> {
    let total: usize = flows.iter().map(|flows| flows.order().share).sum();
    if total == 0 || flows.len() > STREAMS_MAX {
        bail!("1 to {STREAMS_MAX} streams, with a share");
    }
    let mut credit = vec![0; flows.len()];
    let mut slots = Vec::new();
    for _ in 0..total {
        for (credit, flows) in credit.iter_mut().zip(flows) {
            *credit += flows.order().share as isize;
        }
        let richest = (0..flows.len()).max_by_key(|&index| credit[index]).unwrap_or(0);
        credit[richest] -= total as isize;
        slots.push(richest as u8);
    }
    Ok(slots)
}
