//! A fresh shuntd for a transcript: two NIC ports that carry nothing, whose twins have the recording's names and addresses.

use super::Answer;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The director of the recordings.
const ADDRESSES: [(&str, &str); 4] =
    [("eth0", "10.0.1.1/24"), ("eth0", "fd00:1::1/64"), ("eth1", "10.0.2.1/24"), ("eth1", "fd00:2::1/64")];

/// A running shuntd, which ends when this goes.
pub struct Director {
    shuntd: Child,
    dir: PathBuf,
    /// The folder of `shuntd`, and of `shuntadm` under all of its names.
    bin: PathBuf,
}

fn config(dir: &Path) -> String {
    let mut text = format!(
        "[eal]\nhugepages = false\nmemory_mb = 128\n[workers]\ncores = [{}]\nidle = \"sleep\"\n\
         [control]\nsocket = \"{}/control.sock\"\n[connections]\nmax_ipv4 = 4096\nmax_ipv6 = 4096\n\
         max_templates = 4096\n[log]\nlevel = \"warn\"\n",
        first_core(),
        dir.display()
    );
    for index in 0..2 {
        text += &format!(
            "[[nic_port]]\nname = \"eth{index}\"\ndevice = \"net_null{index},no-rx=1\"\ntwin = \"eth{index}\"\n\
             mac = \"02:00:00:00:0{}:01\"\n",
            index + 1
        );
    }
    text
}

/// A core that we may use.
fn first_core() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None);
    allowed.ok().and_then(|set| (0..1024).find(|core| set.is_set(*core))).unwrap_or(0)
}

impl Director {
    /// Starts shuntd in the present network namespace, which must have no `eth0` and `eth1`. Returns when it answers.
    ///
    /// # Errors
    /// If it does not, with what it said.
    pub fn start(bin: &Path, dir: &Path) -> Result<Director> {
        std::fs::create_dir_all(dir)?;
        let log = dir.join("shuntd.log");
        std::fs::write(dir.join("shunt.toml"), config(dir))?;
        // IPv6 addresses are good at once, as they were at the recording: a sync daemon may want one.
        std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")
            .context("cannot do without duplicate address detection")?;
        let shuntd = Command::new(bin.join("shuntd"))
            .arg("--config")
            .arg(dir.join("shunt.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot start shuntd")?;
        let mut director = Director { shuntd, dir: dir.to_owned(), bin: bin.to_owned() };
        if !director.answers(Duration::from_secs(30)) {
            bail!("shuntd does not answer:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        for (interface, address) in ADDRESSES {
            let words = ["address", "add", address, "dev", interface];
            let done = Command::new("ip").args(words).status().context("cannot run ip")?;
            anyhow::ensure!(done.success(), "ip {} failed", words.join(" "));
        }
        for interface in ["eth0", "eth1"] {
            Command::new("ip").args(["link", "set", interface, "up"]).status().context("cannot run ip")?;
        }
        Ok(director)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    fn answers(&mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if UnixStream::connect(self.socket()).is_ok() {
                return true;
            }
            if !matches!(self.shuntd.try_wait(), Ok(None)) {
                return false;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }

    /// Runs a line by the shell, with shunt's tools before all others.
    pub(super) fn run(&self, command: &str, stdin: &str) -> Result<Answer> {
        let path = std::env::var("PATH").unwrap_or_default();
        // `timeout`, so that a command that hangs is one difference and not the end.
        let mut child = Command::new("timeout")
            .args(["-k", "1", "60", "sh", "-c", command])
            .env("PATH", format!("{}:{path}", self.bin.display()))
            .env("SHUNT_SOCKET", self.socket())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run a shell")?;
        let mut pipe = child.stdin.take().context("no pipe")?;
        let bytes = stdin.as_bytes().to_vec();
        let feeder = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        let output = child.wait_with_output().context("cannot read the answer")?;
        let _ = feeder.join();
        let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        Ok(Answer {
            status: output.status.code().map(i64::from),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.shuntd.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while matches!(self.shuntd.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.shuntd.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}
