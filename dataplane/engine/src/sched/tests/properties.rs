//! What holds for every list, every load and every edit.

use super::director::Director;
use crate::board::Boards;
use crate::sched::{Schedulers, mh, wrr};
use crate::tables::{Candidate, Family, SchedulerKind, ServerId, ServiceFlags, Settings, Tables};
use bolero::TypeGenerator;
use std::collections::HashMap;
use std::net::IpAddr;

const KINDS: [SchedulerKind; 15] = {
    use SchedulerKind::*;
    [Rr, Wrr, Lc, Wlc, Lblc, Lblcr, Dh, Sh, Sed, Nq, Fo, Ovf, Mh, Twos, None]
};

/// Weights that meet all kinds of limits, more often small than large.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Weight {
    Small(#[generator(0..6)] i32),
    Common(#[generator(0..=100)] i32),
    Multiple(#[generator(0..=10)] i32),
    Any(#[generator(0..=i32::MAX)] i32),
}

impl Weight {
    fn value(self) -> i32 {
        match self {
            Weight::Small(weight) | Weight::Common(weight) | Weight::Any(weight) => weight,
            Weight::Multiple(weight) => weight * 6,
        }
    }
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Operation {
    Add(#[generator(0..12)] u32, Weight),
    Delete(#[generator(0..12)] u32),
    Edit(#[generator(0..12)] u32, Weight),
    Overload(#[generator(0..12)] u32, bool),
    Load(#[generator(0..12)] u32, u32, u32),
    Reschedule(#[generator(0..15)] usize, bool, bool),
    Pick(#[generator(0..40)] u32),
    Pass(#[generator(0..200)] u64),
}

fn run(operations: &[Operation]) {
    let mut director = Director::new(Family::V4, SchedulerKind::Rr);
    director.schedulers = Schedulers::new(8, 16, 1);
    let is_listed =
        |director: &Director, n| director.service.servers.iter().any(|server| server.id == ServerId(n));
    for &operation in operations {
        match operation {
            Operation::Add(n, weight) if !is_listed(&director, n) => director.add(n, weight.value(), 0, 0),
            Operation::Delete(n) if is_listed(&director, n) => director.delete(n),
            Operation::Edit(n, weight) if is_listed(&director, n) => director.edit(n, weight.value(), 0, 0),
            Operation::Overload(n, overloaded) => director.overload(n, overloaded),
            Operation::Load(n, active, inactive) => director.load(n, active, inactive.min(u32::MAX - active)),
            Operation::Reschedule(kind, flag1, flag2) => {
                let flags = ServiceFlags { flag1, flag2, ..ServiceFlags::default() };
                director.reschedule(KINDS[kind], flags).unwrap();
            }
            Operation::Pick(client) => check_pick(&mut director, client),
            Operation::Pass(seconds) => {
                let mut tables = Tables::new(Vec::new());
                tables.put_service(director.service.clone());
                *tables.settings_mut() =
                    Settings { lblc_expiration: 60, lblcr_expiration: 60, ..Settings::default() };
                director.now.0 += seconds * 1000;
                director.schedulers.housekeep(&tables, director.now);
            }
            _ => {}
        }
    }
}

fn check_pick(director: &mut Director, client: u32) {
    let client = IpAddr::from([192, 0, 2, client as u8]);
    let chosen = director.ask(client, 1, client);
    let is_open = |server: &&Candidate| server.weight > 0 && !director.boards.is_overloaded(server.id);
    let open: Vec<_> = director.service.servers.iter().filter(is_open).collect();
    let kind = director.service.scheduler;
    if let Some(chosen) = chosen {
        let server = director.service.servers.iter().find(|server| server.id.0 == chosen);
        assert!(server.expect("a server of the list").weight > 0, "{kind:?} chose a quiesced server");
        // The one exception: spec `scheduling.md` §1.
        if kind != SchedulerKind::Lblc {
            assert!(open.iter().any(|server| server.id.0 == chosen), "{kind:?} chose an overloaded server");
        }
    }
    // These find a server whenever there is one.
    use SchedulerKind::{Fo, Lblc, Lblcr, Lc, Nq, Rr, Sed, Twos, Wlc, Wrr};
    if matches!(kind, Rr | Wrr | Lc | Wlc | Lblc | Lblcr | Sed | Nq | Fo | Twos) && !open.is_empty() {
        assert!(chosen.is_some(), "{kind:?} found nobody among {open:?}");
    }
}

#[test]
fn no_list_no_load_no_edit_leads_to_a_wrong_server() {
    bolero::check!().with_type::<Vec<Operation>>().for_each(|operations| run(operations));
}

#[test]
fn rr_is_fair_to_the_one() {
    bolero::check!().with_type::<Vec<bool>>().for_each(|open| {
        let open = &open[..open.len().min(50)];
        let weights: Vec<i32> = open.iter().map(|&open| i32::from(open)).collect();
        let count = weights.iter().filter(|&&weight| weight > 0).count();
        let mut director = Director::with(SchedulerKind::Rr, &weights);
        let mut shares = HashMap::new();
        director.picks(count * 3).into_iter().for_each(|chosen| *shares.entry(chosen).or_insert(0) += 1);
        assert!(shares.values().all(|&share| share == 3) && shares.len() == count);
    });
}

/// In a cycle every server gets its weight over the divisor of all; whatever was picked before.
#[test]
fn wrr_shares_are_exact_over_a_cycle() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(weights, before)| {
        let weights: Vec<i32> = weights.iter().take(12).map(|&weight| i32::from(weight % 40)).collect();
        let weights = &weights[..];
        let mut director = Director::with(SchedulerKind::Wrr, weights);
        director.picks(usize::from(*before));
        let divisor = weights.iter().fold(0, |divisor, &weight| wrr::gcd(divisor, weight)).max(1);
        let length: i32 = weights.iter().map(|weight| weight / divisor).sum();
        let mut shares = vec![0; weights.len()];
        director.picks(length as usize).into_iter().for_each(|chosen| shares[chosen.unwrap() as usize] += 1);
        let expected: Vec<i32> = weights.iter().map(|weight| weight / divisor).collect();
        assert_eq!(shares, expected);
    });
}

/// The pass-by-pass definition of `wrr` (spec `scheduling.md` §3), as an oracle for the version that skips empty passes.
fn wrr_pass_by_pass(
    servers: &[Candidate],
    boards: &Boards,
    cycle: wrr::Cycle,
    cursor: &mut usize,
    level: &mut i32,
) -> Option<u32> {
    if cycle.top == 0 {
        return None;
    }
    let start = *cursor;
    let (mut rose, mut lowest, mut last) = (false, false, None);
    loop {
        while *cursor < servers.len() {
            let server = &servers[*cursor];
            *cursor += 1;
            if server.weight >= *level && !boards.is_overloaded(server.id) {
                return Some(server.id.0);
            }
            if last == Some(*cursor) {
                return None;
            }
        }
        *cursor = 0;
        *level -= cycle.step;
        if *level <= 0 {
            *level = cycle.top;
            if lowest || start == 0 {
                return None;
            }
            rose = true;
        }
        lowest = *level <= cycle.step;
        if lowest && rose && start > 0 {
            last = Some(start);
        }
    }
}

#[test]
fn wrr_skips_only_passes_that_find_nobody() {
    type Input = (Vec<(u8, bool)>, Vec<Option<u8>>);
    bolero::check!().with_type::<Input>().for_each(|(servers, steps)| {
        let servers = &servers[..servers.len().min(8)];
        let weights: Vec<i32> = servers.iter().map(|&(weight, _)| i32::from(weight)).collect();
        let mut director = Director::with(SchedulerKind::Wrr, &weights);
        for (n, &(_, overloaded)) in servers.iter().enumerate() {
            director.overload(n as u32, overloaded);
        }
        let cycle = wrr::Cycle::of(&director.service.servers);
        let (mut cursor, mut level) = (0, director.service.plan.baseline_level());
        for step in steps.iter().take(100) {
            if let Some(n) = step.filter(|&n| usize::from(n) < servers.len()) {
                let overloaded = director.boards.is_overloaded(ServerId(n.into()));
                director.overload(n.into(), !overloaded);
            }
            let list = director.service.servers.clone();
            let expected = wrr_pass_by_pass(&list, &director.boards, cycle, &mut cursor, &mut level);
            assert_eq!(director.picks(1), [expected]);
        }
    });
}

#[test]
fn mh_gives_every_weight_its_part_of_the_table() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|weights| {
        let servers: Vec<Candidate> = weights
            .iter()
            .take(60)
            .enumerate()
            .map(|(n, &weight)| Candidate {
                id: ServerId(n as u32),
                weight: weight.into(),
                last_weight: i32::from(weight % 60),
                daddr: IpAddr::from([10, 3, 0, n as u8]),
                dport: 443,
            })
            .collect();
        let table = mh::table(Family::V4, &servers).unwrap();
        let total: i32 = servers.iter().map(|server| server.last_weight).sum();
        assert_eq!(table.len(), if total > 0 { mh::CELLS } else { 0 });
        for server in &servers {
            let cells = table.iter().filter(|&&id| id == server.id).count() as i32;
            let fair = mh::CELLS as i32 * server.last_weight / total.max(1);
            // One turn more or less, in the last round.
            assert!((cells - fair).abs() <= server.last_weight + 1, "{cells} cells for {fair}");
        }
    });
}

/// Each worker has its own position; the sum of their picks is off by less than a cycle of each.
#[test]
fn wrr_shares_of_several_workers_converge() {
    bolero::check!().with_type::<(Vec<u8>, [u16; 3])>().for_each(|(weights, picks)| {
        let weights: Vec<i32> = weights.iter().take(6).map(|&weight| i32::from(weight % 7)).collect();
        let total: i32 = weights.iter().sum();
        if total == 0 {
            return;
        }
        let mut director = Director::with(SchedulerKind::Wrr, &weights);
        let mut shares = vec![0i64; weights.len()];
        let mut count = 0;
        for &picks in picks {
            director.schedulers = Schedulers::new(8, 0, 0);
            let picks = usize::from(picks % 500);
            count += picks as i64;
            director.picks(picks).into_iter().for_each(|chosen| shares[chosen.unwrap() as usize] += 1);
        }
        for (share, &weight) in shares.iter().zip(&weights) {
            let off = (share * i64::from(total) - count * i64::from(weight)).abs();
            assert!(off <= 3 * i64::from(weight) * i64::from(total), "{shares:?} of {weights:?}");
        }
    });
}
