//! Over a real socket, against clients that mean no good.

use super::*;
use crate::protocol::{Frame, LINE_LEN_MAX, STATUS_TROUBLE, read_frame, read_version};
use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const PATIENCE: Patience = Patience {
    line: Duration::from_millis(300),
    idle: Duration::from_secs(20),
    write: Duration::from_millis(300),
};

/// `echo WORDS` to stdout, `both`, `cat` of standard input, `head` of its first line, `access`, `flood BYTES`.
#[derive(Default)]
struct Echo {
    served: AtomicUsize,
}

impl Commands for Echo {
    fn run(&self, request: Request<'_>) -> u8 {
        self.served.fetch_add(1, SeqCst);
        let Request { argv, access, stdin, stdout, stderr } = request;
        let result = match argv.get(1).map(String::as_str) {
            Some("echo") => writeln!(stdout, "{}", argv[2..].join("|")),
            Some("both") => {
                let _ = write!(stdout, "a");
                let _ = write!(stderr, "b");
                write!(stdout, "c")
            }
            Some("cat") => io::copy(stdin, stdout).map(|_| ()),
            Some("head") => {
                let mut line = String::new();
                stdin.read_line(&mut line).and_then(|_| write!(stdout, "{line}"))
            }
            Some("access") => writeln!(stdout, "{access:?}"),
            Some("flood") => {
                let len = argv[2].parse().unwrap_or(0);
                (0..len).try_for_each(|_| stdout.write_all(b"0123456789abcde\n"))
            }
            _ => return 9,
        };
        if result.is_ok() { 0 } else { 1 }
    }
}

/// A child holds copies of our descriptors, locks included, until it runs its program: tests that take a lock anew do not
/// run beside tests that start programs.
static NO_CHILDREN: Mutex<()> = Mutex::new(());

fn no_children() -> std::sync::MutexGuard<'static, ()> {
    NO_CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Rig {
    directory: tempfile::TempDir,
    patience: Patience,
    mode: u32,
    echo: Arc<Echo>,
    server: Option<Server>,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(PATIENCE)
    }

    fn with(patience: Patience) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let mut rig = Rig { directory, patience, mode: 0o660, echo: Arc::default(), server: None };
        rig.start().unwrap();
        rig
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    fn start(&mut self) -> Result<(), SocketError> {
        let lock = SocketLock::acquire(&self.socket())?;
        self.server = Some(Server::start(lock, None, self.mode, self.patience, self.echo.clone())?);
        Ok(())
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client { from: BufReader::new(stream) }
    }

    /// The server still does its work.
    fn assert_well(&self) {
        assert_eq!(self.connect().ask(b"echo well\n"), (0, "well\n".into(), String::new()));
    }
}

struct Client {
    from: BufReader<UnixStream>,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.from.get_mut().write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> (u8, String, String) {
        read_version(&mut self.from).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match read_frame(&mut self.from).unwrap() {
                Frame::Out(bytes) => out.extend(bytes),
                Frame::Err(bytes) => err.extend(bytes),
                Frame::In => {}
                Frame::End(status) => {
                    return (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
                }
            }
        }
    }

    fn ask(&mut self, request: &[u8]) -> (u8, String, String) {
        self.send(request);
        self.answer()
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.from.read(&mut [0]), Ok(0))
    }
}

#[test]
fn requests_are_answered_in_order() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(b"echo a 'b c' \"\"\necho 2\nnothing\n");
    assert_eq!(client.answer(), (0, "a|b c|\n".into(), String::new()));
    assert_eq!(client.answer().1, "2\n");
    assert_eq!(client.answer().0, 9);
    client.send(b"both\n");
    read_version(&mut client.from).unwrap();
    let frames: Vec<_> = (0..4).map(|_| read_frame(&mut client.from).unwrap()).collect();
    let expected = [Frame::Out(b"a".into()), Frame::Err(b"b".into()), Frame::Out(b"c".into()), Frame::End(0)];
    assert_eq!(frames, expected);
}

#[test]
fn a_last_line_without_newline_counts() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(b"echo x");
    client.from.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().1, "x\n");
    assert!(client.is_closed());
}

#[test]
fn standard_input_ends_with_a_dot() {
    let rig = Rig::new();
    let mut client = rig.connect();
    assert_eq!(client.ask(b"cat\none\n..two\n.\necho next\n"), (0, "one\n.two\n".into(), String::new()));
    assert_eq!(client.answer().1, "next\n");
    // What a command leaves unread is no request.
    assert_eq!(client.ask(b"head\none\necho two\n.\necho three\n").1, "one\n");
    assert_eq!(client.answer().1, "three\n");
}

