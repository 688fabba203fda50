//! `shunt-rig`: the sub-commands are the tools that scripts use inside the namespaces of a lab.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use shunt_rig::transcript::{Director, Transcript, files_of};
use shunt_rig::{body, decap, http, udp};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "shunt-rig", about = "Clients and servers for shunt's namespace tests")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// GET by HTTP/1.1, a new TCP connection each time; says who answered. Exits 1 if any request failed
    Http {
        /// http://ADDRESS[:PORT]/PATH, the address in numbers
        url: String,
        /// How many requests in all
        #[arg(long, default_value_t = 1)]
        requests: u64,
        /// How many at the same time
        #[arg(long, default_value_t = 1)]
        concurrency: u64,
        /// Seconds of patience
        #[arg(long, default_value_t = 5)]
        timeout: u64,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        /// Fetch once, and compare the SHA-256 of the body
        #[arg(long, value_name = "SHA256")]
        download: Option<String>,
    },
    /// Answer UDP datagrams with one's name, a zero byte and the datagram
    UdpEcho {
        /// ADDRESS:PORT, may be repeated
        #[arg(long, required = true)]
        bind: Vec<SocketAddr>,
        /// What to call oneself
        #[arg(long)]
        name: String,
    },
    /// Ask a UDP echo once with each size. Exits 1 if any answer is missing or wrong
    UdpClient {
        /// ADDRESS:PORT
        target: SocketAddr,
        /// Sizes in bytes, FIRST..LAST, both included
        #[arg(long, default_value = "1..1400", value_parser = parse_sizes)]
        sizes: RangeInclusive<usize>,
        /// Milliseconds of patience
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Be the far end of IP-in-IP tunnels (4in4, 6in4, 4in6, 6in6) of this network namespace
    Decap,
    /// Hold transcripts of the command line against a real shuntd, in this network namespace: see scripts/transcript
    Transcript {
        /// The folder of shuntd, and of shuntadm under all of its names
        #[arg(long)]
        bin: PathBuf,
        /// A folder for configuration, socket and log
        #[arg(long)]
        dir: PathBuf,
        /// Transcripts, or folders of them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write a body whose every byte depends on its place, and print its SHA-256
    Body {
        /// Length in bytes
        #[arg(long)]
        len: u64,
        /// Another seed, another body
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where to
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shunt-rig: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all went well; an error is a failure to try.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Http { url, requests, concurrency, timeout, json, download } => {
            let (target, path) = parse_url(&url)?;
            let load =
                http::Load { target, path, requests, concurrency, timeout: Duration::from_secs(timeout) };
            match download {
                Some(expected) => fetch(&load, &expected, json),
                None => {
                    let report = http::run(&load);
                    print(&report, json)?;
                    Ok(report.is_perfect())
                }
            }
        }
        Command::UdpEcho { bind, name } => serve_udp(&bind, &name),
        Command::UdpClient { target, sizes, timeout_ms, json } => {
            let report = udp::run_sizes(target, sizes, Duration::from_millis(timeout_ms))?;
            print(&report, json)?;
            Ok(report.is_perfect())
        }
        Command::Decap => serve_tunnels(),
        Command::Transcript { bin, dir, files } => run_transcripts(&bin, &dir, &files),
        Command::Body { len, seed, out } => {
            let file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
            let mut file = BufWriter::new(file);
            println!("{}", body::write_body(&mut file, len, seed)?);
            file.flush()?;
            Ok(true)
        }
    }
}

/// One line for each transcript, and a tally. Returns whether all passed.
fn run_transcripts(bin: &Path, dir: &Path, paths: &[PathBuf]) -> Result<bool> {
    let (mut passed, mut failed) = (0, 0);
    for file in files_of(paths)? {
        match run_transcript(bin, dir, &file) {
            Ok(true) => passed += 1,
            Ok(false) => failed += 1,
            Err(error) => {
                failed += 1;
                println!("differs {}: {error:#}", file.display());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}

fn run_transcript(bin: &Path, dir: &Path, file: &Path) -> Result<bool> {
    let transcript = Transcript::read(file)?;
    let outcome = transcript.run(&Director::start(bin, dir)?)?;
    let (name, differences) = (&transcript.name, &outcome.differences);
    if differences.is_empty() {
        println!("ok {name}");
    } else {
        println!("differs {name}: {} of {} commands", differences.len(), outcome.same + differences.len());
        differences.iter().for_each(|difference| print!("  {difference}"));
    }
    if outcome.not_applicable > 0 {
        println!("  skipped: {} commands that look at files of the kernel", outcome.not_applicable);
    }
    Ok(outcome.differences.is_empty())
}

fn fetch(load: &http::Load, expected: &str, json: bool) -> Result<bool> {
    let got = http::download(load).map_err(anyhow::Error::msg)?;
    let right = got.sha256 == expected.to_ascii_lowercase();
    if json {
        println!("{}", serde_json::to_string(&got)?);
    } else {
        let verdict = if right { "as expected" } else { "WRONG" };
        println!(
            "{} bytes from {} in {:.2} s, SHA-256 {} {verdict}",
            got.len, got.server, got.seconds, got.sha256
        );
    }
    Ok(right)
}

fn serve_udp(bind: &[SocketAddr], name: &str) -> Result<bool> {
    let mut threads = Vec::new();
    for address in bind {
        let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?;
        let name = name.to_owned();
        threads.push(thread::spawn(move || udp::serve(&socket, &name)));
    }
    println!("ready");
    for thread in threads {
        thread.join().expect("an echo thread panicked")?;
    }
    Ok(true)
}

fn serve_tunnels() -> Result<bool> {
    let tunnels = decap::Tunnel::open_all().context("raw sockets are not permitted here: run as root")?;
    println!("ready");
    let threads: Vec<_> = tunnels.into_iter().map(|tunnel| thread::spawn(move || tunnel.run())).collect();
    for thread in threads {
        thread.join().expect("a tunnel thread panicked")?;
    }
    Ok(true)
}

fn print(report: &(impl Display + serde::Serialize), json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

fn parse_url(url: &str) -> Result<(SocketAddr, String)> {
    let Some(rest) = url.strip_prefix("http://") else { bail!("{url}: an http:// address is needed") };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let target = host.parse().or_else(|_| format!("{host}:80").parse());
    Ok((target.with_context(|| format!("{host}: not an address in numbers"))?, format!("/{path}")))
}

fn parse_sizes(text: &str) -> Result<RangeInclusive<usize>> {
    let (first, last) = text.split_once("..").context("FIRST..LAST is needed")?;
    let (first, last) = (first.parse()?, last.parse()?);
    let allowed = 1..=udp::QUESTION_LEN_MAX;
    ensure!(
        allowed.contains(&first) && allowed.contains(&last) && first <= last,
        "sizes must lie in {allowed:?}"
    );
    Ok(first..=last)
}
