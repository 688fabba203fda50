//! The seeded simulation. `SHUNT_SIMULATION_SEED=N` repeats a run, `SHUNT_SIMULATION_STEPS=N` makes it longer,
//! `SHUNT_SIMULATION_RUNS=N` runs that many seeds.

// Unused here, but under a fuzzer no test program of this crate links without it.
use bolero as _;
use shunt_fuzz::simulation::run;

/// Tells the seed of a run that fails.
struct Seed(u64, u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with SHUNT_SIMULATION_SEED={} SHUNT_SIMULATION_STEPS={}", self.0, self.1);
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn flows_keep_their_servers_and_nothing_is_lost_or_left() {
    let steps = from_environment("SHUNT_SIMULATION_STEPS").unwrap_or(5_000);
    let seeds = match from_environment("SHUNT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + from_environment("SHUNT_SIMULATION_RUNS").unwrap_or(4),
    };
    let mut handed_over = 0;
    for seed in seeds {
        let _tell = Seed(seed, steps);
        let summary = run(seed, steps);
        println!("seed {seed}: {summary:?}");
        assert!(summary.received > steps / 2 && summary.flows > 0 && summary.edits > 0, "{summary:?}");
        handed_over += summary.handed_over;
    }
    assert!(handed_over > 0, "no run had several workers");
}
