//! A generator for measuring a director that is plugged to the other side of a vhost-user port: flows by the million,
//! TCP and UDP, IPv4 and IPv6, floods, replies, and stamps that tell how long packets were under way.
//!
//! It never drops: a frame that the ring does not take is offered again. So what it says that it sent, the director has
//! received, and the two must agree to the packet.
#![forbid(unsafe_code)]

mod latency;
mod sender;

use anyhow::{Context, Result, bail};
use clap::Parser;
use sender::Sender;
use shunt_compare::orders::{Answer, Order};
use shunt_compare::stream::Flows;
use shunt_dpdk::{Eal, EalConfig, LogLevel, Mempool, NicPort, NicPortConfig, RunningNicPort, spawn_pinned};
use shunt_wire::NicPortId;
use std::io::{BufRead, Write, stdin};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Buffers: what lies in two rings, and more.
const BUFFERS: u32 = 16_384;

/// How long the other side may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads orders from standard input, one of JSON a line, and answers each with a line.
#[derive(Parser)]
struct Arguments {
    /// The core to send on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Path of a vhost-user socket; a port for each.
    #[arg(long, required = true)]
    port: Vec<String>,
}

struct Generator {
    ports: Vec<(RunningNicPort, Sender)>,
    flows: Vec<Flows>,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shunt-generator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    let eal = Eal::init(&EalConfig {
        main_core: arguments.core,
        hugepages: true,
        in_memory: true,
        log_level: LogLevel::Error,
        ..EalConfig::default()
    })?;
    let pool = Mempool::create(&eal, "frames", BUFFERS, 1500, None)?;
    let epoch = Instant::now();
    let mut ports = Vec::new();
    for (index, path) in arguments.port.iter().enumerate() {
        let device = format!("net_vhost{index},iface={path},queues=1");
        let started =
            NicPort::open(&eal, &device, NicPortId(index as u8))?.start(&NicPortConfig::default(), &pool)?;
        let (mut rx, mut tx) = (started.rx, started.tx);
        let queues = rx.pop().zip(tx.pop()).context("a vhost port has a pair of queues")?;
        ports.push((started.nic_port, Sender::new(queues, pool.clone(), epoch)));
    }
    let mut generator = Generator { ports, flows: Vec::new() };
    let serve = move || {
        let result = generator.serve();
        // Ports must go on a thread that DPDK knows, before its end.
        drop(generator);
        result
    };
    spawn_pinned(&eal, "generator", Some(arguments.core), serve)?.join()
}

impl Generator {
    fn serve(&mut self) -> Result<()> {
        answer(&Answer::Done)?;
        for line in stdin().lock().lines() {
            let order: Order = serde_json::from_str(&line?).context("not an order")?;
            let result = self.carry_out(order).unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
            answer(&result)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order) -> Result<Answer> {
        match order {
            Order::Connect { port } => {
                let (nic_port, _) = self.ports.get(port).context("no such port")?;
                let started = Instant::now();
                while !nic_port.link_up() {
                    if started.elapsed() > PATIENCE {
                        bail!("nobody came to port {port} within {PATIENCE:?}");
                    }
                    sleep(Duration::from_millis(5));
                }
                Ok(Answer::Done)
            }
            Order::Load { streams } => {
                self.flows =
                    streams.iter().enumerate().map(|(index, stream)| Flows::new(index, stream)).collect();
                Ok(Answer::Done)
            }
            Order::Visit { port, stream, learn_for } => {
                let (_, sender) = self.ports.get_mut(port).context("no such port")?;
                let flows = self.flows.get_mut(stream).context("no such stream")?;
                let (outcome, servers) = sender.visit(flows, stream, learn_for.is_some())?;
                if let Some(replies) = learn_for {
                    self.flows.get_mut(replies).context("no such stream")?.set_servers(servers);
                }
                Ok(Answer::Outcome(outcome))
            }
            Order::Run(run) => {
                let (_, sender) = self.ports.get_mut(run.port).context("no such port")?;
                if let Some(index) = self.flows.iter().position(|flows| !flows.is_complete()) {
                    bail!("the servers of stream {index} are not known: visit the stream that it answers");
                }
                Ok(Answer::Outcome(sender.run(&run, &mut self.flows)?))
            }
        }
    }
}

fn answer(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    out.flush()?;
    Ok(())
}
