//! The packet path allocates nothing: counted by the allocator, not believed.

mod common;

use common::{OUTSIDE, Rig, Setup, ip};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Persistence};
use shunt_engine::{BURST, Origin, Verdict};
use shunt_wire::craft::Craft;
use shunt_wire::{Flags, HeapFrame};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn no_burst_allocates() {
    let persistence = Some(Persistence { timeout_s: 100, netmask: 0xffff_ff00 });
    let setups = [
        Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11", "10.0.2.12"]),
        Setup::new(UDP, "10.0.1.101", ForwardingMethod::Tunnel, &["10.0.2.11"]),
        Setup {
            persistence,
            ..Setup::new(UDP, "10.0.1.102", ForwardingMethod::DirectRouting, &["10.0.2.11"])
        },
        Setup::new(UDP, "10.0.1.103", ForwardingMethod::Nat, &[]),
        Setup::new(TCP, "fd00:1::100", ForwardingMethod::Nat, &["fd00:2::11"]),
    ];
    let mut rig = Rig::with_workers(&setups, 1, 256);
    let craft = |client: &str, vip: &str| {
        Craft::between(ip(client), ip(vip)).unwrap().macs(common::ROUTER_MAC, common::OUTSIDE_MAC)
    };
    let mut bursts: Vec<Vec<HeapFrame>> = Vec::new();
    // First, while there is room for connections: datagrams in fragments, some of which never become whole.
    for n in 0..20u16 {
        let datagram = |vip: &str| craft("192.0.2.9", vip).udp(n, 80).payload(&[7; 4_000]).id(n);
        let both = [datagram("10.0.1.101"), datagram("10.0.1.102")];
        let frames = both.iter().flat_map(|craft| craft.fragments(1_500)).skip(usize::from(n % 3));
        bursts.push(frames.map(|bytes| HeapFrame::new(&bytes, OUTSIDE)).collect());
    }
    // New flows, established ones, closing ones, refused ones, errors of our own: 40 bursts, more flows than fit.
    for n in 0..40u16 {
        let mut burst = Vec::new();
        for m in 0..BURST as u16 {
            let cport = 1000 + n * 7 + m;
            let frame = match m % 8 {
                0 => craft("192.0.2.9", "10.0.1.100").tcp(cport, 80, Flags::SYN),
                1 => craft("192.0.2.9", "10.0.1.100").tcp(cport - 8, 80, Flags::ACK),
                2 => craft("192.0.2.9", "10.0.1.100").tcp(cport - 16, 80, Flags::RST),
                3 => craft("192.0.2.9", "10.0.1.101").udp(cport, 80),
                4 => craft("192.0.2.9", "10.0.1.102").udp(cport, 80),
                5 => craft("192.0.2.9", "10.0.1.103").udp(cport, 80),
                6 => craft("2001:db8::9", "fd00:1::100").tcp(cport, 80, Flags::SYN),
                _ => craft("192.0.2.9", "10.0.1.100").tcp(cport, 81, Flags::SYN),
            };
            burst.push(frame.heap_frame(OUTSIDE));
        }
        bursts.push(burst);
    }
    let mut pool: Vec<HeapFrame> =
        (0..200).map(|_| HeapFrame::with_room(&[], OUTSIDE, HeapFrame::HEADROOM, 2_048)).collect();
    let mut spent: Vec<HeapFrame> = Vec::with_capacity(pool.len());
    let mut verdicts = [Verdict::Punt(OUTSIDE); BURST];
    let region = Region::new(ALLOCATOR);
    for burst in &mut bursts {
        rig.now.0 += 5_000;
        rig.engines[0].process_burst(&rig.tables, rig.now, Origin::Wire, burst, &mut verdicts);
        // The frames are kept: freeing one would count.
        rig.engines[0].release(&rig.tables, rig.now, |_| pool.pop(), |frame, _| spent.push(frame));
        rig.engines[0].expire(&rig.tables, rig.now);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
    assert!(rig.engines[0].connections() > 100);
    let counters = rig.engines[0].counters();
    assert!(counters.get(Counter::FragmentTimeout) > 0);
    assert!(spent.len() > 80 && !pool.is_empty(), "{} sent", spent.len());
}
