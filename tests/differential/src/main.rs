//! `shunt-differential`: see `scripts/differential`.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use shunt_differential::generate::generate;
use shunt_differential::oracle::Oracle;
use shunt_differential::play::{Played, play};
use shunt_differential::scenario::Scenario;
use shunt_differential::shrink::shrink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Plays random scenarios on a real Linux kernel's IPVS and on the engine, and shrinks the first difference to a case
/// that scripts/replay shows.
#[derive(Parser)]
struct Options {
    /// Seed of the first scenario; each one after it has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many scenarios.
    #[arg(long, default_value_t = 200)]
    scenarios: u64,
    /// Folder with a built oracle: a real kernel that is driven frame by frame.
    #[arg(long, env = "SHUNT_ORACLE")]
    oracle: Option<PathBuf>,
    /// Kernels at a time.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Folder for cases that differ.
    #[arg(long, default_value = "target/differential")]
    cases: PathBuf,
    /// Go on after a difference, and shrink none.
    #[arg(long)]
    keep_going: bool,
    /// Write a case for every scenario, played on a kernel that was just booted: to become a test.
    #[arg(long)]
    record: bool,
}

/// Exit status where no oracle is.
const SKIPPED: u8 = 77;
/// A kernel is used for that many scenarios.
const SCENARIOS_PER_BOOT: u64 = 100;
/// Plays that shrinking may cost.
const SHRINK_TRIES: usize = 400;

/// What the jobs share.
struct Run<'a> {
    options: &'a Options,
    oracle: &'a Path,
    next: AtomicU64,
    played: AtomicU64,
    found: Mutex<Vec<u64>>,
    stop: AtomicBool,
    begun: Instant,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let Some(oracle) = options.oracle.clone().filter(|folder| Oracle::is_built(folder)) else {
        println!("SKIPPED: no built oracle (a real kernel) in the folder of --oracle or $SHUNT_ORACLE");
        return Ok(ExitCode::from(SKIPPED));
    };
    let run = Run {
        options: &options,
        oracle: &oracle,
        next: AtomicU64::new(options.seed),
        played: AtomicU64::new(0),
        found: Mutex::default(),
        stop: AtomicBool::new(false),
        begun: Instant::now(),
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| run.job())).collect();
        drop(jobs.into_iter().map(|job| job.join().expect("a job panicked")).collect::<Result<Vec<()>>>()?);
        anyhow::Ok(())
    })?;
    let found = run.found.lock().expect("no job panicked");
    let seconds = run.begun.elapsed().as_secs();
    println!(
        "{} scenarios from seed {}, {} with a difference, {seconds} s",
        run.played.load(Ordering::Relaxed),
        options.seed,
        found.len()
    );
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A kernel, booted anew when it has to be.
struct Kernel<'a> {
    folder: &'a Path,
    oracle: Option<Oracle>,
    used: u64,
}

impl Kernel<'_> {
    /// A kernel that remembers nothing.
    fn clean(&mut self) -> Result<&mut Oracle> {
        self.used += 1;
        let reset = match &mut self.oracle {
            Some(oracle) if !self.used.is_multiple_of(SCENARIOS_PER_BOOT) => oracle.reset().unwrap_or(false),
            _ => false,
        };
        if reset { Ok(self.oracle.as_mut().expect("just reset")) } else { self.fresh() }
    }

    /// A kernel that was just booted.
    fn fresh(&mut self) -> Result<&mut Oracle> {
        static BOOTS: AtomicU64 = AtomicU64::new(0);
        self.oracle = None;
        let name = format!("diff-{}-{}", std::process::id(), BOOTS.fetch_add(1, Ordering::Relaxed));
        Ok(self.oracle.insert(Oracle::boot(self.folder, &name)?))
    }

    fn play(&mut self, scenario: &Scenario, name: &str) -> Result<Played> {
        let played = play(self.clean()?, scenario, name);
        if scenario.leaves_traces || played.is_err() {
            self.oracle = None;
        }
        played
    }
}

impl Kernel<'_> {
    /// Plays a scenario on another kernel if one dies: stopped and continued from outside, it may.
    fn play_surely(&mut self, scenario: &Scenario, name: &str) -> Result<Played> {
        const KERNELS: usize = 8;
        for _ in 1..KERNELS {
            match self.play(scenario, name) {
                Err(error) => println!("{name}: {error}; once more, on another kernel"),
                played => return played,
            }
        }
        self.play(scenario, name)
    }
}

impl Run<'_> {
    fn job(&self) -> Result<()> {
        let mut kernel = Kernel { folder: self.oracle, oracle: None, used: 0 };
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.options.seed + self.options.scenarios {
                break;
            }
            let (scenario, name) = (generate(seed), format!("seed-{seed}"));
            let mut played = kernel.play_surely(&scenario, &name)?;
            if played.difference.is_some() || self.options.record {
                // A kernel that was used before may remember something: only one that was not is a witness.
                kernel.oracle = None;
                played = kernel.play_surely(&scenario, &name)?;
            }
            if let Some(difference) = &played.difference {
                println!("differs {name}: {difference}");
                self.found.lock().expect("no job panicked").push(seed);
                if self.options.keep_going {
                    self.save(&played)?;
                } else if !self.stop.swap(true, Ordering::Relaxed) {
                    self.reduce(&mut kernel, &scenario, &name)?;
                }
            }
            if self.options.record && played.difference.is_none() {
                self.save(&played)?;
            }
            self.progress();
        }
        Ok(())
    }

    fn progress(&self) {
        const EVERY: u64 = 50;
        let played = self.played.fetch_add(1, Ordering::Relaxed) + 1;
        if played.is_multiple_of(EVERY) {
            let found = self.found.lock().expect("no job panicked").len();
            println!("{played} scenarios, {found} with a difference, {} s", self.begun.elapsed().as_secs());
        }
    }

    fn reduce(&self, kernel: &mut Kernel, scenario: &Scenario, name: &str) -> Result<()> {
        println!("shrinking {name}");
        let mut differs = |scenario: &Scenario| Ok(kernel.play_surely(scenario, name)?.difference.is_some());
        let small = shrink(scenario, SHRINK_TRIES, &mut differs)?;
        kernel.oracle = None;
        let mut played = kernel.play_surely(&small, name)?;
        if played.difference.is_none() {
            kernel.oracle = None;
            played = kernel.play_surely(scenario, name)?;
        }
        if let Some(difference) = &played.difference {
            println!("differs {name}: {difference}");
        }
        self.save(&played)
    }

    fn save(&self, played: &Played) -> Result<()> {
        let mut case = played.case.clone();
        case.title = format!("A random scenario: {}", case.name);
        if let Some(difference) = &played.difference {
            case.explain = format!("Differed when it was found: {difference}");
        }
        let folder = self.options.cases.join(&case.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("case.json");
        std::fs::write(&file, serde_json::to_string_pretty(&case)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}: scripts/replay -v {}", file.display(), folder.display());
        Ok(())
    }
}
