//! Cycles per packet of the engine alone, from memory, next to a floor measured in the same run.
//!
//! The floor does what no balancer of this kind can do without: it copies the same packets into the same buffers, reads
//! one random, prefetched line of 64 bytes for each, and writes as many header bytes.
#![forbid(unsafe_code)]

mod engine;
mod figures;
mod frame;
mod marks;
mod traffic;

use clap::Parser;
use engine::Case;
use figures::Figure;
use serde_json::json;

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
    #[arg(long, default_value_t = 3)]
    rounds: usize,
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
            Case::New => drop(figures::new_into_table(10, arguments.packets as u32)),
            Case::NewWide => drop(figures::new_into_table(1000, arguments.packets as u32)),
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

fn cases(arguments: &Arguments) {
    let ghz = traffic::clock_ghz();
    let (fresh, established): (Vec<_>, Vec<_>) =
        arguments.cases.iter().copied().partition(|case| !case.is_established());
    if !arguments.json {
        println!("engine alone, UDP, {ghz:.2} GHz: cycles per packet (median of {})", arguments.rounds);
        let names: Vec<String> = established.iter().map(|case| format!("{:>8}", case.name())).collect();
        println!("{:>10} {:>8} {}", "flows", "floor", names.join(" "));
    }
    let mut all = Vec::new();
    for &flows in &arguments.flows {
        let cycles = |mut run: Box<dyn FnMut(u64) -> f64>| {
            let mut rounds: Vec<f64> = (0..arguments.rounds).map(|_| run(arguments.packets) * ghz).collect();
            rounds.sort_by(f64::total_cmp);
            rounds[rounds.len() / 2]
        };
        let floor = cycles(engine::floor(flows));
        let rest: Vec<f64> = established.iter().map(|&case| cycles(engine::measure(case, flows))).collect();
        for (case, cycles) in established.iter().zip(&rest) {
            all.push(
                json!({ "name": case.name(), "flows": flows, "cycles": cycles, "floor": floor, "ghz": ghz }),
            );
        }
        if !arguments.json {
            let rest: Vec<String> = rest.iter().map(|cycles| format!("{cycles:>8.1}")).collect();
            println!("{flows:>10} {floor:>8.1} {}", rest.join(" "));
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
