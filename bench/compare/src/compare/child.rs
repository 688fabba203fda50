//! A process of the rig.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(8);

/// A running process, ended when it is dropped. What it tells goes to a file.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. Its standard output goes to the log if `stdout` is none of ours.
    pub fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
        stdout: Option<Stdio>,
    ) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let out = match stdout {
            Some(stdout) => stdout,
            None => file.try_clone()?.into(),
        };
        let child =
            command.stdout(out).stderr(file).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { name, child, log })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it wait: it takes no processor time until it goes on.
    pub fn pause(&self) {
        self.send(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        // It is our child and has not been waited for, so its number is its own.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Has it ended?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines that it told, for an error.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(15)..].join("\n  | ");
        format!("{} said:\n  | {last}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.go_on();
        self.send(Signal::TERM);
        let asked = Instant::now();
        while self.ended().is_none() {
            if asked.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}
