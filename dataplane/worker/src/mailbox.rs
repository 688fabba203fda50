//! Commands from control to a worker, carried out in bounded pieces between two bursts.

use crossbeam_queue::ArrayQueue;
use shunt_engine::tables::Tables;
use shunt_engine::{ConnectionInfo, DumpCursor, Engine, Tick};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Connections told in one round: at about 50 ns each, 3 µs between two bursts.
const PIECE_LEN: usize = 64;

/// Commands that wait, at most: one for each thread of control that lists connections at the same time.
const COMMANDS: usize = 16;

/// How long control waits before it looks for the next piece again.
const PATIENCE: Duration = Duration::from_micros(50);

/// "Tell me some connections from here on." The list travels with it, so that the worker need not allocate (but for
/// a shard of persistence templates with more than [`PIECE_LEN`]).
#[derive(Debug)]
struct Piece {
    list: Vec<ConnectionInfo>,
    cursor: Option<DumpCursor>,
    answer: Arc<ArrayQueue<Piece>>,
}

/// A worker's mailbox: clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    commands: Arc<ArrayQueue<Piece>>,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox { commands: Arc::new(ArrayQueue::new(COMMANDS)) }
    }

    /// The worker's side: carries out at most one command. Returns whether there was one.
    #[inline]
    pub(crate) fn serve(&self, engine: &Engine, tables: &Tables, now: Tick) -> bool {
        // A load where nothing waits: `pop` alone would be one too, but with a fence.
        if self.commands.is_empty() {
            return false;
        }
        let Some(mut piece) = self.commands.pop() else { return false };
        if let Some(cursor) = piece.cursor {
            let list = &mut piece.list;
            piece.cursor = engine.dump(tables, now, cursor, PIECE_LEN, |info| list.push(info));
        }
        let answer = piece.answer.clone();
        // One piece is out at a time, so there is room.
        let _ = answer.push(piece);
        true
    }

    /// Control's side: tells `each` of all connections of the worker. Ends early if `is_over` says that the worker
    /// will not answer any more.
    pub(crate) fn connections(&self, is_over: impl Fn() -> bool, each: &mut dyn FnMut(&ConnectionInfo)) {
        let answer = Arc::new(ArrayQueue::new(1));
        let mut list = Vec::with_capacity(PIECE_LEN);
        let mut cursor = Some(DumpCursor::default());
        while cursor.is_some() {
            let mut piece = Piece { list, cursor, answer: answer.clone() };
            while let Err(back) = self.commands.push(piece) {
                if is_over() {
                    return;
                }
                piece = back;
                thread::sleep(PATIENCE);
            }
            let mut answered = loop {
                match answer.pop() {
                    Some(answered) => break answered,
                    None if is_over() => return,
                    None => thread::sleep(PATIENCE),
                }
            };
            answered.list.iter().for_each(&mut *each);
            answered.list.clear();
            (list, cursor) = (answered.list, answered.cursor);
        }
    }
}
