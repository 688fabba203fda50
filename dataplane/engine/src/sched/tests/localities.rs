//! `lblc` and `lblcr`: memory, ageing, limits.

use super::director::{Director, service};
use crate::sched::Schedulers;
use crate::tables::{Family, SchedulerKind, ServiceFlags, Settings, Tables};
use crate::tick::Tick;
use std::net::{IpAddr, Ipv4Addr};

const CLIENT: [u8; 4] = [192, 0, 2, 9];
const DAY_MS: u64 = 86_400_000;

/// The n-th destination.
fn destination(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a09_0000 + n).into()
}

impl Director {
    fn to(&mut self, n: u32) -> Option<u32> {
        self.ask(CLIENT.into(), 1, destination(n))
    }

    /// How many destinations the worker remembers.
    fn remembered(&self) -> usize {
        self.schedulers.localities.used_entries()
    }
}

#[test]
fn lblc_stays_until_locally_overloaded() {
    let mut director = Director::with(SchedulerKind::Lblc, &[2, 1]);
    assert_eq!(director.to(1), Some(1));
    director.load(1, 1, 50);
    assert_eq!(director.to(1), Some(1), "busy, but not above its weight");
    assert_eq!(director.to(2), Some(0), "another destination goes by wlc");
    director.load(1, 2, 0);
    director.load(0, 1, 0);
    assert_eq!(director.to(1), Some(1), "above its weight, but nobody has less than half of his");
    director.load(0, 0, 0);
    assert_eq!(director.to(1), Some(0));
    director.load(1, 0, 0);
    assert_eq!(director.to(1), Some(0), "the new server is remembered");
}

#[test]
fn lblc_does_not_see_the_threshold_of_a_remembered_server() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1, 1]);
    assert_eq!(director.to(1), Some(1));
    director.overload(1, true);
    assert_eq!(director.to(1), Some(1));
    assert_eq!(director.to(2), Some(0));
}

#[test]
fn lblc_forgets_quiesced_and_deleted_servers() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1, 1, 1]);
    assert_eq!(director.to(1), Some(2));
    director.edit(2, 0, 0, 0);
    assert_eq!(director.to(1), Some(1));
    director.delete(1);
    assert_eq!(director.to(1), Some(0));
    director.add(1, 1, 0, 0);
    assert_eq!(director.to(1), Some(0));
}

#[test]
fn lblcr_grows_its_set_when_overloaded_and_shrinks_it_after_a_day() {
    let mut director = Director::with(SchedulerKind::Lblcr, &[10, 10]);
    assert_eq!(director.to(1), Some(1));
    director.load(1, 11, 0);
    assert_eq!(director.to(1), Some(0), "overloaded: another joins the set");
    director.load(0, 12, 0);
    assert_eq!(director.to(1), Some(1), "both are in the set, the least busy is taken");
    // Not changed for a day: the busiest leaves, which is 0.
    director.now = Tick(director.now.0 + DAY_MS);
    assert_eq!(director.to(1), Some(1));
    director.load(0, 0, 0);
    director.load(1, 5, 0);
    assert_eq!(director.to(1), Some(0), "exactly a day is not yet more than a day");
    director.load(0, 12, 0);
    director.now = Tick(director.now.0 + 1);
    assert_eq!(director.to(1), Some(1));
    director.load(0, 0, 0);
    assert_eq!(director.to(1), Some(1), "0 has left the set");
}

#[test]
fn lblcr_skips_overloaded_members() {
    let mut director = Director::with(SchedulerKind::Lblcr, &[1, 1]);
    assert_eq!(director.to(1), Some(1));
    director.overload(1, true);
    assert_eq!(director.to(1), Some(0));
    director.overload(1, false);
    director.load(0, 1, 0);
    assert_eq!(director.to(1), Some(1), "it is still in the set");
}

#[test]
fn lblcr_may_drop_a_deleted_server_from_the_set() {
    let mut director = Director::with(SchedulerKind::Lblcr, &[1, 1]);
    assert_eq!(director.to(1), Some(1));
    director.load(1, 2, 0);
    assert_eq!(director.to(1), Some(0));
    director.delete(1);
    director.now = Tick(director.now.0 + DAY_MS + 1);
    assert_eq!(director.to(1), Some(0));
    director.add(1, 1, 0, 0);
    director.load(1, 0, 0);
    director.load(0, 1, 0);
    assert_eq!(director.to(1), Some(0), "1 is in the list again, but not in the set");
}

