//! Positions through edits: what the kernel's pointers do, and what a worker that missed some does.

use super::director::Director;
use crate::board::Boards;
use crate::sched::{HISTORY, NewFlow, Schedulers};
use crate::tables::{Family, SchedulerKind, Service, ServiceFlags};
use crate::tick::Tick;

fn ask(worker: &mut Schedulers, service: &Service, boards: &Boards) -> Option<u32> {
    let flow = NewFlow {
        protocol: 6,
        caddr: [192, 0, 2, 9].into(),
        cport: 1,
        daddr: [10, 0, 1, 100].into(),
        vport: 80,
        now: Tick(0),
    };
    worker.pick(service, boards, &flow).map(|id| id.0)
}

#[test]
fn rr_deleting_the_chosen_server_steps_back() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1, 1]);
    assert_eq!(director.picks(2), [Some(3), Some(2)]);
    director.delete(2);
    assert_eq!(director.picks(2), [Some(1), Some(0)]);
}

#[test]
fn rr_deleting_the_first_server_while_it_is_chosen_leads_to_the_head() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    director.delete(2);
    // From the head even the newest comes first, which from any other place would come last.
    director.add(7, 1, 0, 0);
    assert_eq!(director.picks(3), [Some(7), Some(1), Some(0)]);
}

#[test]
fn rr_a_new_server_waits_for_the_next_round() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    director.add(3, 1, 0, 0);
    assert_eq!(director.picks(4), [Some(1), Some(0), Some(3), Some(2)]);
}

#[test]
fn rr_keeps_its_place_when_servers_are_edited() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    director.edit(1, 0, 0, 0);
    director.edit(2, 5, 0, 0);
    assert_eq!(director.picks(2), [Some(0), Some(2)]);
}

#[test]
fn the_same_scheduler_again_keeps_the_place_and_another_does_not() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    director.reschedule(SchedulerKind::Rr, ServiceFlags::default()).unwrap();
    assert_eq!(director.picks(1), [Some(1)]);
    director.reschedule(SchedulerKind::Wlc, ServiceFlags::default()).unwrap();
    director.reschedule(SchedulerKind::Rr, ServiceFlags::default()).unwrap();
    assert_eq!(director.picks(1), [Some(2)]);
}

#[test]
fn a_new_service_with_the_same_id_starts_anew() {
    let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    director.service = super::director::service(Family::V4, SchedulerKind::Rr, ServiceFlags::default());
    director.add_all(&[1, 1, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
}

/// Two workers see the same service; one asks after every edit, the other only now and then.
#[test]
fn a_worker_that_saw_no_version_between_ends_where_one_that_saw_all_does() {
    for kind in [SchedulerKind::Rr, SchedulerKind::Wrr] {
        let mut director = Director::with(kind, &[4, 2, 1]);
        let mut sleeper = Schedulers::new(8, 0, 0);
        for _ in 0..4 {
            assert_eq!(ask(&mut sleeper, &director.service, &director.boards), director.picks(1)[0]);
        }
        let edits: [&dyn Fn(&mut Director); 6] = [
            &|director| director.add(3, 9, 0, 0),
            &|director| director.delete(1),
            &|director| director.edit(0, 6, 0, 0),
            &|director| director.add(1, 3, 0, 0),
            &|director| director.delete(3),
            &|director| director.edit(2, 3, 0, 0),
        ];
        for edit in edits {
            edit(&mut director);
            // A service that is observed but not asked: nothing happens to the position.
            let mut observer = Schedulers::new(8, 0, 0);
            ask(&mut observer, &director.service, &director.boards);
        }
        for _ in 0..20 {
            assert_eq!(
                ask(&mut sleeper, &director.service, &director.boards),
                director.picks(1)[0],
                "{kind:?}"
            );
        }
    }
}

#[test]
fn catching_up_after_all_remembered_edits_is_exact_and_after_more_begins_anew() {
    for (edits, expected) in [(HISTORY, Some(1)), (HISTORY + 1, Some(2))] {
        let mut director = Director::with(SchedulerKind::Rr, &[1, 1, 1]);
        assert_eq!(director.picks(1), [Some(2)]);
        for edit in 0..edits {
            match edit % 2 {
                0 => director.add(9, 0, 0, 0),
                _ => director.delete(9),
            }
        }
        assert_eq!(director.picks(1), [expected], "after {edits} edits");
    }
}

fn overload_all(director: &mut Director, overloaded: bool) {
    (0..3).for_each(|n| director.overload(n, overloaded));
}

#[test]
fn wrr_search_in_vain_from_the_end_of_a_pass_leads_to_the_top() {
    let mut director = Director::with(SchedulerKind::Wrr, &[4, 2, 1]);
    assert_eq!(director.picks(4), [Some(2), Some(1), Some(0), Some(0)]);
    overload_all(&mut director, true);
    assert_eq!(director.picks(2), [None, None]);
    overload_all(&mut director, false);
    assert_eq!(director.picks(4), [Some(0), Some(0), Some(1), Some(0)]);
}

#[test]
fn wrr_search_in_vain_from_inside_the_list_ends_where_it_began() {
    let mut director = Director::with(SchedulerKind::Wrr, &[4, 2, 1]);
    assert_eq!(director.picks(1), [Some(2)]);
    overload_all(&mut director, true);
    assert_eq!(director.picks(2), [None, None]);
    overload_all(&mut director, false);
    assert_eq!(director.picks(4), [Some(1), Some(0), Some(0), Some(0)]);
}

#[test]
fn services_beyond_the_limit_get_no_position_but_do_no_harm() {
    let mut director = Director::with(SchedulerKind::Rr, &[1]);
    director.schedulers = Schedulers::new(0, 0, 0);
    assert_eq!(director.picks(1), [None]);
    for kind in [SchedulerKind::Wlc, SchedulerKind::Lblc, SchedulerKind::Lblcr, SchedulerKind::Sh] {
        director.reschedule(kind, ServiceFlags::default()).unwrap();
        assert_eq!(director.picks(2), [Some(0), Some(0)], "{kind:?}");
    }
}
