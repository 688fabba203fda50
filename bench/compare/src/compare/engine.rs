//! The engine alone: what `shunt-bench` measures, as rows of the table.

use crate::report::{Check, Row};
use crate::rig::Place;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::Command;

/// Packets of each round: a tenth of a second or two. Rounds of the floor and of a case alternate.
const PACKETS: &str = "2000000";
const ROUNDS: &str = "11";
/// The table size at which targets hold.
const AT: u32 = 1_000_000;
/// 100 million connections of 85 bytes, their packets, and something to spare. KiB.
const HOLD_KIB: u64 = 11 << 20;

/// Both cores, for its two threads; nothing else runs meanwhile.
fn bench(place: &Place, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(format!("{},{}", place.worker_core, place.generator_core));
    let output = command.arg(place.bin.join("shunt-bench")).args(arguments).arg("--json").output()?;
    ensure!(output.status.success(), "shunt-bench: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what shunt-bench printed")
}

/// Established flows, a row for each case and table size. The ceiling is the floor of the engine's work.
pub fn cycles(place: &Place) -> Result<Vec<Row>> {
    let arguments = ["--flows", "1000,1000000", "--cases", "dr,tunnel,nat,reply,dr6,nat6"];
    let results = bench(place, &[&arguments[..], &["--packets", PACKETS, "--rounds", ROUNDS]].concat())?;
    results.iter().map(cycles_row).collect()
}

fn cycles_row(result: &Value) -> Result<Row> {
    let field = |name: &str| result[name].as_f64().with_context(|| format!("shunt-bench names no {name}"));
    let (cycles, floor, times, ghz) = (field("cycles")?, field("floor")?, field("times")?, field("ghz")?);
    let (name, flows) = (result["name"].as_str().context("a name")?, field("flows")? as u32);
    // Multiples of the floor, and cycles: see docs/PERFORMANCE.md.
    let limits = match name {
        "dr" => Some((2.0, 100.0)),
        "tunnel" => Some((2.0, 110.0)),
        "nat" | "reply" => Some((2.5, 140.0)),
        _ => None,
    };
    let checks = limits.filter(|_| flows == AT).map(|(multiple, most)| {
        vec![Check::at_most("times the floor", times, multiple), Check::at_most("cycles", cycles, most)]
    });
    Ok(Row {
        name: format!("{name}-{flows}"),
        method: name.trim_end_matches('6').to_owned(),
        family: if name.ends_with('6') { "ipv6" } else { "ipv4" }.to_owned(),
        flows,
        pattern: "uniform".to_owned(),
        mpps: 1000.0 * ghz / cycles,
        ceiling_mpps: Some(1000.0 * ghz / floor),
        ratio: Some(1.0 / times),
        cycles_per_packet: Some(cycles),
        checks: checks.unwrap_or_default(),
        ..Row::default()
    })
}

/// New flows, memory, two workers.
pub fn figures(place: &Place) -> Result<Row> {
    let results = bench(place, &["--figures", "new,memory,workers", "--flows", "1000000"])?;
    let value = |name: &str| named(&results, name);
    let checks = vec![
        Check::at_least("new flows, wlc, 10 servers, M/s", value("new/wlc/10")?, 3.0),
        Check::at_least("the same, 1000 servers, to 10", value("new/1000 to 10")?, 0.95),
        Check::at_least("the same, 10 servers, to rr", value("new/wlc to rr")?, 0.9),
        Check::at_most("bytes per connection, dr", value("memory/dr")?, 96.0),
        Check::at_most("bytes per connection, nat", value("memory/nat")?, 128.0),
        Check::at_least("two workers to one", value("workers/2 to 1")?, 1.9),
    ];
    Ok(Row { mpps: value("new/wlc/10")?, checks, ..row(&results, "all new", 1 << 20) })
}

/// 100 million connections.
pub fn hold(place: &Place) -> Result<Row> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("MemAvailable")?;
    let available: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    ensure!(
        available > HOLD_KIB,
        "it needs {} GiB of free memory, there are {}",
        HOLD_KIB >> 20,
        available >> 20
    );
    let results = bench(place, &["--figures", "hold"])?;
    let mpps = named(&results, "hold/100000000/forwarded")?;
    Ok(Row { mpps, ..row(&results, "uniform", 100_000_000) })
}

fn named(results: &[Value], name: &str) -> Result<f64> {
    let found =
        results.iter().find(|result| result["name"] == name).and_then(|result| result["value"].as_f64());
    found.with_context(|| format!("shunt-bench measured no {name}"))
}

fn row(results: &[Value], pattern: &str, flows: u32) -> Row {
    let detail = |result: &Value| {
        let name = result["name"].as_str().unwrap_or_default().to_owned();
        (
            name,
            json!(format!(
                "{:.2} {}",
                result["value"].as_f64().unwrap_or_default(),
                result["unit"].as_str().unwrap_or_default()
            )),
        )
    };
    Row {
        method: "dr".to_owned(),
        family: "ipv4".to_owned(),
        flows,
        pattern: pattern.to_owned(),
        details: results.iter().map(detail).collect(),
        ..Row::default()
    }
}
