//! Every committed case is as recorded.

use shunt_replay::{Case, case, replay};
use std::path::Path;

#[test]
fn cases_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let files = case::find(&folder).expect("committed cases");
    let mut complaints = Vec::new();
    for file in &files {
        let case = Case::read(file).expect("a committed case");
        complaints.extend(replay(&case).differences.first().map(|first| format!("{}: {first}", case.name)));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
