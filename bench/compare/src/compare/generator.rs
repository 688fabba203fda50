//! The generator, as seen from here.

use crate::child::Process;
use anyhow::{Context, Result, bail};
use shunt_compare::orders::{Answer, Order, Outcome, Run, Stream};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// A running generator.
pub struct Generator {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    process: Process,
}

impl Generator {
    pub fn start(bin: &Path, core: usize, folder: &Path, ports: &[&Path]) -> Result<Generator> {
        let mut command = Command::new(bin.join("shunt-generator"));
        command.arg("--core").arg(core.to_string()).stdin(Stdio::piped());
        for port in ports {
            command.arg("--port").arg(port);
        }
        let mut process = Process::start("generator", &mut command, folder, Some(Stdio::piped()))?;
        let child = process.child();
        let (to, from) = child.stdin.take().zip(child.stdout.take()).context("pipes were asked for")?;
        let mut generator = Generator { to, from: BufReader::new(from), process };
        match generator.hear()? {
            Answer::Done => Ok(generator),
            other => bail!("the generator did not start: {other:?}"),
        }
    }

    fn hear(&mut self) -> Result<Answer> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("the generator ended; {}", self.process.last_words());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn say(&mut self, order: &Order) -> Result<Answer> {
        writeln!(self.to, "{}", serde_json::to_string(order)?)?;
        match self.hear()? {
            Answer::Failed(why) => bail!("the generator: {why}"),
            answer => Ok(answer),
        }
    }

    /// Waits until the other side of a port is there.
    pub fn connect(&mut self, port: usize) -> Result<()> {
        self.say(&Order::Connect { port }).map(drop)
    }

    pub fn load(&mut self, streams: Vec<Stream>) -> Result<()> {
        self.say(&Order::Load { streams }).map(drop)
    }

    /// Sends each flow of a stream once.
    pub fn visit(&mut self, port: usize, stream: usize, learn_for: Option<usize>) -> Result<()> {
        self.say(&Order::Visit { port, stream, learn_for }).map(drop)
    }

    pub fn run(&mut self, run: Run) -> Result<Outcome> {
        match self.say(&Order::Run(run))? {
            Answer::Outcome(outcome) => Ok(outcome),
            other => bail!("the generator answered {other:?}"),
        }
    }
}
