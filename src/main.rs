//! `shuntd`: the one place that knows control, worker and dpdk.
#![forbid(unsafe_code)]

mod arguments;
mod dataplane;
mod machine;

use anyhow::{Context, Result};
use arguments::Arguments;
use clap::Parser;
use dataplane::WorkersDataplane;
use shunt_control::config::Config;
use shunt_control::log::Log;
use shunt_control::mirror::NeighbourRequests;
use shunt_control::notify::Notify;
use shunt_control::runtime::{self, Parts, Runtime};
use shunt_control::server::SocketLock;
use shunt_dpdk::Eal;
use shunt_worker::Workers;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

const VERSION: &str = env!("SHUNT_VERSION");

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shuntd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config)?;
    runtime::check(&config)?;
    if arguments.check {
        println!("{}: correct: {}", arguments.config.display(), config.summary());
        for missing in machine::missing(&config) {
            eprintln!("shuntd: not on this machine: {missing}");
        }
        return Ok(());
    }
    let log = Log::start(config.log.level);
    // Before anything that a second instance could disturb.
    let lock = SocketLock::acquire(&config.control.socket)?;
    // From here on a signal waits until we look for it, so that a stop during the start is a clean one.
    // SIGUSR1 and SIGUSR2 mean nothing to us, but by default they would end the process without a save.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]);
    let signals = signals.context("cannot handle signals")?;
    let notify = Notify::from_environment();
    let requests = Arc::new(NeighbourRequests::new().context("cannot create an event descriptor")?);

    let eal = Eal::init(&dataplane::eal_config(&config))?;
    let wanted = requests.clone();
    let workers = Workers::start(&eal, &dataplane::workers_config(&config), move |address| {
        wanted.resolve_neighbour(address);
    })?;
    workers.report().lines().for_each(|line| tracing::info!("{line}"));
    let parts = Parts {
        lock,
        nic_ports: dataplane::mirror_ports(&workers),
        dataplane: Arc::new(WorkersDataplane(workers)),
        requests,
        version: VERSION.to_owned(),
        log,
    };
    let mut runtime = Runtime::start(&config, parts)?;
    tracing::info!("shuntd {VERSION}, {}, serves {}", Eal::version(), config.control.socket.display());
    notify.ready(&config.summary());

    serve(signals, &mut runtime, &notify, &arguments.config, &config);
    notify.stopping();
    // The exit status tells whoever stopped us that the next start will not find what is in force now.
    runtime.close().context("state not saved")
}

/// Runs until a signal ends it.
fn serve(mut signals: Signals, runtime: &mut Runtime, notify: &Notify, path: &Path, config: &Config) {
    for signal in signals.forever() {
        match signal {
            SIGHUP => {}
            SIGUSR1 | SIGUSR2 => {
                let name = if signal == SIGUSR1 { "SIGUSR1" } else { "SIGUSR2" };
                tracing::info!("{name} has no meaning here: ignored");
                continue;
            }
            _ => {
                let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                tracing::info!("{name}: stopping");
                return;
            }
        }
        notify.reloading();
        match Config::load(path) {
            Ok(new) => runtime.reload(new),
            Err(error) => tracing::error!("configuration not read again: {error}"),
        }
        notify.ready(&config.summary());
    }
}
