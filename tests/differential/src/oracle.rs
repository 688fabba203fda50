//! The real kernel: a process that is asked over a socket, a line of JSON at a time.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Settings of IPVS that scenarios change, with their defaults.
pub const SETTINGS: &[(&str, &str)] = &[
    ("cache_bypass", "0"),
    ("conn_reuse_mode", "1"),
    ("expire_nodest_conn", "0"),
    ("expire_quiescent_template", "0"),
    ("nat_icmp_send", "0"),
    ("pmtu_disc", "1"),
    ("schedule_icmp", "0"),
    ("secure_tcp", "0"),
    ("sloppy_sctp", "0"),
    ("sloppy_tcp", "0"),
];

/// A booted kernel.
pub struct Oracle {
    process: Child,
    stream: BufReader<UnixStream>,
    started_ns: u64,
}

/// What a command answered.
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A frame that came out.
pub struct Frame {
    /// Seconds since the start of the scenario.
    pub t: f64,
    /// Name of the NIC port.
    pub nic_port: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Oracle {
    /// Is there one in this folder, ready to boot?
    #[must_use]
    pub fn is_built(folder: &Path) -> bool {
        folder.join("oracle.sh").is_file() && folder.join("root/bin/busybox").exists()
    }

    /// Boots a kernel. `name` must be that of no other.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn boot(folder: &Path, name: &str) -> Result<Oracle> {
        const PATIENCE: Duration = Duration::from_secs(600);
        let run = folder.join("run");
        std::fs::create_dir_all(&run).with_context(|| format!("cannot make {}", run.display()))?;
        let socket: PathBuf = run.join(format!("{name}.ctl"));
        let mut process = Command::new(folder.join("oracle.sh"))
            .args(["serve", "--kernel", "tt", "--name", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the oracle")?;
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if begun.elapsed() > PATIENCE || process.try_wait()?.is_some() => {
                    return Err(error).context("the oracle does not boot");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut oracle = Oracle { process, stream: BufReader::new(stream), started_ns: 0 };
        oracle.start()?;
        Ok(oracle)
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{question}")?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).context("the oracle ended")?;
        match answer.get("error") {
            Some(error) => bail!("oracle: {error}"),
            None => Ok(answer),
        }
    }

    /// A new scenario begins: its clock starts here, on a tick of the kernel's clock.
    fn start(&mut self) -> Result<()> {
        self.advance(0.011)?;
        self.drain()?;
        self.started_ns = self.now_ns()?;
        Ok(())
    }

    /// Takes away services, connections, marks and settings of the last scenario, and starts the clock anew. False if
    /// something remains; then boot another.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn reset(&mut self) -> Result<bool> {
        // Connections go at once when their servers do, if the setting says so.
        let mut script =
            "cd /proc/sys/net/ipv4/vs; echo 1 > expire_nodest_conn; ipvsadm -C; ipvsadm --set 900 120 300; \
                          iptables-legacy -t mangle -F; ip6tables-legacy -t mangle -F; sleep 0.1"
                .to_owned();
        for (name, default) in SETTINGS {
            script.push_str(&format!("; echo {default} > {name}"));
        }
        // One line is the title.
        script.push_str("; [ $(wc -l < /proc/net/ip_vs_conn) = 1 ]");
        let clean = self.command(&script, "")?.status == 0;
        self.start()?;
        Ok(clean)
    }

    /// Runs a line of the shell.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn command(&mut self, line: &str, stdin: &str) -> Result<Answer> {
        let answer = self.ask(&json!({"op": "cmd", "cmd": line, "stdin": stdin}))?;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let status = answer["rc"].as_i64().and_then(|status| i32::try_from(status).ok()).unwrap_or(-1);
        Ok(Answer { status, stdout: text("out"), stderr: text("err") })
    }

    /// Puts a frame on a wire.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn transmit(&mut self, nic_port: &str, frame: &[u8]) -> Result<()> {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.ask(&json!({"op": "tx", "if": nic_port, "frame": hex})).map(|_| ())
    }

    /// Waits until the frames are processed: 20 ms.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn settle(&mut self) -> Result<()> {
        self.ask(&json!({"op": "settle"})).map(|_| ())
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn advance(&mut self, seconds: f64) -> Result<()> {
        self.ask(&json!({"op": "advance", "s": seconds})).map(|_| ())
    }

    fn now_ns(&mut self) -> Result<u64> {
        self.ask(&json!({"op": "now"}))?["t"].as_u64().context("no time")
    }

    fn since_start(&self, at_ns: u64) -> f64 {
        const NS_PER_MS: u64 = 1_000_000;
        let ns = at_ns.saturating_sub(self.started_ns);
        ((ns + NS_PER_MS / 2) / NS_PER_MS) as f64 / 1000.0
    }

    /// Seconds since the start of the scenario, to the millisecond.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn now(&mut self) -> Result<f64> {
        let now = self.now_ns()?;
        Ok(self.since_start(now))
    }

    /// What came out since the last call.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn drain(&mut self) -> Result<Vec<Frame>> {
        let answer = self.ask(&json!({"op": "drain"}))?;
        let frames = answer["frames"].as_array().context("no frames")?;
        let read = |frame: &Value| {
            let bytes = shunt_replay::case::from_hex(frame[2].as_str()?)?;
            let nic_port = frame[1].as_str()?.to_owned();
            Some(Frame { t: self.since_start(frame[0].as_u64()?), nic_port, bytes })
        };
        frames.iter().map(|frame| read(frame).context("no frame")).collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Asked to stop it ends its kernel too; killed, it would not.
        let asked = self.ask(&json!({"op": "stop"}));
        if asked.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
