//! What control works out once per change of a service, so that workers need not.

use super::wrr::Cycle;
use super::{dh, mh, sh};
use crate::tables::{Candidate, Family, SchedulerKind, ServerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many edits of a list a worker can catch up with. 12 bytes each, and only `rr` and `wrr` services have any.
pub const HISTORY: usize = 64;

/// `mh` cannot serve more servers than its table has cells (the kernel answers EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyServers;

impl std::fmt::Display for TooManyServers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "more servers than the {} cells of the mh table", mh::CELLS)
    }
}

impl std::error::Error for TooManyServers {}

/// An edit of the server list, as far as a worker's position depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `rr`: a server was put before the first.
    Added,
    /// `rr`: the server at this place of the list (0 = first) was taken out.
    Removed {
        /// Index in the list before the removal.
        place: u32,
    },
    /// `wrr`: servers or weights changed, and this is the cycle now.
    Cycle(Cycle),
}

/// Names plans; 0 is the default one. Only control draws from it.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

fn next_serial() -> u64 {
    NEXT_SERIAL.fetch_add(1, Relaxed)
}

/// What a scheduler needs beyond the server list. The default is the plan of a service without servers.
///
/// Immutable: each edit makes a new one. It is only right together with the list that it was made for, so prefer
/// [`Service::link`](crate::tables::Service::link) and its siblings.
#[derive(Clone, Debug)]
pub struct SchedulerPlan {
    kind: SchedulerKind,
    family: Family,
    /// Names this plan, and no other.
    serial: u64,
    /// The serial of the plan with which the scheduler was initialised.
    epoch: u64,
    /// Number of edits since the epoch began that matter to positions. Wraps.
    version: u32,
    /// The latest edits, oldest first.
    history: Arc<[Edit]>,
    cycle: Cycle,
    /// `wrr`: the level if nothing had been picked since the epoch began.
    baseline_level: i32,
    /// `dh`, `sh`, `mh`: the table; empty if there is nobody to put into it.
    cells: Arc<[ServerId]>,
    /// Places of the servers in the list, in the order of their ids, for schedulers that come with an id.
    places: Arc<[(ServerId, u32)]>,
}

impl Default for SchedulerPlan {
    fn default() -> Self {
        SchedulerPlan {
            kind: SchedulerKind::None,
            family: Family::V4,
            serial: 0,
            epoch: 0,
            version: 0,
            history: Arc::default(),
            cycle: Cycle::default(),
            baseline_level: 0,
            cells: Arc::default(),
            places: Arc::default(),
        }
    }
}

impl SchedulerPlan {
    /// Initialises a scheduler for this list: a service was added, or its scheduler changed.
    ///
    /// # Errors
    /// [`TooManyServers`], only with `mh`. The kernel then initialises the old scheduler again and refuses the edit.
    pub fn init(
        kind: SchedulerKind,
        family: Family,
        servers: &[Candidate],
    ) -> Result<SchedulerPlan, TooManyServers> {
        let serial = next_serial();
        let mut plan = SchedulerPlan { kind, family, serial, epoch: serial, ..SchedulerPlan::default() };
        match kind {
            SchedulerKind::Wrr => {
                plan.cycle = Cycle::of(servers);
                plan.baseline_level = plan.cycle.top;
            }
            SchedulerKind::Dh => plan.cells = dh::table(servers),
            SchedulerKind::Sh => plan.cells = sh::table(servers),
            SchedulerKind::Mh => plan.cells = mh::table(family, servers)?,
            _ => {}
        }
        plan.places = plan.places_of(servers);
        Ok(plan)
    }

    /// The plan after a server was put at the head of the list; `servers` is the list now.
    #[must_use]
    pub fn added(&self, servers: &[Candidate]) -> SchedulerPlan {
        let mut plan = SchedulerPlan { serial: next_serial(), ..self.clone() };
        match self.kind {
            SchedulerKind::Rr => plan.note(Edit::Added),
            SchedulerKind::Dh => plan.cells = dh::table(servers),
            _ => plan.refresh(servers),
        }
        plan.places = plan.places_of(servers);
        plan
    }

    /// The plan after the server at `place` (0 = first) was taken out; `servers` is the list now.
    #[must_use]
    pub fn removed(&self, servers: &[Candidate], place: usize) -> SchedulerPlan {
        let mut plan = SchedulerPlan { serial: next_serial(), ..self.clone() };
        match self.kind {
            SchedulerKind::Rr => plan.note(Edit::Removed { place: place as u32 }),
            SchedulerKind::Dh => plan.cells = dh::table(servers),
            _ => plan.refresh(servers),
        }
        plan.places = plan.places_of(servers);
        plan
    }

    /// The plan after a server was edited, in whatever respect; `servers` is the list now.
    #[must_use]
    pub fn edited(&self, servers: &[Candidate]) -> SchedulerPlan {
        let mut plan = SchedulerPlan { serial: next_serial(), ..self.clone() };
        plan.refresh(servers);
        plan
    }

    /// What the hooks for a new, a removed and an edited server have in common.
    fn refresh(&mut self, servers: &[Candidate]) {
        match self.kind {
            SchedulerKind::Wrr => {
                self.cycle = Cycle::of(servers);
                self.baseline_level = self.cycle.level_after(self.baseline_level);
                self.note(Edit::Cycle(self.cycle));
            }
            SchedulerKind::Sh => self.cells = sh::table(servers),
            SchedulerKind::Mh => {
                // The kernel ignores that there are too many servers now, and goes on with the old table.
                if let Ok(cells) = mh::table(self.family, servers) {
                    self.cells = cells;
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, edit: Edit) {
        let forgotten = (self.history.len() + 1).saturating_sub(HISTORY);
        self.history = self.history[forgotten..].iter().copied().chain([edit]).collect();
        self.version = self.version.wrapping_add(1);
    }

    fn places_of(&self, servers: &[Candidate]) -> Arc<[(ServerId, u32)]> {
        match self.kind {
            SchedulerKind::Dh
            | SchedulerKind::Sh
            | SchedulerKind::Mh
            | SchedulerKind::Lblc
            | SchedulerKind::Lblcr => {
                let mut places: Vec<_> =
                    servers.iter().enumerate().map(|(place, server)| (server.id, place as u32)).collect();
                places.sort_unstable();
                places.into()
            }
            _ => Arc::default(),
        }
    }

    /// The scheduler that this plan is for.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        self.kind
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The latest `count` edits, oldest first; `None` if so many are not remembered.
    pub(super) fn latest_edits(&self, count: usize) -> Option<&[Edit]> {
        self.history.get(self.history.len().checked_sub(count)?..)
    }

    pub(super) fn baseline_level(&self) -> i32 {
        self.baseline_level
    }

    pub(super) fn cycle(&self) -> Cycle {
        self.cycle
    }

    pub(super) fn cells(&self) -> &[ServerId] {
        &self.cells
    }

    /// The server with this id, if it is in the list that the plan was made for.
    pub(super) fn find<'a>(&self, servers: &'a [Candidate], id: ServerId) -> Option<&'a Candidate> {
        let at = self.places.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        servers.get(self.places[at].1 as usize)
    }
}
