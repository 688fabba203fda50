//! `shunt-replay [-v] DIR…`: replays recorded cases. See `scripts/replay`.
#![forbid(unsafe_code)]

use anyhow::Result;
use shunt_replay::{Case, case, replay};
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: shunt-replay [-v] DIR…
Replays every case.json at or below each DIR. Prints `ok NAME' or `differs NAME: what, expected, got' for each case, and
at last how many passed. -v: all differences, not only the first one, and the commands without a counterpart.";

/// Status for a wrong command line, as of other tools.
const WRONG_USE: u8 = 2;

fn main() -> Result<ExitCode> {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let verbose = paths.iter().any(|word| word == "-v");
    paths.retain(|word| word != "-v");
    if paths.is_empty() || paths.iter().any(|word| word.starts_with('-')) {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(WRONG_USE));
    }
    let (mut passed, mut failed) = (0, 0);
    for path in &paths {
        for file in case::find(Path::new(path))? {
            // A case that cannot be read must not hide the others.
            let as_recorded = match Case::read(&file) {
                Ok(case) => run(&case, verbose)?,
                Err(error) => {
                    writeln!(stdout(), "differs {}: expected a case, got {:#}", file.display(), error)?;
                    false
                }
            };
            if as_recorded { passed += 1 } else { failed += 1 }
        }
    }
    writeln!(stdout(), "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Replays one case and prints how it went. True if nothing differs.
fn run(case: &Case, verbose: bool) -> Result<bool> {
    let report = replay(case);
    let mut out = stdout().lock();
    if verbose {
        for command in &report.not_applicable {
            writeln!(out, "not applicable in {}: {command}", case.name)?;
        }
    }
    let shown = if verbose { report.differences.len() } else { 1 };
    for difference in report.differences.iter().take(shown) {
        writeln!(out, "differs {}: {difference}", case.name)?;
    }
    if report.differences.is_empty() {
        writeln!(out, "ok {}", case.name)?;
    }
    Ok(report.differences.is_empty())
}
