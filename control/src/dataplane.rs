//! What control needs of the workers. `src/main.rs` implements it over real ones; tests over an engine or nothing.

use shunt_engine::board::Boards;
use shunt_engine::counters::WorkerCounters;
use shunt_engine::tables::{SyncRules, Tables};
use shunt_engine::{ConnectionInfo, InstallFrom, Tally};
use std::ops::ControlFlow;
use std::time::Duration;

/// The workers did not all observe a snapshot in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "worker {worker} has not observed the change within {waited:?}; it will be in force when the worker runs again"
)]
pub struct Lagging {
    /// The first worker that is behind.
    pub worker: usize,
    /// How long control waited.
    pub waited: Duration,
}

/// The workers, as control sees them.
pub trait Dataplane: Send + Sync {
    /// Publishes a snapshot and returns once it is in force on every worker.
    ///
    /// # Errors
    /// [`Lagging`] if a worker does not observe it within a second. The snapshot is published all the same.
    fn publish(&self, tables: Tables) -> Result<(), Lagging>;
    /// Lets packets in. Until then workers obey, but receive nothing.
    fn open(&self) {}
    /// Counts and statistics per real server.
    fn boards(&self) -> &Boards;
    /// Counters of each worker.
    fn worker_counters(&self) -> Vec<WorkerCounters>;
    /// Calls `each` for every connection of every worker, in no particular order, without stalling a worker, until it
    /// breaks off.
    fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>);
    /// Makes the workers take over connections and templates that a peer or a state file tells of, each at the worker
    /// that owns its packets, and returns once they have. Templates must come before the connections that they control.
    fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, from: InstallFrom) -> Tally;
    /// Takes what the workers have to tell a synchronisation master since the last call, as `rules` want it. They tell
    /// nothing unless the snapshot in force says that a master runs.
    fn announcements(&self, rules: &SyncRules, each: &mut dyn FnMut(ConnectionInfo));
    /// Counters of the slow path, which carries packets between workers and kernel twins and keeps a balance of its own.
    fn slow_path_counters(&self) -> Option<WorkerCounters> {
        None
    }
    /// Has this NIC port, by its number, a link?
    fn link_up(&self, _nic_port: usize) -> bool {
        true
    }
    /// What is in force on each NIC port and what it has counted, for people.
    fn nic_ports(&self) -> String {
        String::new()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// A dataplane without workers: keeps what was published, for tests to look at.
    pub(crate) struct Recorder {
        pub published: Mutex<Vec<Tables>>,
        pub connections: Mutex<Vec<ConnectionInfo>>,
        pub counters: Vec<WorkerCounters>,
        /// NIC ports lose their link.
        pub link_down: AtomicBool,
        boards: Boards,
    }

    impl Recorder {
        pub fn new(workers: usize, servers_max: usize) -> Recorder {
            Recorder {
                published: Mutex::default(),
                connections: Mutex::default(),
                // Clones would share their cells.
                counters: (0..workers).map(|_| WorkerCounters::default()).collect(),
                link_down: AtomicBool::new(false),
                boards: Boards::new(workers, servers_max),
            }
        }
    }

    impl Dataplane for Recorder {
        fn publish(&self, tables: Tables) -> Result<(), Lagging> {
            self.published.lock().unwrap().push(tables);
            Ok(())
        }

        fn boards(&self) -> &Boards {
            &self.boards
        }

        fn worker_counters(&self) -> Vec<WorkerCounters> {
            self.counters.clone()
        }

        fn connections(&self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) {
            let _ = self.connections.lock().unwrap().iter().try_for_each(each);
        }

        fn install(&self, connections: &mut dyn Iterator<Item = ConnectionInfo>, _: InstallFrom) -> Tally {
            let mut all = self.connections.lock().unwrap();
            let before = all.len();
            all.extend(connections);
            Tally { created: (all.len() - before) as u32, ..Tally::default() }
        }

        fn announcements(&self, _: &SyncRules, _: &mut dyn FnMut(ConnectionInfo)) {}

        fn link_up(&self, _nic_port: usize) -> bool {
            !self.link_down.load(Relaxed)
        }
    }
}
