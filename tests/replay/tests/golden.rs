//! Every committed case is as recorded, or stands in [`DIFFERENT`] with the reason. A listed case that passes fails the
//! test: its line has to go.

use shunt_replay::{Case, case, replay};
use std::path::Path;

/// Cases that are known to differ, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("sched-twos", "its picks are random numbers of the kernel"),
    ("stats-rate", "the packets of its first 24 s are not part of the recording"),
];

#[test]
fn cases_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = case::find(&folder).expect("committed cases");
    let mut complaints = Vec::new();
    let mut listed: Vec<&str> = DIFFERENT.iter().map(|(name, _)| *name).collect();
    for file in &files {
        let case = Case::read(file).expect("a committed case");
        let known = listed.iter().position(|name| *name == case.name).map(|at| listed.swap_remove(at));
        match (replay(&case).differences.first(), known) {
            (None, None) | (Some(_), Some(_)) => {}
            (None, Some(name)) => complaints.push(format!("{name} passes now: take it off the list")),
            (Some(first), None) => complaints.push(format!("{}: {first}", case.name)),
        }
    }
    complaints.extend(listed.iter().map(|name| format!("there is no case {name}")));
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
