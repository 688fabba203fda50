//! The examples of spec `scheduling.md`, but for the hashing schedulers. Servers A, B, C are added in this order, so the
//! list is C, B, A.

use super::director::Director;
use crate::sched::twos;
use crate::tables::{SchedulerKind, ServiceFlags};

const A: u32 = 0;
const B: u32 = 1;
const C: u32 = 2;

/// Picks as text: `C B A –`.
fn sequence(director: &mut Director, count: usize) -> String {
    let name = |chosen: Option<u32>| chosen.map_or("–", |n| ["A", "B", "C"][n as usize]);
    director.picks(count).into_iter().map(name).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn expect(director: &mut Director, expected: &str) {
    assert_eq!(sequence(director, expected.split(' ').count()), expected);
}

#[test]
fn rr_takes_turns_from_the_newest() {
    expect(&mut Director::with(SchedulerKind::Rr, &[1, 1, 1]), "C B A C B A C");
    expect(&mut Director::with(SchedulerKind::Rr, &[1, 0, 1]), "C A C A");
}

#[test]
fn wrr_with_servers_added_one_by_one_begins_at_level_one() {
    let cases: [(&[i32], &str); 6] = [
        (&[4, 2, 1], "C B A A A B A C B A A A B A"),
        (&[1, 1, 1], "C B A C B A"),
        (&[6, 4, 2], "C B A A B A C B A A B A"),
        (&[1, 3, 0], "B A B B B A B B"),
        (&[5, 1], "B A A A A A B A A A A A"),
        (&[3, 2], "B A A B A B A A B A"),
    ];
    for (weights, expected) in cases {
        expect(&mut Director::with(SchedulerKind::Wrr, weights), expected);
    }
}

#[test]
fn wrr_put_in_charge_of_a_list_begins_at_the_top() {
    let cases: [(&[i32], &str); 6] = [
        (&[4, 2, 1], "A A B A C B A A A B A C B A"),
        (&[1, 1, 1], "C B A C B A"),
        (&[6, 4, 2], "A B A C B A A B A C B A"),
        (&[1, 3, 0], "B B B A B B B A"),
        (&[5, 1], "A A A A B A A A A A B A"),
        (&[3, 2], "A B A B A A B A B A"),
    ];
    for (weights, expected) in cases {
        let mut director = Director::with(SchedulerKind::Rr, weights);
        director.reschedule(SchedulerKind::Wrr, ServiceFlags::default()).unwrap();
        expect(&mut director, expected);
    }
}

#[test]
fn wrr_goes_on_at_its_level_after_an_edit() {
    let mut director = Director::with(SchedulerKind::Wrr, &[4, 2, 1]);
    expect(&mut director, "C B A");
    director.edit(A, 2, 0, 0);
    expect(&mut director, "C B A B A C B A");

    let mut director = Director::with(SchedulerKind::Rr, &[4, 2, 1]);
    director.reschedule(SchedulerKind::Wrr, ServiceFlags::default()).unwrap();
    expect(&mut director, "A A B");
    director.edit(A, 2, 0, 0);
    expect(&mut director, "B A C B A B");
}

#[test]
fn lc_counts_active_connections_257_times() {
    let mut director = Director::with(SchedulerKind::Lc, &[1, 1, 1]);
    director.load(A, 3, 0);
    director.load(B, 2, 100);
    director.load(C, 2, 300);
    expect(&mut director, "B");

    let mut director = Director::with(SchedulerKind::Lc, &[1, 1]);
    director.load(A, 0, 256);
    director.load(B, 1, 0);
    expect(&mut director, "A");
}

#[test]
fn wlc_divides_by_the_weight() {
    for protocol in [6, 17] {
        let mut director = Director::with(SchedulerKind::Wlc, &[3, 2, 1]);
        director.protocol = protocol;
        expect(&mut director, "C B A A B A C B A A B A");
    }
    let mut director = Director::with(SchedulerKind::Wlc, &[2, 3, 1]);
    director.load(C, 0, 10);
    director.load(B, 0, 20);
    director.load(A, 0, 12);
    expect(&mut director, "A");
}

#[test]
fn sed_prefers_the_strong_and_nq_the_idle() {
    expect(&mut Director::with(SchedulerKind::Sed, &[3, 2, 1]), "A B A C B A A B A C B A A B");
    expect(&mut Director::with(SchedulerKind::Nq, &[3, 2, 1]), "C B A A B A A B A C B A A B");
}

#[test]
fn sed_and_nq_do_not_see_udp_flows() {
    for (kind, expected) in [(SchedulerKind::Sed, "A A A A"), (SchedulerKind::Nq, "C C C C")] {
        let mut director = Director::with(kind, &[3, 2, 1]);
        director.protocol = 17;
        expect(&mut director, expected);
    }
}

#[test]
fn fo_sends_all_to_the_first_of_the_largest_weight() {
    let mut director = Director::with(SchedulerKind::Fo, &[3, 3, 1]);
    expect(&mut director, "B B B");
    director.overload(B, true);
    expect(&mut director, "A A");
    director.edit(A, 0, 0, 0);
    expect(&mut director, "C C");
    director.overload(C, true);
    expect(&mut director, "–");
}

#[test]
fn ovf_fills_one_after_the_other() {
    expect(&mut Director::with(SchedulerKind::Ovf, &[2, 1]), "A A A B B – – –");
    expect(&mut Director::with(SchedulerKind::Ovf, &[3, 2, 1]), "A A A A B B B C C –");
    let mut director = Director::with(SchedulerKind::Ovf, &[3, 2, 1]);
    director.protocol = 17;
    expect(&mut director, "A A A A A A A A");
}

#[test]
fn twos_draws_by_weight_and_takes_the_less_busy() {
    let mut director = Director::with(SchedulerKind::Twos, &[3, 2, 1]);
    let name = |draws| {
        let chosen = twos::better_of(&director.service.servers, &director.boards, draws);
        chosen.map_or("–", |server| ["A", "B", "C"][server.id.0 as usize])
    };
    let single: Vec<_> = (0..=6).map(|draw| name([draw, draw])).collect();
    assert_eq!(single, ["C", "C", "B", "B", "A", "A", "A"]);
    director.load(A, 3, 0);
    director.load(B, 1, 0);
    let chosen = twos::better_of(&director.service.servers, &director.boards, [5, 2]);
    assert_eq!(chosen.map(|server| server.id.0), Some(B));
}

#[test]
fn twos_spreads_by_weight_if_nobody_is_busy() {
    let mut director = Director::with(SchedulerKind::Twos, &[3, 2, 1]);
    director.protocol = 0;
    let mut counts = [0i32; 3];
    for _ in 0..70_000 {
        let chosen = director.ask([192, 0, 2, 9].into(), 1, [10, 0, 1, 100].into());
        counts[chosen.unwrap() as usize] += 1;
    }
    // Of 7 values 3 are A's, 2 are B's and 2 are C's. With equal loads the first draw wins.
    for (count, expected) in counts.into_iter().zip([30_000, 20_000, 20_000]) {
        assert!((count - expected).abs() < 600, "{counts:?}");
    }
}

#[test]
fn the_scheduler_none_picks_nobody() {
    expect(&mut Director::with(SchedulerKind::None, &[1, 1]), "– –");
}
