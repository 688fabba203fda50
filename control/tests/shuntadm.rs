//! The real `shuntadm`, and `socat`, against a real socket with a director behind it.

mod fake;

use fake::{FakeDataplane, FakeNames};
use shunt_control::commands::DirectorCommands;
use shunt_control::director::{Director, Limits, StaticResolver};
use shunt_control::server::{Patience, Server, SocketLock};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOOL: &str = env!("CARGO_BIN_EXE_shuntadm");

struct Rig {
    directory: tempfile::TempDir,
    server: Option<Server>,
}

impl Rig {
    fn new() -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let mut rig = Rig { directory, server: None };
        let resolver = Arc::new(StaticResolver::default());
        let limits = Limits { services: 4096, servers: 4096 };
        let director = Director::new(FakeDataplane::new(1, 4096), resolver, Vec::new(), limits);
        let director = Arc::new(Mutex::new(director));
        let commands = DirectorCommands::new(director, Box::new(FakeNames::default()), "1".to_owned());
        let lock = SocketLock::acquire(&rig.socket()).unwrap();
        rig.server = Some(Server::start(lock, None, 0o600, Patience::default(), Arc::new(commands)).unwrap());
        rig
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(TOOL);
        command.arg("--socket").arg(self.socket()).args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> (i32, String, String) {
        parts(&self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }
}

fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || {
        // A command that ends early closes its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

const LIST: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
                    Prot LocalAddress:Port Scheduler Flags\n  \
                    -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
                    TCP  192.0.2.1:80 wlc\n  \
                    -> 10.0.0.1:80                  Masq    3      0          0         \n";

#[test]
fn commands_and_lists() {
    let rig = Rig::new();
    assert_eq!(rig.run("-A -t 192.0.2.1:80"), (0, String::new(), String::new()));
    assert_eq!(rig.run("-a -t 192.0.2.1:80 -r 10.0.0.1 -m -w 3").0, 0);
    assert_eq!(rig.run("-L -n"), (0, LIST.to_owned(), String::new()));
    // No arguments at all: the list, with names.
    assert!(rig.run("").1.contains("TCP  192.0.2.1:http wlc"));
    let (status, _, stderr) = rig.run("-A -t 192.0.2.1:80");
    assert_eq!((status, stderr.as_str()), (255, "Service already exists\n"));
    assert_eq!(rig.run("version"), (0, "shuntd 1\n".to_owned(), String::new()));
}

#[test]
fn the_socket_is_found_by_option_or_environment_and_argv0_is_quoted() {
    let rig = Rig::new();
    let mut by_environment = Command::new(TOOL);
    let output = by_environment.arg0("ipvsadm").args(["-L", "-n"]).env("SHUNT_SOCKET", rig.socket()).output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let mut by_option = Command::new(TOOL);
    by_option.arg0("/sbin/shuntadm").arg(format!("--socket={}", rig.socket().display())).arg("frobnicate");
    let (status, _, stderr) = parts(&by_option.output().unwrap());
    assert_eq!(status, 2);
    assert!(stderr.starts_with("/sbin/shuntadm: there is no command `frobnicate'"), "{stderr}");
}

#[test]
fn restore_streams_its_input() {
    let rig = Rig::new();
    let mut rules = String::new();
    for n in 0..1000 {
        rules += &format!("-A -t 192.0.{}.{}:80 -s rr\n", n / 250, n % 250 + 1);
    }
    let (status, _, stderr) = parts(&feed(&mut rig.command("-R"), rules.as_bytes()));
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(rig.run("-S -n").1.lines().count(), 1000);
    assert_eq!(rig.run("-C").0, 0);
    // A line that fails ends the restore; endless input does not keep the tool waiting.
    let mut endless = b"-A -t nonsense\n".to_vec();
    endless.extend(b"-A -t 192.0.2.1:80\n".repeat(200_000));
    let output = feed(&mut rig.command("-R"), &endless);
    assert_ne!(output.status.code(), Some(0));
    assert!(!output.stderr.is_empty());
    assert_eq!(rig.run("-L -n").0, 0);
}

#[test]
fn a_restore_that_breaks_off_is_told_and_an_atomic_one_changes_nothing() {
    let rig = Rig::new();
    assert_eq!(rig.run("-A -t 192.0.2.1:80").0, 0);
    let before = rig.run("-S -n").1;
    // The whole line would be one of -w 100.
    let sent = b"-C\n-A -t 192.0.2.2:80 -s rr\n-a -t 192.0.2.2:80 -r 10.0.0.1 -m -w 10";
    let broken_off = |line: &str| {
        let mut stream = UnixStream::connect(rig.socket()).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        stream.write_all(sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    let answer = broken_off("-R --atomic");
    assert!(answer.contains("without the dot that ends it; nothing was changed\nend 2\n"), "{answer}");
    assert_eq!(rig.run("-S -n").1, before);
    let answer = broken_off("-R");
    assert!(answer.contains("without the dot that ends it\nend 2\n"), "{answer}");
    assert_eq!(rig.run("-S -n").1, "-A -t 192.0.2.2:80 -s rr\n");

    // The tool is killed while it waits for more.
    let before = rig.run("-S -n").1;
    let mut child = rig.command("-R --atomic").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"-C\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    // Input that cannot be read.
    let directory = std::fs::File::open("/").unwrap();
    let output = rig.command("-R --atomic").stdin(directory).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(rig.run("-S -n").1, before);
}

#[test]
fn lines_from_socat_just_work() {
    let rig = Rig::new();
    let address = format!("UNIX-CONNECT:{}", rig.socket().display());
    let ask = |input: &str| {
        let mut socat = Command::new("socat");
        socat.args(["-t", "10", "-", &address]);
        String::from_utf8(feed(&mut socat, input.as_bytes()).stdout).unwrap()
    };
    assert_eq!(ask("-A -t 192.0.2.1:80 -s wlc\n"), "shunt/1\nend 0\n");
    assert_eq!(ask("-R\n-a -t 192.0.2.1:80 -r 10.0.0.1 -m -w 3\n.\n"), "shunt/1\nin\nend 0\n");
    assert_eq!(ask("-L -n"), format!("shunt/1\nout {}\n{LIST}end 0\n", LIST.len()));
}

#[test]
fn without_a_daemon_the_tool_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let output = Command::new(TOOL).arg("--socket").arg(&socket).arg("-L").output().unwrap();
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("shuntd is not running") && stderr.contains("none.sock"), "{stderr}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let output = Command::new(TOOL).arg("--socket").arg(&socket).arg("-L").output().unwrap();
    assert!(parts(&output).2.contains("shuntd is not running"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let rig = Rig::new();
    let rules: String = (0..1000).map(|n| format!("-A -t 192.0.{}.{}:80\n", n / 250, n % 250 + 1)).collect();
    assert!(feed(&mut rig.command("-R"), rules.as_bytes()).status.success());
    let mut child = rig.command("-S -n").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rig.run("-L -n").0, 0);
}