#[test]
fn standard_input_without_its_dot_is_an_error() {
    let rig = Rig::new();
    for sent in [&b"cat\none\nla"[..], b"cat\none\n"] {
        let mut client = rig.connect();
        client.send(sent);
        client.from.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.answer(), (1, "one\n".into(), String::new()), "{sent:?}");
    }
    let mut client = rig.connect();
    client.send(b"cat\none\n.");
    client.from.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().0, 0);
    // Silence is no end either.
    let rig = Rig::with(Patience { idle: Duration::from_millis(200), ..PATIENCE });
    assert_eq!(rig.connect().ask(b"cat\none\n"), (1, "one\n".into(), String::new()));
}

#[test]
fn long_answers_are_streamed() {
    let rig = Rig::new();
    let (status, out, _) = rig.connect().ask(b"flood 300000\n");
    assert_eq!((status, out.len()), (0, 16 * 300_000));
}

#[test]
fn garbage_is_answered_with_an_error() {
    let rig = Rig::new();
    let mut client = rig.connect();
    assert_eq!(
        client.ask(b"\xff\xfe\n"),
        (STATUS_TROUBLE, String::new(), "shuntd: the line is not UTF-8\n".into())
    );
    assert_eq!(client.ask(b"echo 'a\n").2, "shuntd: a ' is not closed\n");
    assert_eq!(client.ask(b"\0\x01\x02\n").0, 9);
    assert_eq!(client.ask(b"echo after\n").1, "after\n");
}

#[test]
fn a_megabyte_without_newline_harms_nobody() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let mut healthy = rig.connect();
    let mut sender = client.from.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&vec![b'x'; 1 << 20]));
    let (status, _, err) = client.answer();
    assert_eq!(
        (status, err),
        (STATUS_TROUBLE, format!("shuntd: the line is longer than {LINE_LEN_MAX} bytes\n"))
    );
    let _ = sending.join().unwrap();
    assert!(client.is_closed());
    assert_eq!(healthy.ask(b"echo x\n").1, "x\n");
    // As standard input of a command it ends the connection as well, and is taken for no request.
    let mut client = rig.connect();
    let mut sender = client.from.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let _ = sender.write_all(b"cat\n");
        sender.write_all(&vec![b'x'; 1 << 20])
    });
    assert_eq!(client.answer().0, 1);
    let _ = sending.join().unwrap();
    assert!(client.is_closed());
    rig.assert_well();
}

#[test]
fn who_stops_within_a_line_is_told() {
    let rig = Rig::new();
    let mut client = rig.connect();
    let begun = Instant::now();
    let (status, _, err) = client.ask(b"echo x");
    assert_eq!(
        (status, err.as_str()),
        (STATUS_TROUBLE, "shuntd: the rest of the line did not come in time\n")
    );
    assert!(begun.elapsed() >= PATIENCE.line);
    assert!(client.is_closed());
}

#[test]
fn who_does_not_read_is_left() {
    let rig = Rig::new();
    let mut client = rig.connect();
    client.send(b"flood 1000000\n");
    // 16 MB do not fit into a socket buffer. The server gives up; we see what was sent before, then the end.
    std::thread::sleep(PATIENCE.write * 3);
    let mut rest = Vec::new();
    let _ = client.from.read_to_end(&mut rest);
    assert!(rest.len() < 16_000_000, "{}", rest.len());
    assert!(!rest.ends_with(b"end 0\n"));
    rig.assert_well();
}

