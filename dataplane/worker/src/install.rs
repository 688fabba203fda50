//! Connections that come from outside, dealt to the workers that own their packets.

use crate::mailbox::{BATCH_LEN, Batch, Mailbox, give_back, wait_for};
use crossbeam_queue::ArrayQueue;
use shunt_engine::owner::Owner;
use shunt_engine::tables::Family;
use shunt_engine::{ConnectionInfo, InstallFrom, Tally};
use std::net::IpAddr;
use std::sync::Arc;

/// Batches on the way to one worker, at most: fewer than its mailbox holds, so that listings get in between.
const ON_THE_WAY: usize = 8;

/// One call of [`crate::Workers::install`].
pub(crate) struct Installer<'a, O> {
    mailboxes: &'a [Mailbox],
    owner: &'a Owner,
    is_over: O,
    from: InstallFrom,
    /// By worker: what is not sent yet, and how many batches are on the way.
    lists: Vec<Vec<ConnectionInfo>>,
    on_the_way: usize,
    answers: Arc<ArrayQueue<Batch>>,
    tally: Tally,
}

impl<'a, O: Fn() -> bool> Installer<'a, O> {
    pub(crate) fn new(mailboxes: &'a [Mailbox], owner: &'a Owner, from: InstallFrom, is_over: O) -> Self {
        let batches = mailboxes.len() * ON_THE_WAY;
        Installer {
            mailboxes,
            owner,
            is_over,
            from,
            lists: mailboxes.iter().map(|_| Vec::with_capacity(BATCH_LEN)).collect(),
            on_the_way: 0,
            answers: Arc::new(ArrayQueue::new(batches)),
            tally: Tally::default(),
        }
    }

    /// Deals them out, and returns what became of them once all workers have answered. What a stopping worker does not
    /// take is not counted.
    pub(crate) fn run(mut self, connections: &mut dyn Iterator<Item = ConnectionInfo>) -> Tally {
        for info in connections {
            let worker = self.owner_of(&info);
            self.lists[worker].push(info);
            if self.lists[worker].len() == BATCH_LEN && !self.send(worker) {
                return self.tally;
            }
        }
        for worker in 0..self.lists.len() {
            if !self.lists[worker].is_empty() && !self.send(worker) {
                return self.tally;
            }
        }
        while self.on_the_way > 0 && self.take_answer().is_some() {}
        give_back(self.answers, &self.is_over);
        self.tally
    }

    /// Templates are everyone's; the first worker takes them.
    fn owner_of(&self, info: &ConnectionInfo) -> usize {
        if info.is_template() {
            return 0;
        }
        let worker = match (info.family, info.caddr) {
            (Family::V4, IpAddr::V4(caddr)) => self.owner.of(caddr.to_bits(), info.cport),
            (Family::V6, IpAddr::V6(caddr)) => self.owner.of(caddr.to_bits(), info.cport),
            // The worker will refuse it.
            _ => 0,
        };
        usize::from(worker)
    }

    fn send(&mut self, worker: usize) -> bool {
        let empty = if self.on_the_way == self.answers.capacity() {
            match self.take_answer() {
                Some(list) => list,
                None => return false,
            }
        } else {
            Vec::with_capacity(BATCH_LEN)
        };
        let list = std::mem::replace(&mut self.lists[worker], empty);
        let batch = Batch { list, from: self.from, tally: Tally::default(), answer: self.answers.clone() };
        self.on_the_way += 1;
        self.mailboxes[worker].install(batch, &self.is_over)
    }

    fn take_answer(&mut self) -> Option<Vec<ConnectionInfo>> {
        let mut batch = wait_for(&self.answers, &self.is_over)?;
        self.on_the_way -= 1;
        self.tally.add(batch.tally);
        batch.list.clear();
        Some(batch.list)
    }
}
