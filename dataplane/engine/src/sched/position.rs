//! Where a worker is in the round of an `rr` or `wrr` service, and how it follows edits of the list.

use super::plan::{Edit, SchedulerPlan};

/// A place in a server list and a weight level, for one state of the list. 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    epoch: u64,
    version: u32,
    /// How many servers of the list are behind us: 0 = the list's head, k = the k-th server was chosen last.
    pub cursor: u32,
    /// `wrr`: servers of at least this weight are chosen. 0 with `rr`.
    pub level: i32,
}

impl Position {
    /// Does to this position what the kernel's hooks did to its own at each edit since the last pick. Returns whether there
    /// was any.
    pub fn catch_up(&mut self, plan: &SchedulerPlan) -> bool {
        if self.epoch == plan.epoch() && self.version == plan.version() {
            return false;
        }
        // A version that is ahead of the plan's cannot be; the difference would be huge and lead to a new start.
        let behind = plan.version().wrapping_sub(self.version) as usize;
        match plan.latest_edits(behind) {
            Some(edits) if self.epoch == plan.epoch() => edits.iter().for_each(|edit| self.follow(edit)),
            _ => (self.cursor, self.level) = (0, plan.baseline_level()),
        }
        (self.epoch, self.version) = (plan.epoch(), plan.version());
        true
    }

    fn follow(&mut self, edit: &Edit) {
        match *edit {
            // A new server is the first of the list, so everyone moves on by one. The head stays the head.
            Edit::Added => self.cursor += u32::from(self.cursor > 0),
            // If the chosen server itself goes, its predecessor (perhaps the head) takes its place.
            Edit::Removed { place } => self.cursor -= u32::from(self.cursor > place),
            Edit::Cycle(cycle) => (self.cursor, self.level) = (0, cycle.level_after(self.level)),
        }
    }
}
