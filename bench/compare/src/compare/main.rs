//! Measures shuntd next to testpmd on the same ports, and prints and writes what came out. `scripts/bench` calls it.
#![forbid(unsafe_code)]

mod cases;
mod child;
mod director;
mod engine;
mod generator;
mod measure;
mod pcap;
mod report;
mod rig;
mod special;
mod testpmd;

use anyhow::{Context, Result};
use cases::Case;
use clap::Parser;
use measure::Measure;
use report::Report;
use rig::Place;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Needs root, hugepages, and two cores of its own.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of shuntd, shunt-generator and shunt-bench.
    #[arg(long)]
    bin: PathBuf,
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Short rounds, and only what counts most.
    #[arg(long)]
    quick: bool,
    /// Only measurements whose name contains this; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Says what there is to measure, and ends.
    #[arg(long)]
    list: bool,
    /// The core of the generator, and of shuntd's control.
    #[arg(long, default_value_t = 0)]
    generator_core: usize,
    /// The core of shuntd's worker, and of testpmd.
    #[arg(long, default_value_t = 1)]
    worker_core: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shunt-compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything could be measured. A target that is missed is a result and no failure.
fn run(arguments: &Arguments) -> Result<bool> {
    let chosen = |case: &Case| match arguments.only.as_slice() {
        [] => case.quick || !arguments.quick,
        only => only.iter().any(|part| case.name.contains(part.as_str())),
    };
    let cases: Vec<Case> = cases::all().into_iter().filter(chosen).collect();
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    anyhow::ensure!(!cases.is_empty(), "no measurement is called like that; --list tells their names");
    stand_out();
    let folder = tempfile::Builder::new().prefix("shunt-bench-").tempdir()?;
    let place = Place {
        bin: arguments.bin.clone(),
        folder: folder.path().to_owned(),
        generator_core: arguments.generator_core,
        worker_core: arguments.worker_core,
    };
    let mut report = Report {
        machine: machine(),
        commit: said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
        dpdk: said("pkg-config", &["--modversion", "libdpdk"]),
        quick: arguments.quick,
        ..Report::default()
    };
    println!("{}\n{}, DPDK {}\n\n{}", report.machine, report.commit, report.dpdk, report::HEADING);
    let mut measure = Measure::new(place, arguments.quick);
    for case in &cases {
        match measure.case(case) {
            Ok(rows) => {
                for row in rows {
                    println!("{}", report::line(&row));
                    report.rows.push(row);
                }
            }
            Err(error) => {
                println!("{:<26} FAILED: {error:#}", case.name);
                report.failures.push((case.name.to_owned(), format!("{error:#}")));
                // Whatever is in disorder goes, and the next measurement begins anew.
                measure.discard();
            }
        }
        // After each, so that an interrupted run has its report.
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&arguments.json, text + "\n").with_context(|| arguments.json.display().to_string())?;
    }
    println!("\nwritten to {}", arguments.json.display());
    Ok(report.failures.is_empty())
}

/// Its own session, and a share of the processors that strangers do not get: where Linux groups processes by session
/// (autogroup), being nice counts only within one. Without the permission, or such groups, it goes without.
fn stand_out() {
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-20");
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = said("uname", &["-r"]);
    let model = field("model name").unwrap_or_default();
    let mhz = field("cpu MHz").unwrap_or_default();
    format!("{cores} cores, {model}, {mhz} MHz, Linux {kernel}")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
