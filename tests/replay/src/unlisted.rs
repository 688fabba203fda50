//! Frames that crossed the wire in a recording, but that no step mentions: a case may send many and tell of its own
//! measurements only. They stand in the captures beside the case, and are played like the others.

use crate::case::{Bytes, Sent, Step};
use anyhow::{Context, Result};
use shunt_wire::pcap::{Captured, PcapReader};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// The captures begin here: a case's time 0.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// Times of steps are rounded to milliseconds, and a frame may be seen a tick after its step.
const NEAR_S: f64 = 0.012;
const NIC_PORTS: [&str; 2] = ["eth0", "eth1"];

/// A frame of a capture.
struct Row {
    t: f64,
    nic_port: &'static str,
    frame: Bytes,
}

/// Adds a step for each moment at which frames came in that no step mentions. Does nothing for a case without captures.
///
/// # Errors
/// If a capture cannot be read.
pub fn add_steps(folder: &Path, steps: &mut Vec<Step>) -> Result<()> {
    let arrived = missing(folder, "in", &frames_in(steps))?;
    if arrived.is_empty() {
        return Ok(());
    }
    let mut left = missing(folder, "out", &frames_out(steps))?;
    // What is sent to a group is the kernel's own chatter: neighbour discovery, reports of groups.
    left.retain(|row| row.frame.0.first().is_some_and(|byte| byte & 1 == 0));
    let mut added: Vec<Step> = Vec::new();
    for Row { t, nic_port, frame } in arrived {
        let arrival = (nic_port.to_owned(), frame);
        match added.last_mut() {
            Some(Step::Unlisted { t: last, arrivals, .. }) if *last == t => arrivals.push(arrival),
            _ => added.push(Step::Unlisted { t, arrivals: vec![arrival], out: Vec::new() }),
        }
    }
    for Row { t, nic_port, frame } in left {
        let cause = added.iter_mut().rev().find(|step| time_of(step).is_some_and(|at| at <= t));
        let (nic_port, desc) = (nic_port.to_owned(), String::new());
        if let Some(Step::Unlisted { out, .. }) = cause {
            out.push(Sent { t, nic_port, frame, volatile: Vec::new(), desc });
        }
    }
    for step in added {
        let t = time_of(&step);
        let before = steps.iter().position(|later| time_of(later) > t).unwrap_or(steps.len());
        steps.insert(before, step);
    }
    Ok(())
}

fn time_of(step: &Step) -> Option<f64> {
    match step {
        Step::Cmd(command) => Some(command.t),
        Step::Rx { t, .. } | Step::Rxn { t, .. } | Step::Advance { t, .. } | Step::Unlisted { t, .. } => {
            Some(*t)
        }
        Step::Note {} => None,
    }
}

/// What the steps mention: when, where, what.
type Mentioned<'a> = Vec<(f64, &'a str, &'a Bytes)>;

fn frames_in(steps: &[Step]) -> Mentioned<'_> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Rx { t, nic_port, frame, .. } => all.push((*t, nic_port.as_str(), frame)),
            Step::Rxn { t, nic_port, frames, .. } => {
                all.extend(frames.iter().map(|frame| (*t, nic_port.as_str(), frame)));
            }
            _ => {}
        }
    }
    all
}

fn frames_out(steps: &[Step]) -> Mentioned<'_> {
    let sent = steps.iter().flat_map(|step| match step {
        Step::Cmd(command) => &command.out[..],
        Step::Rx { out, .. } | Step::Rxn { out, .. } | Step::Advance { out, .. } => out,
        Step::Unlisted { .. } | Step::Note {} => &[],
    });
    sent.map(|sent| (sent.t, sent.nic_port.as_str(), &sent.frame)).collect()
}

/// Rows of the captures of one way that no step mentions, in the order of time.
fn missing(folder: &Path, way: &str, mentioned: &Mentioned) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for nic_port in NIC_PORTS {
        let path = folder.join(format!("{nic_port}.{way}.pcap"));
        if !path.exists() {
            continue;
        }
        let read = || -> Result<Vec<Row>> {
            let reader = PcapReader::new(BufReader::new(File::open(&path)?))?;
            let row = |packet: Captured| Row {
                t: packet.time.saturating_sub(EPOCH).as_secs_f64(),
                nic_port,
                frame: Bytes(packet.bytes),
            };
            Ok(reader.map(|packet| packet.map(row)).collect::<Result<_, _>>()?)
        };
        let mut here = mentioned.iter().filter(|(_, name, _)| *name == nic_port).peekable();
        for row in read().with_context(|| format!("cannot read {}", path.display()))? {
            // A case may have thrown its earlier captures away.
            while here.next_if(|(t, ..)| t + NEAR_S < row.t).is_some() {}
            let listed = here.next_if(|(t, _, frame)| (t - row.t).abs() <= NEAR_S && **frame == row.frame);
            if listed.is_none() {
                rows.push(row);
            }
        }
    }
    rows.sort_by(|one, other| one.t.total_cmp(&other.t));
    Ok(rows)
}
