//! Cycles per packet of the engine alone, from memory, next to a floor measured in the same run.
//!
//! A floor does what no balancer of this kind can do without: it copies the same packets into the same buffers, reads
//! one random, prefetched line of 64 bytes for each, and writes the header bytes that the method writes.
#![forbid(unsafe_code)]

mod engine;
mod figures;
mod floor;
mod frame;
mod marks;
mod traffic;

use clap::Parser;
use engine::Case;
use figures::Figure;
use serde_json::json;
use shunt_engine::tables::SchedulerKind::{Rr, Wlc};
use std::num::NonZeroUsize;

/// Which table sizes and methods to measure.
#[derive(Debug, Parser)]
struct Arguments {
    /// Connections in the table.
    #[arg(long, value_delimiter = ',', default_value = "1000,32000,1000000")]
    flows: Vec<u32>,
    /// Packets per measurement.
    #[arg(long, default_value_t = 20_000_000)]
    packets: u64,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "dr,tunnel,nat,reply,new")]
    cases: Vec<Case>,
    /// Further figures, in place of the cases.
    #[arg(long, value_delimiter = ',')]
    figures: Vec<Figure>,
    /// Connections of the figure "hold"; 85 bytes each.
    #[arg(long, default_value_t = 100_000_000)]
    hold: u32,
    /// Rounds; the median counts.
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Runs the cases once each and prints nothing, for callgrind.
    #[arg(long)]
    bare: bool,
    /// Prints JSON: cases with their floors, and figures.
    #[arg(long)]
    json: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.bare {
        bare(&arguments);
    } else if arguments.figures.is_empty() {
        cases(&arguments);
    } else {
        figures(&arguments);
    }
}

fn bare(arguments: &Arguments) {
    for &case in &arguments.cases {
        match case {
            Case::New => drop(figures::into_table(Wlc, 10, arguments.packets as u32)),
            Case::NewRr => drop(figures::into_table(Rr, 10, arguments.packets as u32)),
            Case::NewWide => drop(figures::into_table(Wlc, 1000, arguments.packets as u32)),
            Case::Flood => drop(figures::flood(1 << 16, arguments.packets as u32)),
            case => drop(engine::measure(case, arguments.flows[0])(arguments.packets)),
        }
    }
}

fn figures(arguments: &Arguments) {
    let flows = *arguments.flows.last().unwrap_or(&1_000_000);
    let mut all = Vec::new();
    for &figure in &arguments.figures {
        for (name, value, unit) in figures::measure(figure, flows, arguments.hold) {
            if !arguments.json {
                println!("{name:<28} {value:>10.2} {unit}");
            }
            all.push(json!({ "name": name, "value": value, "unit": unit }));
        }
    }
    if arguments.json {
        println!("{}", json!(all));
    }
}

/// The middle one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cases(arguments: &Arguments) {
    let ghz = traffic::clock_ghz();
    let (fresh, established): (Vec<_>, Vec<_>) =
        arguments.cases.iter().copied().partition(|case| !case.is_established());
    if !arguments.json && !established.is_empty() {
        println!(
            "engine alone, UDP, {ghz:.2} GHz: cycles per packet, times the floor (medians of {})",
            arguments.rounds
        );
        let names: Vec<String> = established.iter().map(|case| format!("{:>13}", case.name())).collect();
        println!("{:>10} {}", "flows", names.join(" "));
    }
    let mut all = Vec::new();
    let sizes = if established.is_empty() { &[][..] } else { &arguments.flows };
    for &flows in sizes {
        let mut line = format!("{flows:>10}");
        for &case in &established {
            let mut floor = floor::floor(case, flows);
            let mut run = engine::measure(case, flows);
            // Alternately: what the machine has for us changes from second to second.
            let rounds = (0..arguments.rounds.get()).map(|_| {
                let floor = floor(arguments.packets) * ghz;
                (floor, run(arguments.packets) * ghz)
            });
            let rounds: Vec<(f64, f64)> = rounds.collect();
            let floor = median(rounds.iter().map(|(floor, _)| *floor));
            let cycles = median(rounds.iter().map(|(_, cycles)| *cycles));
            let times = median(rounds.iter().map(|(floor, cycles)| cycles / floor));
            all.push(json!({
                "name": case.name(), "flows": flows, "cycles": cycles, "floor": floor, "times": times, "ghz": ghz,
            }));
            line += &format!(" {cycles:>7.1} {times:>5.2}");
        }
        if !arguments.json {
            println!("{line}");
        }
    }
    if arguments.json {
        println!("{}", json!(all));
    } else if !fresh.is_empty() {
        for (name, value, unit) in figures::measure(Figure::New, 0, 0) {
            println!("{name:<28} {value:>10.2} {unit}");
        }
    }
}