#[test]
fn idle_entries_go_at_the_full_check() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1]);
    let settings = Settings { lblc_expiration: 1000, ..Settings::default() };
    (0..50).for_each(|n| assert_eq!(director.to(n), Some(0)));
    assert_eq!(director.remembered(), 50);
    director.pass(900, &settings);
    (0..10).for_each(|n| assert_eq!(director.to(n), Some(0)));
    // The 30th check: a full one.
    director.pass(850, &settings);
    assert_eq!(director.remembered(), 50);
    director.pass(100, &settings);
    assert_eq!(director.remembered(), 10);
    director.pass(1900, &settings);
    assert_eq!(director.remembered(), 0);
}

#[test]
fn a_service_remembers_no_more_than_the_kernels_limit_and_idle_entries_make_room() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1]);
    director.schedulers = Schedulers::new(8, 40_000, 1);
    (0..30_000).for_each(|n| assert_eq!(director.to(n), Some(0)));
    assert_eq!(director.remembered(), 24_576);
    director.pass(359, &Settings::default());
    assert_eq!(director.remembered(), 24_576, "nothing is idle for six minutes yet");
    director.pass(60, &Settings::default());
    // (24,576 - 16,384)·4/3 = 10,922, but at most 8,192, and whole buckets.
    let left = director.remembered();
    assert!((16_300..=16_384).contains(&left), "{left}");
    director.pass(600, &Settings::default());
    assert_eq!(director.remembered(), left, "no more than the kernel wants");
}

#[test]
fn a_full_pool_forgets_nobody_and_still_picks() {
    for kind in [SchedulerKind::Lblc, SchedulerKind::Lblcr] {
        let mut director = Director::with(kind, &[5, 5]);
        director.schedulers = Schedulers::new(8, 100, 1);
        for n in 0..200 {
            assert!(director.to(n).is_some());
        }
        assert_eq!(director.remembered(), 100);
        let first = director.to(0);
        director.load(first.unwrap(), 3, 0);
        assert_eq!(director.to(0), first, "remembered");
        assert_ne!(director.to(150), first, "not remembered: by wlc");
    }
}

#[test]
fn memory_of_a_scheduler_that_was_replaced_comes_back() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1, 1]);
    (0..100).for_each(|n| assert!(director.to(n).is_some()));
    director.reschedule(SchedulerKind::Lblcr, ServiceFlags::default()).unwrap();
    director.load(1, 1, 0);
    assert_eq!(director.to(1), Some(0), "what lblc remembered does not count");
    assert_eq!(director.remembered(), 101);
    director.pass(2, &Settings::default());
    assert_eq!(director.remembered(), 1);
    director.reschedule(SchedulerKind::Rr, ServiceFlags::default()).unwrap();
    director.pass(2, &Settings::default());
    assert_eq!(director.remembered(), 0);
}

#[test]
fn memory_of_a_deleted_service_comes_back() {
    let mut director = Director::with(SchedulerKind::Lblcr, &[1, 1]);
    (0..100).for_each(|n| assert!(director.to(n).is_some()));
    let tables = Tables::new(Vec::new());
    for second in 0..3 {
        director.schedulers.housekeep(&tables, Tick(director.now.0 + second * 1000));
    }
    assert_eq!(director.remembered(), 0);
    director.service = service(Family::V4, SchedulerKind::Lblcr, ServiceFlags::default());
    director.add_all(&[1, 1]);
    assert_eq!(director.to(1), Some(1));
    assert_eq!(director.remembered(), 1);
}

#[test]
fn a_sweep_does_not_touch_a_service_that_began_anew_meanwhile() {
    let mut director = Director::with(SchedulerKind::Lblc, &[1]);
    director.schedulers = Schedulers::new(8, 20_000, 1);
    (0..20_000).for_each(|n| assert!(director.to(n).is_some()));
    // More entries than one call looks at: the sweep for the deleted service is still under way after it.
    director.schedulers.housekeep(&Tables::new(Vec::new()), director.now);
    let left = director.remembered();
    assert!(left > 0 && left < 20_000, "{left}");
    director.service = service(Family::V4, SchedulerKind::Lblc, ServiceFlags::default());
    director.add_all(&[1]);
    (0..1000).for_each(|n| assert!(director.to(n).is_some()));
    director.pass(10, &Settings::default());
    assert_eq!(director.remembered(), 1000);
}
