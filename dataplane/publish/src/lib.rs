//! Publication of immutable snapshots to workers: RCU by quiescent states (QSBR), in safe Rust.
//!
//! One [`Publisher`] hands out versions of a value; each worker has a [`Reader`]. Between bursts, when it holds no
//! reference into a snapshot, a worker calls [`Reader::observe`]: that is its quiescent state.
//!
//! ```
//! use shunt_publish::Publisher;
//! use std::time::Duration;
//!
//! let (publisher, readers) = Publisher::new("empty", 1);
//! for mut reader in readers {
//!     std::thread::spawn(move || loop {
//!         let tables = reader.observe();
//!         // … one burst with these tables …
//! #       if *tables == "last" { break }
//!     });
//! }
//! let generation = publisher.publish("last");
//! publisher.wait_observed(generation, Duration::from_secs(1)).expect("the worker runs");
//! ```
//!
//! # Promises
//! * `observe` costs one load of a line that only a publication writes, and a comparison. Only after a publication it
//!   takes the new snapshot: one attempt at a lock, which it does not repeat before the next burst if control has it,
//!   two reference counts, one store. It never waits and never allocates.
//! * No value is dropped on a reader's thread as long as the publisher lives. Tables hold megabytes; to free them is
//!   control's work.
//! * Once [`Publisher::behind`] says that nobody is behind generation *g*, no reader uses an older snapshot, or ever
//!   will again. What a reader wrote before that (its counters, its last packets of the old generation) is visible.
//!
//! # Why it is right
//! Four places where the order matters; `tests/loom.rs` tries all interleavings of each.
//! 1. *Publish: the snapshot first, then the generation.* The generation is stored with Release and loaded with
//!    Acquire, so a reader that sees *g* finds version *g* or a newer one behind the lock. Swapped, a reader could see
//!    *g*, find the old version, and have to come back a burst later; nothing worse, because a reader reports the
//!    generation of what it took, not the one it saw.
//! 2. *Observe: the cached snapshot is replaced first, then the observed generation stored*, with Release. The
//!    publisher keeps its own count of a retired version until all observed generations, loaded with Acquire, are
//!    greater. Swapped, it could let go of it before the reader does: the reader would free the tables on the packet
//!    path, and control would believe in force what the reader does not use yet.
//! 3. *Park: the cached snapshot is dropped first, then the cell says "parked".* The reason is that of 2.
//! 4. *Unpark: the observed generation is stored while the lock of the current snapshot is still held.* After the lock
//!    the publisher could retire the snapshot, find the reader still parked, and let go of it: reader last again.
#![forbid(unsafe_code)]

mod publisher;
mod reader;
mod shared;
mod sync;

pub use publisher::{Lagging, Publisher, ReaderState};
pub use reader::Reader;
pub use shared::Generation;
