//! Publication with real threads.
#![cfg(not(loom))]

use shunt_publish::{Publisher, ReaderState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(5);

/// A value that knows which thread may drop it, and says how often that happened.
struct Tables {
    number: u64,
    content: Vec<u64>,
    owner: ThreadId,
    dropped: Arc<AtomicU64>,
    elsewhere: Arc<AtomicU64>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if thread::current().id() != self.owner {
            self.elsewhere.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Factory {
    dropped: Arc<AtomicU64>,
    elsewhere: Arc<AtomicU64>,
}

impl Factory {
    fn tables(&self, number: u64) -> Tables {
        let (dropped, elsewhere) = (Arc::clone(&self.dropped), Arc::clone(&self.elsewhere));
        Tables { number, content: vec![number; 64], owner: thread::current().id(), dropped, elsewhere }
    }
}

#[test]
fn a_publication_is_seen_at_the_next_burst() {
    let (publisher, mut readers) = Publisher::new("first", 2);
    assert_eq!(*readers[0].observe(), "first");
    let generation = publisher.publish("second");
    assert_eq!(publisher.behind(generation), Some(0));
    assert_eq!(*readers[0].observe(), "second");
    assert_eq!(readers[0].generation(), Some(generation));
    assert_eq!(publisher.behind(generation), Some(1));
    let states: Vec<_> = publisher.readers().collect();
    assert_eq!(states[0], ReaderState::Online { observed: generation, lag: 0 });
    assert!(matches!(states[1], ReaderState::Online { lag: 1, .. }));
    assert_eq!(*readers[1].observe(), "second");
    assert_eq!(publisher.wait_observed(generation, Duration::ZERO), Ok(()));
}

#[test]
fn the_one_who_is_behind_is_named() {
    let (publisher, mut readers) = Publisher::new(0, 3);
    let generation = publisher.publish(1);
    readers[0].observe();
    readers[2].observe();
    let lagging = publisher.wait_observed(generation, SHORT).unwrap_err();
    assert_eq!(lagging.reader, 1);
    assert!(lagging.waited >= SHORT);
}

#[test]
fn retired_versions_wait_for_the_last_reader() {
    let factory = Factory::default();
    let (publisher, mut readers) = Publisher::new(factory.tables(0), 2);
    publisher.publish(factory.tables(1));
    publisher.publish(factory.tables(2));
    readers[0].observe();
    assert_eq!((publisher.reclaim(), factory.dropped.load(Ordering::Relaxed)), (2, 0));
    readers[1].observe();
    assert_eq!((publisher.reclaim(), factory.dropped.load(Ordering::Relaxed)), (0, 2));
}

#[test]
fn parked_and_ended_readers_hold_nothing_back() {
    let factory = Factory::default();
    let (publisher, mut readers) = Publisher::new(factory.tables(0), 2);
    readers[0].park();
    drop(readers.pop());
    let generation = publisher.publish(factory.tables(1));
    assert_eq!(publisher.behind(generation), None);
    assert_eq!(factory.dropped.load(Ordering::Relaxed), 1);
    assert!(publisher.readers().all(|state| state == ReaderState::Parked));
    assert_eq!(readers[0].generation(), None);
    // Both ways back.
    assert_eq!(readers[0].observe().number, 1);
    readers[0].park();
    readers[0].unpark();
    assert_eq!(readers[0].generation(), Some(generation));
    // Online again, it counts again.
    let generation = publisher.publish(factory.tables(2));
    assert_eq!(publisher.behind(generation), Some(0));
}

/// Readers of all kinds run against a publisher: what they see is whole and never goes back, and no table is dropped on
/// their threads.
#[test]
fn tables_are_freed_by_the_publisher_only() {
    const PUBLICATIONS: u64 = 3_000;
    const READERS: usize = 4;
    /// Versions that each reader is to see, however the machine schedules them.
    const SEEN: u64 = 10;
    let factory = Factory::default();
    let (publisher, readers) = Publisher::new(factory.tables(0), READERS);
    let stop = Arc::new(AtomicBool::new(false));
    let seen: Arc<[AtomicU64; READERS]> = Arc::default();
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            thread::spawn(move || {
                let (mut last, mut changes) = (0, 0u64);
                while !stop.load(Ordering::Relaxed) {
                    let tables = reader.observe();
                    assert!(tables.number >= last, "went back");
                    assert!(tables.content.iter().all(|word| *word == tables.number), "not whole");
                    changes += u64::from(tables.number != last);
                    last = tables.number;
                    seen[reader.index()].store(changes, Ordering::Relaxed);
                    // Every other reader parks now and then.
                    if reader.index() % 2 == 1 && changes.is_multiple_of(3) {
                        reader.park();
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    let (started, mut published) = (Instant::now(), 0);
    // A parked reader holds nothing up, and may be without a processor for long: so it goes on until all have seen some.
    while published < PUBLICATIONS || seen.iter().any(|seen| seen.load(Ordering::Relaxed) < SEEN) {
        assert!(started.elapsed() < LONG, "the readers saw only {seen:?} versions");
        published += 1;
        let generation = publisher.publish(factory.tables(published));
        if published % 16 == 0 {
            publisher.wait_observed(generation, LONG).unwrap();
        }
    }
    let generation = publisher.publish(factory.tables(published + 1));
    publisher.wait_observed(generation, LONG).unwrap();
    assert_eq!(publisher.reclaim(), 0);
    assert_eq!(factory.dropped.load(Ordering::Relaxed), published + 1);
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(publisher);
    assert_eq!(factory.dropped.load(Ordering::Relaxed), published + 2);
    assert_eq!(factory.elsewhere.load(Ordering::Relaxed), 0);
}

/// Once a generation is in force, what readers wrote under older ones is visible.
#[test]
fn in_force_means_that_the_past_is_visible() {
    let (publisher, mut readers) = Publisher::new(0u64, 1);
    let mut reader = readers.remove(0);
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    let thread = thread::spawn(move || {
        loop {
            let number = *reader.observe();
            if number == 1_000 {
                return;
            }
            // Written by this thread alone, like a worker's counters.
            counter.store(number, Ordering::Relaxed);
        }
    });
    for number in 1..=1_000 {
        let generation = publisher.publish(number);
        publisher.wait_observed(generation, LONG).unwrap();
        // A write under an older generation would come after the read.
        let seen = counted.load(Ordering::Relaxed);
        assert!(seen == number || seen == number - 1, "{seen} at {number}");
    }
    thread.join().unwrap();
}

#[test]
fn observing_never_allocates() {
    let (publisher, mut readers) = Publisher::new(vec![0; 1000], 1);
    let mut reader = readers.remove(0);
    for number in 1..10 {
        publisher.publish(vec![number; 1000]);
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                assert_eq!(reader.observe()[0], number);
            }
            reader.park();
            reader.unpark();
        });
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0));
        // The reader's side frees nothing either.
        assert_eq!(counted.count_current, 0);
    }
}
