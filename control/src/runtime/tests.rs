use super::*;
use crate::dataplane::tests::Recorder;
use crate::protocol::{Frame, read_frame, read_version};
use shunt_engine::tables::Hop;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

fn config(socket: &Path, rest: &str) -> Config {
    let text = format!(
        "[workers]\ncores = [1]\n[control]\nsocket = \"{}\"\n\
         [[nic_port]]\nname = \"lan\"\ndevice = \"net_null0\"\ntwin = false\n{rest}",
        socket.display()
    );
    Config::parse("test.toml", &text).unwrap()
}

fn start(config: &Config, dataplane: Arc<Recorder>) -> Runtime {
    let mac = shunt_wire::MacAddr([2, 0, 0, 0, 0, 1]);
    let parts = Parts {
        lock: SocketLock::acquire(&config.control.socket).unwrap(),
        dataplane,
        nic_ports: vec![MirrorPort { mac, mtu: 1500, twin: None }],
        requests: Arc::new(NeighbourRequests::new().unwrap()),
        version: "0".to_owned(),
        log: Log::start(config.log.level),
    };
    Runtime::start(config, parts).unwrap()
}

fn ask(socket: &Path, line: &str) -> (u8, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut from = BufReader::new(stream);
    read_version(&mut from).unwrap();
    let mut text = Vec::new();
    loop {
        match read_frame(&mut from).unwrap() {
            Frame::Out(bytes) | Frame::Err(bytes) => text.extend(bytes),
            Frame::In => {}
            Frame::End(status) => return (status, String::from_utf8(text).unwrap()),
        }
    }
}

#[test]
fn the_configuration_is_in_force_and_re_read() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let dataplane = Arc::new(Recorder::new(1, 16));
    let hop = "[[next_hop]]\nprefix = \"10.0.0.0/8\"\nnic_port = \"lan\"\nmac = \"02:00:00:00:00:09\"\n";
    let first = config(&socket, &format!("{hop}[ipvs]\ndrop_entry = 1\ntimeout_tcp = 700\n"));
    let mut runtime = start(&first, dataplane.clone());
    let latest = || dataplane.published.lock().unwrap().last().unwrap().clone();
    assert_eq!(latest().settings().drop_entry, 1);
    assert_eq!(latest().settings().timeout_tcp_s, 700);
    let address = "10.1.1.1".parse().unwrap();
    assert!(matches!(latest().routes().lookup(address), Hop::Via(_)));
    assert_eq!(ask(&socket, "-A -t 192.0.2.1:80 -s rr"), (0, String::new()));
    assert!(ask(&socket, "-L -n").1.contains("TCP  192.0.2.1:80 rr"));

    // An operator changes two settings; the file changes one of them, and another one.
    assert_eq!(ask(&socket, "set drop_packet 2").0, 0);
    assert_eq!(ask(&socket, "set drop_entry 3").0, 0);
    runtime.reload(config(&socket, "[ipvs]\ndrop_entry = 2\ntimeout_tcp = 700\nnat_icmp_send = true\n"));
    assert_eq!(ask(&socket, "get drop_entry").1, "2\n");
    assert_eq!(ask(&socket, "get drop_packet").1, "2\n");
    assert_eq!(ask(&socket, "get nat_icmp_send").1, "1\n");
    let deadline = Instant::now() + Duration::from_secs(5);
    while latest().routes().lookup(address) != Hop::Unreachable {
        assert!(Instant::now() < deadline, "the next hop stays");
    }
    assert!(ask(&socket, "-L -n").1.contains("TCP  192.0.2.1:80 rr"));

    drop(runtime);
    assert!(!socket.exists());
    assert_eq!(Arc::strong_count(&dataplane), 1, "a thread still holds the data plane");
}

#[test]
fn what_the_machine_has_not_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let said = |config: &Config| check(config).err().map(|error| error.to_string()).unwrap_or_default();
    let state = |file: &Path| config(&socket, &format!("[state]\nfile = \"{}\"\n", file.display()));
    assert_eq!(said(&state(&directory.path().join("state"))), "");
    assert!(
        said(&state(directory.path())).ends_with("is no regular file: remove it, or set another state.file")
    );
    let group = |group: &str| {
        let mut config = config(&socket, "");
        config.control.group = Some(group.to_owned());
        config
    };
    for there in ["root", "4242"] {
        assert_eq!(said(&group(there)), "");
    }
    assert!(said(&group("no such group")).ends_with("create it, or change control.group"));
}

#[test]
fn a_last_save_that_fails_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let file = directory.path().join("state");
    let config = config(&socket, &format!("[state]\nfile = \"{}\"\nperiod = 0\n", file.display()));
    start(&config, Arc::new(Recorder::new(1, 16))).close().unwrap();
    assert!(file.is_file());

    let mut runtime = start(&config, Arc::new(Recorder::new(1, 16)));
    std::os::unix::fs::symlink("/dev/full", directory.path().join("state.new")).unwrap();
    let error = runtime.close().unwrap_err().to_string();
    assert!(error.contains(&*file.to_string_lossy()) && error.contains("No space left"), "{error}");
    assert!(!socket.exists());
}

#[test]
fn statistics_move_with_time() {
    use shunt_engine::board::bump;
    use shunt_engine::tables::ServerId;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let dataplane = Arc::new(Recorder::new(1, 16));
    let _runtime = start(&config(&socket, ""), dataplane.clone());
    assert_eq!(ask(&socket, "-A -t 192.0.2.1:80").0, 0);
    assert_eq!(ask(&socket, "-a -t 192.0.2.1:80 -r 10.0.0.1 -m").0, 0);
    bump(&dataplane.boards().mine(ServerId(0)).unwrap().conns, 7);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ask(&socket, "-L -n --stats")
        .1
        .lines()
        .any(|line| line.contains("10.0.0.1:80") && line.contains(" 7 "))
    {
        assert!(Instant::now() < deadline, "{}", ask(&socket, "-L -n --stats").1);
        std::thread::sleep(Duration::from_millis(50));
    }
}
