//! Schedulers by the names that operators type (spec `scheduling.md` §0).

use shunt_engine::tables::SchedulerKind;

const NAMES: [(&str, SchedulerKind); 15] = [
    ("rr", SchedulerKind::Rr),
    ("wrr", SchedulerKind::Wrr),
    ("lc", SchedulerKind::Lc),
    ("wlc", SchedulerKind::Wlc),
    ("lblc", SchedulerKind::Lblc),
    ("lblcr", SchedulerKind::Lblcr),
    ("dh", SchedulerKind::Dh),
    ("sh", SchedulerKind::Sh),
    ("sed", SchedulerKind::Sed),
    ("nq", SchedulerKind::Nq),
    ("fo", SchedulerKind::Fo),
    ("ovf", SchedulerKind::Ovf),
    ("mh", SchedulerKind::Mh),
    ("twos", SchedulerKind::Twos),
    ("none", SchedulerKind::None),
];

/// The scheduler of this name.
#[must_use]
pub fn scheduler_of_name(name: &str) -> Option<SchedulerKind> {
    NAMES.iter().find(|(have, _)| *have == name).map(|(_, kind)| *kind)
}

/// The name of a scheduler.
#[must_use]
pub fn name_of_scheduler(kind: SchedulerKind) -> &'static str {
    NAMES.iter().find(|(_, have)| *have == kind).map_or("none", |(name, _)| name)
}
