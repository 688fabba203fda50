//! Commands from control to a worker, carried out in bounded pieces between two bursts.

use crossbeam_queue::ArrayQueue;
use shunt_engine::tables::Tables;
use shunt_engine::{ConnectionInfo, DumpCursor, EXPECTED_MAX, Engine, InstallFrom, Tally, Tick};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Connections told in one round: at about 50 ns each, 3 µs between two bursts. Data connections that FTP announced come
/// by the shard, which may be twice as many.
const PIECE_LEN: usize = 64;

/// Connections taken over in one round: at about 200 ns each, 7 µs between two bursts.
pub(crate) const BATCH_LEN: usize = 32;

/// Commands that wait, at most: one for each thread of control that lists connections at the same time, and some
/// batches of connections to be taken over.
const COMMANDS: usize = 32;

/// How long control waits before it looks for an answer again.
pub(crate) const PATIENCE: Duration = Duration::from_micros(50);

/// Connections told in one round, and the data of their persistence engines. It has room for all of them.
#[derive(Debug)]
struct Told {
    /// Each with the length of its data.
    list: Vec<(ConnectionInfo, u8)>,
    call_ids: Vec<u8>,
}

impl Told {
    fn new() -> Told {
        Told {
            list: Vec::with_capacity(PIECE_LEN.max(EXPECTED_MAX)),
            call_ids: Vec::with_capacity(PIECE_LEN * usize::from(u8::MAX)),
        }
    }

    fn push(&mut self, info: ConnectionInfo, call_id: &[u8]) {
        // Longer ones do not exist.
        let len = call_id.len().min(usize::from(u8::MAX));
        self.list.push((info, len as u8));
        self.call_ids.extend_from_slice(&call_id[..len]);
    }

    /// Tells them on until `each` breaks off, and is empty.
    fn tell(&mut self, each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut call_ids = &self.call_ids[..];
        let flow = self.list.drain(..).try_for_each(|(info, len)| {
            let (call_id, rest) = call_ids.split_at(usize::from(len));
            call_ids = rest;
            each(&info.with_call_id(call_id))
        });
        self.call_ids.clear();
        flow
    }
}

/// "Tell me some connections from here on." The list travels with it, so that the worker need not allocate. The worker
/// fills it in steps, one a round, and answers when it is full.
#[derive(Debug)]
struct Piece {
    told: Told,
    cursor: Option<DumpCursor>,
    answer: Arc<ArrayQueue<Piece>>,
}

impl Piece {
    /// One step of the listing.
    fn fill(&mut self, engine: &Engine, tables: &Tables, now: Tick) {
        let Some(cursor) = self.cursor else { return };
        let room = PIECE_LEN.saturating_sub(self.told.list.len());
        let told = &mut self.told;
        self.cursor = engine.dump(tables, now, cursor, room, |info, call_id| told.push(info, call_id));
    }

    /// Is there more to tell, and room for the next step?
    fn wants_more(&self) -> bool {
        match self.cursor {
            Some(DumpCursor::Expected(_)) => self.told.list.is_empty(),
            Some(_) => self.told.list.len() < PIECE_LEN,
            None => false,
        }
    }
}

/// "Take these over": at most [`BATCH_LEN`]. The list goes back with the answer, because the worker must not free it.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) list: Vec<ConnectionInfo>,
    pub(crate) from: InstallFrom,
    pub(crate) tally: Tally,
    /// Has room for as many batches as there are on the way.
    pub(crate) answer: Arc<ArrayQueue<Batch>>,
}

#[derive(Debug)]
enum Command {
    Tell(Piece),
    Install(Batch),
}

