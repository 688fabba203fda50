//! All interleavings of the orders that the crate's documentation calls load-bearing.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shunt-publish --release --test loom`
//!
//! Each order was swapped and each Release and Acquire weakened to see these tests fail. Two changes do not make them
//! fail: the generation stored before the snapshot is exchanged costs a burst and nothing else, as documented; and the
//! Acquire in `reclaim` orders two updates of a reference count, which loom never reorders in the first place.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use shunt_publish::{Publisher, Reader};

/// A value that must be dropped by the publisher's thread.
struct Tables {
    number: u64,
    owner: thread::ThreadId,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.owner, "tables freed by a reader");
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn tables(number: u64, dropped: &Arc<AtomicUsize>) -> Tables {
    Tables { number, owner: thread::current().id(), dropped: Arc::clone(dropped) }
}

fn publisher(readers: usize) -> (Publisher<Tables>, Vec<Reader<Tables>>, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (publisher, readers) = Publisher::new(tables(0, &dropped), readers);
    (publisher, readers, dropped)
}

/// Order 2: a reader observes while versions come; none is freed by it, and none goes back.
#[test]
fn observe_against_publish() {
    loom::model(|| {
        let (publisher, mut readers, dropped) = publisher(1);
        let mut reader = readers.remove(0);
        let thread = thread::spawn(move || {
            let first = reader.observe().number;
            let second = reader.observe().number;
            assert!(second >= first);
            // The thread ends here, and the reader with it.
        });
        publisher.publish(tables(1, &dropped));
        publisher.publish(tables(2, &dropped));
        thread.join().unwrap();
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

/// Without a publication in progress, a reader that has been told of a generation gets it.
#[test]
fn a_generation_seen_is_a_generation_got() {
    loom::model(|| {
        let (publisher, mut readers, dropped) = publisher(1);
        let mut reader = readers.remove(0);
        let told = Arc::new(AtomicUsize::new(0));
        let thread = {
            let told = Arc::clone(&told);
            thread::spawn(move || {
                let known = told.load(Ordering::Acquire) as u64;
                assert!(reader.observe().number >= known);
            })
        };
        publisher.publish(tables(1, &dropped));
        told.store(1, Ordering::Release);
        thread.join().unwrap();
    });
}

/// Order 2: "in force" means that older snapshots are out of use and the past is visible.
#[test]
fn in_force_means_out_of_use() {
    loom::model(|| {
        let (publisher, mut readers, dropped) = publisher(1);
        let mut reader = readers.remove(0);
        // The generation under which the reader last worked; a plain store, as a worker's counters are.
        let worked = Arc::new(AtomicUsize::new(0));
        let thread = {
            let worked = Arc::clone(&worked);
            thread::spawn(move || {
                for _ in 0..2 {
                    let number = reader.observe().number;
                    worked.store(number as usize + 10, Ordering::Relaxed);
                }
                // Stays online until joined.
                reader
            })
        };
        let generation = publisher.publish(tables(1, &dropped));
        if publisher.behind(generation).is_none() {
            let before = worked.load(Ordering::Relaxed);
            // Nothing that happens from now on is work under generation 0.
            thread::yield_now();
            let after = worked.load(Ordering::Relaxed);
            assert!(after == before || after == 11, "worked under {after} after {before}");
            assert_eq!(publisher.reclaim(), 0);
            assert_eq!(dropped.load(Ordering::Relaxed), 1);
        }
        drop(thread.join().unwrap());
    });
}

/// Order 3: the same of a reader that parks.
#[test]
fn parked_means_out_of_use() {
    loom::model(|| {
        let (publisher, mut readers, dropped) = publisher(1);
        let mut reader = readers.remove(0);
        let worked = Arc::new(AtomicUsize::new(0));
        let thread = {
            let worked = Arc::clone(&worked);
            thread::spawn(move || {
                let number = reader.observe().number;
                worked.store(number as usize + 10, Ordering::Relaxed);
                reader.park();
                reader
            })
        };
        let generation = publisher.publish(tables(1, &dropped));
        if publisher.behind(generation).is_none() {
            let before = worked.load(Ordering::Relaxed);
            thread::yield_now();
            let after = worked.load(Ordering::Relaxed);
            assert!(after == before || after == 11, "worked under {after} after {before}");
        }
        drop(thread.join().unwrap());
    });
}

/// Orders 3 and 4: a reader that parks and comes back while versions are retired.
#[test]
fn park_and_unpark_against_publish() {
    loom::model(|| {
        let (publisher, mut readers, dropped) = publisher(1);
        let mut reader = readers.remove(0);
        let thread = thread::spawn(move || {
            reader.park();
            let number = reader.observe().number;
            assert!(reader.observe().number >= number);
        });
        publisher.publish(tables(1, &dropped));
        publisher.publish(tables(2, &dropped));
        thread.join().unwrap();
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}

/// Two readers: the slower one decides.
#[test]
fn two_readers() {
    let mut model = loom::model::Builder::new();
    // Three threads have too many interleavings; those with up to two preemptions show nearly all bugs.
    model.preemption_bound = Some(2);
    model.check(|| {
        let (publisher, readers, dropped) = publisher(2);
        let threads: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                thread::spawn(move || {
                    reader.observe();
                    reader.observe();
                })
            })
            .collect();
        publisher.publish(tables(1, &dropped));
        publisher.reclaim();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}