#[test]
fn a_hundred_clients_at_once() {
    let rig = Rig::new();
    let mut clients: Vec<_> = (0..100).map(|_| rig.connect()).collect();
    let (mut served, mut refused) = (0, 0);
    for client in &mut clients {
        // The refused ones may find the connection closed already.
        let _ = client.from.get_mut().write_all(b"echo x\n");
        let (status, out, err) = client.answer();
        match status {
            0 => {
                assert_eq!(out, "x\n");
                served += 1;
            }
            _ => {
                assert!(err.contains("64 clients are connected"), "{err}");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (CLIENTS_MAX, 100 - CLIENTS_MAX));
    drop(clients);
    // Places are free again once the threads notice.
    let deadline = Instant::now() + Duration::from_secs(5);
    while rig.connect().ask(b"echo x\n").0 != 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_second_instance_is_refused_and_a_stale_socket_replaced() {
    let _guard = no_children();
    let mut rig = Rig::new();
    let error = SocketLock::acquire(&rig.socket()).unwrap_err();
    assert!(
        matches!(error, SocketError::Taken { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    rig.assert_well();
    rig.server = None;
    assert!(!rig.socket().exists());
    drop(UnixListener::bind(rig.socket()).unwrap());
    assert!(rig.socket().exists());
    rig.start().unwrap();
    rig.assert_well();
    rig.server = None;
    // Somebody without our lock.
    let listener = UnixListener::bind(rig.socket()).unwrap();
    let error = rig.start().unwrap_err();
    assert!(matches!(error, SocketError::Taken { pid: None, .. }), "{error}");
    drop(listener);
    fs::remove_file(rig.socket()).unwrap();
    fs::write(rig.socket(), "precious").unwrap();
    assert!(matches!(rig.start(), Err(SocketError::NotASocket(_))));
    assert_eq!(fs::read_to_string(rig.socket()).unwrap(), "precious");
}

#[test]
fn a_killed_daemon_may_take_its_time_to_die() {
    let _guard = no_children();
    let mut rig = Rig::new();
    rig.server = None;
    // As the kernel leaves them for a moment: the lock is held, and the socket takes connections that nobody answers.
    let lock = SocketLock::acquire(&rig.socket()).unwrap();
    let listener = UnixListener::bind(rig.socket()).unwrap();
    let dying = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(lock);
        std::thread::sleep(Duration::from_millis(100));
        drop(listener);
    });
    rig.start().unwrap();
    rig.assert_well();
    dying.join().unwrap();
}

#[test]
fn the_socket_has_its_mode_and_group() {
    let _guard = no_children();
    let mut rig = Rig::new();
    let metadata = fs::metadata(rig.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    rig.server = None;
    let lock = SocketLock::acquire(&rig.socket()).unwrap();
    let error = Server::start(lock, Some("no such group"), 0o660, PATIENCE, rig.echo.clone()).err().unwrap();
    assert!(error.to_string().contains("change control.group"), "{error}");
}

#[test]
fn stopping_ends_open_connections() {
    let mut rig = Rig::new();
    let mut silent = rig.connect();
    let mut waiting = rig.connect();
    assert_eq!(silent.ask(b"echo x\n").0, 0);
    waiting.send(b"cat\nhalf");
    while rig.echo.served.load(SeqCst) < 2 {
        std::thread::yield_now();
    }
    let begun = Instant::now();
    rig.server = None;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(silent.is_closed());
    assert_eq!(Arc::strong_count(&rig.echo), 1);
}

#[test]
fn a_stranger_may_only_list() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let mut rig = Rig::new();
    assert_eq!(rig.connect().ask(b"access\n").1, "ReadWrite\n");
    // The test's own directory must not be what keeps them out.
    fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(try_access_as(&rig, 65_534, 65_534), None);
    let guard = no_children();
    rig.server = None;
    rig.mode = 0o666;
    rig.start().unwrap();
    drop(guard);
    assert_eq!(access_as(&rig, 65_534, 65_534), "ReadOnly\n");
    assert_eq!(access_as(&rig, 65_534, 4242), "ReadOnly\n");
}

#[test]
fn members_of_the_group_may_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let guard = no_children();
    let mut rig = Rig::new();
    rig.server = None;
    let lock = SocketLock::acquire(&rig.socket()).unwrap();
    drop(guard);
    rig.server = Some(Server::start(lock, Some("4242"), rig.mode, PATIENCE, rig.echo.clone()).unwrap());
    fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(access_as(&rig, 65_534, 4242), "ReadWrite\n");
    fs::set_permissions(rig.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(access_as(&rig, 65_534, 65_534), "ReadOnly\n");
}

#[test]
fn readers_leave_places_to_operators() {
    let clients = Arc::new(Clients::default());
    let (stream, _other) = UnixStream::pair().unwrap();
    let enter = |access| clients.enter(&stream).and_then(|mut place| place.is_for(access).then_some(place));
    let readers: Vec<_> = (0..READERS_MAX).map(|_| enter(Access::ReadOnly).unwrap()).collect();
    assert!(enter(Access::ReadOnly).is_none());
    let operators: Vec<_> = (READERS_MAX..CLIENTS_MAX).map(|_| enter(Access::ReadWrite).unwrap()).collect();
    assert!(enter(Access::ReadWrite).is_none());
    drop((readers, operators));
    assert!(enter(Access::ReadOnly).is_some());
}

fn access_as(rig: &Rig, uid: u32, gid: u32) -> String {
    try_access_as(rig, uid, gid).expect("the socket lets them in")
}

/// What `access` says to this user: another process, because threads of one share its user. `None` if it may not connect.
fn try_access_as(rig: &Rig, uid: u32, gid: u32) -> Option<String> {
    use std::os::unix::process::CommandExt;
    let address = format!("UNIX-CONNECT:{}", rig.socket().display());
    let guard = no_children();
    let mut child = std::process::Command::new("socat")
        .args(["-t", "5", "-", &address])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .uid(uid)
        .gid(gid)
        .spawn()
        .expect("socat is installed");
    drop(guard);
    // It may have ended already.
    let _ = child.stdin.take().unwrap().write_all(b"access\n");
    let output = child.wait_with_output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("Permission denied") {
        return None;
    }
    let output = output.stdout;
    let mut from = &output[..];
    read_version(&mut from).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output)));
    match read_frame(&mut from).unwrap() {
        Frame::Out(bytes) => Some(String::from_utf8(bytes).unwrap()),
        other => panic!("{other:?}"),
    }
}