/// A worker's mailbox: clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    commands: Arc<ArrayQueue<Command>>,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox { commands: Arc::new(ArrayQueue::new(COMMANDS)) }
    }

    /// The worker's side: carries out at most one command. Returns whether there was one.
    #[inline]
    pub(crate) fn serve(&self, engine: &mut Engine, tables: &Tables, now: Tick) -> bool {
        // A load where nothing waits: `pop` alone would be one too, but with a fence.
        if self.commands.is_empty() {
            return false;
        }
        let Some(command) = self.commands.pop() else { return false };
        // Both queues of answers have room for all that is on the way.
        match command {
            Command::Tell(mut piece) => {
                piece.fill(engine, tables, now);
                if piece.wants_more() {
                    // In the next round, so that a stretch of free places costs no way to control and back.
                    match self.commands.push(Command::Tell(piece)) {
                        Err(Command::Tell(back)) => piece = back,
                        _ => return true,
                    }
                }
                // Control waits until this clone is gone: see `give_back`.
                let answer = piece.answer.clone();
                let _ = answer.push(piece);
            }
            Command::Install(mut batch) => {
                for info in &batch.list {
                    engine.install(tables, now, info, batch.from, &mut batch.tally);
                }
                let answer = batch.answer.clone();
                let _ = answer.push(batch);
            }
        }
        true
    }

    /// Control's side: waits until there is room for a command. False if `is_over` says that the worker will not read
    /// any more.
    fn send(&self, mut command: Command, is_over: impl Fn() -> bool) -> bool {
        while let Err(back) = self.commands.push(command) {
            if is_over() {
                return false;
            }
            command = back;
            thread::sleep(PATIENCE);
        }
        true
    }

    /// Control's side: gives the worker connections to take over. False if it will not.
    pub(crate) fn install(&self, batch: Batch, is_over: impl Fn() -> bool) -> bool {
        self.send(Command::Install(batch), is_over)
    }

    /// Control's side: tells `each` of all connections of the worker, until it breaks off. Ends early if `is_over` says
    /// that the worker will not answer any more.
    pub(crate) fn connections(
        &self,
        is_over: impl Fn() -> bool,
        each: &mut dyn FnMut(&ConnectionInfo) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let answer = Arc::new(ArrayQueue::new(1));
        // Two lists: the worker fills one while the other is told.
        let (mut told, mut next) = (Told::new(), Told::new());
        let mut cursor = Some(DumpCursor::default());
        while cursor.is_some() {
            let piece = Piece { told: next, cursor, answer: answer.clone() };
            if !self.send(Command::Tell(piece), &is_over) {
                return ControlFlow::Continue(());
            }
            let flow = told.tell(each);
            // Also if it broke off: the worker must not be left with the last hold on the list.
            let Some(answered) = wait_for(&answer, &is_over) else { return flow };
            if flow.is_break() {
                // It holds on to the queue, too.
                drop(answered);
                give_back(answer, &is_over);
                return flow;
            }
            cursor = answered.cursor;
            next = std::mem::replace(&mut told, answered.told);
        }
        let flow = told.tell(each);
        give_back(answer, &is_over);
        flow
    }
}

/// Control's side: frees a queue of answers, here and not on a worker, which may not have let go of it yet.
pub(crate) fn give_back<T>(answers: Arc<ArrayQueue<T>>, is_over: impl Fn() -> bool) {
    while Arc::strong_count(&answers) > 1 && !is_over() {
        thread::sleep(PATIENCE);
    }
}

/// The next answer; `None` if there will be none.
pub(crate) fn wait_for<T>(answers: &ArrayQueue<T>, is_over: impl Fn() -> bool) -> Option<T> {
    loop {
        match answers.pop() {
            Some(answer) => return Some(answer),
            None if is_over() => return None,
            None => thread::sleep(PATIENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_engine::board::Boards;
    use shunt_engine::counters::WorkerCounters;
    use shunt_engine::persist::Templates;
    use shunt_engine::{EngineConfig, Expectations};

    #[test]
    fn free_places_are_passed_over_without_asking_again() {
        let mut engine = Engine::new(EngineConfig {
            worker: 0,
            workers: 1,
            hardware_steering: true,
            max_ipv4: 100_000,
            max_ipv6: 1,
            services_max: 1,
            boards: Boards::new(1, 1),
            templates: Templates::new(64),
            expectations: Expectations::new(),
            counters: WorkerCounters::default(),
            seed: [1, 3, 5, 7],
            owner_key: [0x6d; 40],
            now: Tick(0),
        });
        let (mailbox, tables) = (Mailbox::new(), Tables::new(Vec::new()));
        let answer = Arc::new(ArrayQueue::new(1));
        let piece = Piece { told: Told::new(), cursor: Some(DumpCursor::default()), answer: answer.clone() };
        assert!(mailbox.send(Command::Tell(piece), || false));
        let mut rounds = 0;
        while mailbox.serve(&mut engine, &tables, Tick(0)) {
            rounds += 1;
        }
        let answered = answer.pop().expect("an answer");
        assert!(answered.told.list.is_empty() && answered.cursor.is_none(), "all of it at once");
        assert!(rounds > 100, "bounded work in each of {rounds} rounds");
    }
}
