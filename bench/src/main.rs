//! Cycles per packet of the engine alone, from memory, next to a floor measured in the same run.
//!
//! The floor does what no balancer of this kind can do without: it copies the same packets into the same buffers, reads
//! one random, prefetched line of 64 bytes for each, and writes as many header bytes.
#![forbid(unsafe_code)]

mod engine;
mod frame;
mod traffic;

use clap::Parser;

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
    cases: Vec<engine::Case>,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

fn main() {
    let arguments = Arguments::parse();
    let ghz = traffic::clock_ghz();
    println!("engine alone, UDP, IPv4, {ghz:.2} GHz: cycles per packet (median of {})", arguments.rounds);
    let (fresh, established): (Vec<_>, Vec<_>) =
        arguments.cases.iter().copied().partition(|&case| case == engine::Case::New);
    let names: Vec<String> = established.iter().map(|case| format!("{:>8}", case.name())).collect();
    println!("{:>10} {:>8} {}", "flows", "floor", names.join(" "));
    for &flows in &arguments.flows {
        let cycles = |mut run: Box<dyn FnMut(u64) -> f64>| {
            let mut rounds: Vec<f64> = (0..arguments.rounds).map(|_| run(arguments.packets) * ghz).collect();
            rounds.sort_by(f64::total_cmp);
            rounds[rounds.len() / 2]
        };
        let floor = cycles(engine::floor(flows));
        let rest: Vec<String> = established
            .iter()
            .map(|&case| format!("{:>8.1}", cycles(engine::measure(case, flows))))
            .collect();
        println!("{flows:>10} {floor:>8.1} {}", rest.join(" "));
    }
    if !fresh.is_empty() {
        println!("new UDP flows, wlc, 10 servers: {:.2} M/s", engine::new_flows() / 1e6);
    }
}
