//! Listing connections: however full or empty the tables are, each step is short, and each entry is told once.

mod common;

use common::ftp::{Session, between};
use common::{Rig, Setup};
use shunt_engine::counters::Counter;
use shunt_engine::tables::{ForwardingMethod, Persistence};
use shunt_engine::{ConnectionInfo, DumpCursor, EXPECTED_MAX, Verdict};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;
use std::collections::HashSet;

const TCP: u8 = 6;
/// Entries of each of the two tables.
const CAPACITY: u32 = 10_000;
/// Entries told in one step.
const COUNT: usize = 64;
/// Places that a step may look at.
const LOOKS: u32 = 1024;

/// Steps of one listing, and what they told. No step tells too much.
fn list(rig: &Rig) -> (u32, Vec<ConnectionInfo>) {
    let (mut steps, mut all) = (0, Vec::new());
    let mut cursor = Some(DumpCursor::default());
    while let Some(place) = cursor {
        let before = all.len();
        cursor = rig.engines[0].dump(&rig.tables, rig.now, place, COUNT, |info, _| all.push(info));
        let most = if matches!(place, DumpCursor::Expected(_)) { EXPECTED_MAX } else { COUNT };
        assert!(all.len() - before <= most, "{place:?} told {}", all.len() - before);
        steps += 1;
        // A step never goes further than it may look.
        match (place, cursor) {
            (DumpCursor::V4(from), Some(DumpCursor::V4(to)))
            | (DumpCursor::V6(from), Some(DumpCursor::V6(to))) => {
                assert!(to > from && to - from <= LOOKS, "{from} to {to}");
            }
            (DumpCursor::V4(from), Some(DumpCursor::V6(0)))
            | (DumpCursor::V6(from), Some(DumpCursor::Templates(0, 0))) => {
                assert!(rig.max - from <= LOOKS, "from {from} to the end");
            }
            _ => {}
        }
    }
    (steps, all)
}

fn once_each(all: &[ConnectionInfo]) -> usize {
    let ends: HashSet<_> =
        all.iter().map(|info| (info.flags, info.caddr, info.cport, info.vaddr, info.vport)).collect();
    assert_eq!(ends.len(), all.len(), "an entry was told twice");
    all.len()
}

fn syn(nth: u32) -> Craft {
    packet(nth, Flags::SYN)
}

fn packet(nth: u32, flags: Flags) -> Craft {
    between(&format!("192.0.{}.{}", nth / 250, nth % 250 + 1), "10.0.1.100").tcp(4000, 80, flags)
}

/// The tables' places, looked at 1,024 at a time; then 64 parts of the templates and of what FTP announced; and the step
/// that finds the end.
const STEPS_IF_EMPTY: u32 = 2 * CAPACITY.div_ceil(LOOKS) + 2 * 64 + 1;

#[test]
fn empty_sparse_and_full_tables_are_listed_in_short_steps() {
    let mut rig = Rig::with_workers(
        &[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])],
        1,
        CAPACITY,
    );
    assert_eq!(list(&rig), (STEPS_IF_EMPTY, Vec::new()));

    for nth in 0..CAPACITY {
        rig.outside(syn(nth));
    }
    let (steps, all) = list(&rig);
    assert_eq!(once_each(&all), CAPACITY as usize);
    // No step is wasted: nearly each tells as many as it may.
    assert!(steps <= CAPACITY / COUNT as u32 + 2 * CAPACITY.div_ceil(LOOKS) + STEPS_IF_EMPTY, "{steps}");

    // Every hundredth lives on.
    for nth in (0..CAPACITY).step_by(100) {
        rig.outside(packet(nth, Flags::ACK));
    }
    rig.wait(90);
    let (steps, all) = list(&rig);
    assert_eq!(once_each(&all), CAPACITY as usize / 100);
    assert!(steps <= 2 * STEPS_IF_EMPTY, "{steps}");
}

#[test]
fn entries_that_stay_are_told_once_while_others_come_and_go() {
    let mut rig = Rig::with_workers(
        &[Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"])],
        1,
        CAPACITY,
    );
    for nth in 0..CAPACITY / 2 {
        rig.outside(syn(nth));
        if nth % 2 == 0 {
            rig.outside(packet(nth, Flags::ACK));
        }
    }
    let (mut told, mut new) = (Vec::new(), CAPACITY / 2);
    let mut cursor = Some(DumpCursor::default());
    while let Some(place) = cursor {
        cursor = rig.engines[0].dump(&rig.tables, rig.now, place, COUNT, |info, _| told.push(info));
        // New ones come, and half-open ones go.
        rig.outside(syn(new));
        new += 1;
        rig.now.0 += 700;
        for engine in &mut rig.engines {
            engine.expire(&rig.tables, rig.now);
        }
    }
    let stayed: Vec<_> = told.into_iter().filter(|info| info.state_name() == "ESTABLISHED").collect();
    assert_eq!(once_each(&stayed), CAPACITY as usize / 4);
}

#[test]
fn templates_and_announced_connections_are_told_once() {
    let persistence = Some(Persistence { timeout_s: 600, netmask: u32::MAX });
    let setup = Setup { persistence, ..Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]) };
    let mut rig = Rig::with_workers(&[setup], 1, CAPACITY);
    let made = (0..500).filter(|nth| matches!(rig.outside(syn(*nth)).verdict, Verdict::Transmit(_))).count();
    let (_, all) = list(&rig);
    assert_eq!(once_each(&all), 2 * made);

    let mut session = Session::new(common::ftp::ENDS[0], 1);
    for dport in 50_000..50_000 + EXPECTED_MAX as u16 + 9 {
        session.says("PASV\r\n");
        session.answers(&format!("227 ok (10,0,2,11,{},{})\r\n", dport >> 8, dport & 255));
    }
    let (_, all) = list(&session.rig);
    assert_eq!(once_each(&all), 1 + EXPECTED_MAX, "all of a full part, in one step");
}

#[test]
fn a_full_pool_of_templates_says_so() {
    let persistence = Some(Persistence { timeout_s: 60, netmask: u32::MAX });
    let setup = Setup { persistence, ..Setup::new(TCP, "10.0.1.100", ForwardingMethod::Nat, &["10.0.2.11"]) };
    for workers in [1, 3] {
        let mut rig = Rig::with_workers(std::slice::from_ref(&setup), workers, CAPACITY);
        let (mut sent, mut refused) = (0, 0);
        for nth in 0..3000 {
            match rig.outside(syn(nth)).verdict {
                Verdict::Transmit(_) => sent += 1,
                verdict => {
                    assert_eq!(verdict, Verdict::Drop(Counter::TemplatesFull));
                    refused += 1;
                }
            }
        }
        assert!(sent >= 900 && refused > 0, "{sent} sent, {refused} refused");
        assert_eq!(rig.counter(Counter::TemplatesMax), 1024);
        // Twice round all parts.
        rig.wait(14);
        assert_eq!(rig.counter(Counter::Templates), sent);
        assert_eq!(list_all(&rig), sent);
        rig.wait(200);
        assert_eq!(rig.counter(Counter::Templates), 0);
    }
}

fn list_all(rig: &Rig) -> u64 {
    rig.connections().iter().filter(|info| info.is_template()).count() as u64
}
