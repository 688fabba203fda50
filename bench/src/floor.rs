//! What a case cannot do without: the same packets into the same buffers, one random, prefetched line of 64 bytes for
//! each, and the header bytes written that the method writes, whatever stands there.

use crate::engine::{Case, bursts, shuffled};
use crate::frame::FixedFrame;
use crate::traffic::request;
use shunt_engine::BURST;
use shunt_wire::Frame;
use std::hint::black_box;
use std::ops::Range;

/// Nanoseconds per packet of a case's floor.
pub fn floor(case: Case, flows: u32) -> Box<dyn FnMut(u64) -> f64> {
    match case {
        Case::Tunnel => lines(4, flows, |frame, value| {
            if !frame.prepend(20) {
                return;
            }
            let bytes = frame.bytes_mut();
            write(bytes, 0..34, value);
            write(bytes, 44..46, value);
            bytes[42] = 63;
        }),
        Case::Nat => lines(4, flows, |frame, value| rewrite_v4(frame.bytes_mut(), 30..34, 36..38, value)),
        Case::NatReply => {
            lines(4, flows, |frame, value| rewrite_v4(frame.bytes_mut(), 26..30, 34..36, value))
        }
        Case::DirectRouting6 => lines(6, flows, |frame, value| forward_v6(frame.bytes_mut(), value)),
        Case::Nat6 => lines(6, flows, |frame, value| {
            let bytes = frame.bytes_mut();
            forward_v6(bytes, value);
            write(bytes, 38..54, value);
            write(bytes, 56..58, value);
            write(bytes, 60..62, value);
        }),
        _ => lines(4, flows, |frame, value| forward_v4(frame.bytes_mut(), value)),
    }
}

/// Something, so that what was read is needed.
#[inline(always)]
fn write(bytes: &mut [u8], place: Range<usize>, value: u64) {
    bytes[place].fill(value as u8);
}

/// Link-layer addresses, TTL and checksum.
#[inline(always)]
fn forward_v4(bytes: &mut [u8], value: u64) {
    write(bytes, 0..12, value);
    bytes[22] = 63;
    write(bytes, 24..26, value);
}

/// Link-layer addresses and hop limit.
#[inline(always)]
fn forward_v6(bytes: &mut [u8], value: u64) {
    write(bytes, 0..12, value);
    bytes[21] = 63;
}

/// What NAT writes: an address, a port, the checksum of UDP as well.
#[inline(always)]
fn rewrite_v4(bytes: &mut [u8], address: Range<usize>, l4_port: Range<usize>, value: u64) {
    forward_v4(bytes, value);
    write(bytes, address, value);
    write(bytes, l4_port, value);
    write(bytes, 40..42, value);
}

/// Packets into buffers; of one random line each, prefetched, a value that `write` writes.
fn lines(
    family: u8,
    flows: u32,
    write: impl Fn(&mut FixedFrame, u64) + 'static,
) -> Box<dyn FnMut(u64) -> f64> {
    let lines = shunt_hint::filled(flows as usize, [1u64; 8]);
    let order = shuffled(flows);
    let packets: Vec<[u8; 64]> = order.iter().map(|&n| request(family, n)).collect();
    Box::new(move |total| {
        let mut next = 0;
        bursts(&packets, total, |frames| {
            let picks = &order[next..next + BURST];
            next = if next + 2 * BURST <= order.len() { next + BURST } else { 0 };
            for &pick in picks {
                shunt_hint::prefetch(&lines[pick as usize]);
            }
            for (frame, &pick) in frames.iter_mut().zip(picks) {
                write(frame, lines[pick as usize][(pick & 7) as usize]);
            }
            black_box(frames);
        })
    })
}
