//! `stats`: counters and rates of the whole director, as `/proc/net/ip_vs_stats` has them.

use super::{DirectorCommands, usage};
use crate::director::Counters;
use crate::server::Request;
use serde_json::{Map, Value, json};
use std::io;

/// In the order of [`Counters`]; `--json -L` has the same names.
const NAMES: [&str; 5] = ["connections", "in_packets", "out_packets", "in_bytes", "out_bytes"];

pub(super) fn show(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let total = commands.director().snapshot().total();
    let (counters, rates) = (total.counters(), total.rates());
    match arguments {
        [] => {
            writeln!(request.stdout, "{:<12}{:>22}{:>22}", "", "total", "per second")?;
            for (name, (counter, rate)) in NAMES.iter().zip(counters.0.iter().zip(rates.0)) {
                writeln!(request.stdout, "{name:<12}{counter:>22}{rate:>22}")?;
            }
        }
        [option] if option == "--json" => {
            let object = json!({ "statistics": named(counters), "rates": named(rates) });
            writeln!(request.stdout, "{object}")?;
        }
        _ => return usage(request, "stats"),
    }
    Ok(0)
}

fn named(counters: Counters) -> Map<String, Value> {
    NAMES.iter().zip(counters.0).map(|(name, value)| ((*name).to_owned(), value.into())).collect()
}
