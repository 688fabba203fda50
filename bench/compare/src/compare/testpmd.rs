//! DPDK's testpmd in the director's place: the ceiling.

use crate::child::Process;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const PROMPT: &str = "testpmd> ";
const PATIENCE: Duration = Duration::from_secs(30);

/// A running testpmd with one port.
pub struct Testpmd {
    to: ChildStdin,
    heard: Arc<Mutex<String>>,
    process: Process,
}

impl Testpmd {
    /// Both its threads run on `core`. `mode` is its forwarding mode.
    pub fn start(core: usize, folder: &Path, device: &str, mode: &str, more: &[&str]) -> Result<Testpmd> {
        let mut command = Command::new("stdbuf");
        command.args([
            "-o0",
            "dpdk-testpmd",
            "--lcores",
            &format!("0@{core},1@{core}"),
            "--no-pci",
            "--in-memory",
        ]);
        command.args([
            "--single-file-segments",
            "--no-telemetry",
            "--vdev",
            device,
            "--",
            "-i",
            "--nb-cores=1",
        ]);
        command.args(["--no-mlockall", &format!("--forward-mode={mode}")]).args(more).stdin(Stdio::piped());
        let mut process = Process::start("testpmd", &mut command, folder, Some(Stdio::piped()))?;
        let child = process.child();
        let (to, mut from) = child.stdin.take().zip(child.stdout.take()).context("pipes were asked for")?;
        let heard = Arc::new(Mutex::new(String::new()));
        let ear = heard.clone();
        spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = from.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                ear.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let mut testpmd = Testpmd { to, heard, process };
        testpmd.wait()?;
        Ok(testpmd)
    }

    /// Waits for the prompt and returns what was said before it.
    fn wait(&mut self) -> Result<String> {
        let since = Instant::now();
        loop {
            {
                let mut heard = self.heard.lock().expect("no holder panics");
                if heard.ends_with(PROMPT) {
                    return Ok(std::mem::take(&mut *heard));
                }
            }
            if let Some(status) = self.process.ended() {
                bail!("testpmd ended ({status}); {}", self.process.last_words());
            }
            if since.elapsed() > PATIENCE {
                bail!("testpmd does not answer; {}", self.process.last_words());
            }
            sleep(Duration::from_millis(2));
        }
    }

    pub fn say(&mut self, command: &str) -> Result<String> {
        writeln!(self.to, "{command}")?;
        self.wait()
    }

    /// Packets that its port received and sent so far.
    pub fn counts(&mut self) -> Result<(u64, u64)> {
        let text = self.say("show port stats 0")?;
        let field = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        field("RX-packets:")
            .zip(field("TX-packets:"))
            .with_context(|| format!("testpmd's statistics: {text}"))
    }
}
