//! What the command language has beyond ipvsadm's: atomic restores and JSON.

mod fake;

use fake::{Answer, Rig};
use serde_json::{Value, json};

fn rig() -> Rig {
    let rig = Rig::new(100, 4);
    rig.ok("ipvsadm -A -t 10.0.0.1:80 -s wrr");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 5 -x 20 -y 10");
    rig
}

fn published(rig: &Rig) -> usize {
    rig.dataplane.published.lock().unwrap().len()
}

#[test]
fn an_atomic_restore_is_one_publication() {
    let rig = rig();
    let before = published(&rig);
    let lines = "# what follows is new\n-C\nipvsadm -A -t 10.0.0.2:80 -s rr\n\n-a -t 10.0.0.2:80 -r 10.1.0.1 -m\n--set 1 2 3";
    assert_eq!(
        rig.run("ipvsadm -R --atomic", lines),
        Answer { status: 0, stdout: String::new(), stderr: String::new() }
    );
    assert_eq!(published(&rig), before + 1);
    assert_eq!(
        rig.list("ipvsadm -Sn"),
        "-A -t 10.0.0.2:80 -s rr\n-a -t 10.0.0.2:80 -r 10.1.0.1:80 -m -w 1\n"
    );
    assert_eq!(rig.list("ipvsadm -L --timeout"), "Timeout (tcp tcpfin udp): 1 2 3\n");
}

#[test]
fn a_bad_line_changes_nothing_and_is_named() {
    let rig = rig();
    let (before, saved) = (published(&rig), rig.list("ipvsadm -Sn"));
    let change = "-C\n-A -t 10.0.0.2:80\n--set 7 7 7\n";
    for (line, status, text) in [
        ("-a -t 10.0.0.9:80 -r 10.1.0.1 -m", 255, "Service not defined"),
        ("-A -t 10.0.0.2:80", 255, "Service already exists"),
        ("-A -t 10.0.0.3", 2, "Zero port specified for non-persistent service"),
        ("-A -t 10.0.0.3:80 -Q", 255, "-Q: unknown option"),
        ("-R", 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
        ("-L", 2, "only changes of services, servers and timeouts can be restored atomically"),
        (
            "--stop-daemon master",
            2,
            "only changes of services, servers and timeouts can be restored atomically",
        ),
    ] {
        let answer = rig.run("ipvsadm -R --atomic", &format!("{change}{line}\n-A -t 10.0.0.4:80\n"));
        let stderr = format!("line 4: {text}; nothing was changed\n");
        assert_eq!(answer, Answer { status, stdout: String::new(), stderr }, "{line}");
        assert_eq!(rig.list("ipvsadm -Sn"), saved, "{line}");
        assert_eq!(rig.list("ipvsadm -L --timeout"), "Timeout (tcp tcpfin udp): 900 120 300\n");
    }
    assert_eq!(published(&rig), before);
    rig.ok("ipvsadm -A -t 10.0.0.2:80");
}

#[test]
fn a_failed_attempt_takes_overload_marks_back() {
    let rig = rig();
    let id = rig.director.lock().unwrap().snapshot().services()[0].servers[0].id;
    rig.dataplane.boards.set_overloaded(id, true);
    let lines = "-e -t 10.0.0.1:80 -r 10.1.0.1:80 -m -x 30\n-D -t 10.0.0.9:80\n";
    assert_eq!(rig.run("ipvsadm -R --atomic", lines).status, 255);
    assert!(rig.dataplane.boards.is_overloaded(id));
    let lines = "-e -t 10.0.0.1:80 -r 10.1.0.1:80 -m -x 30\n";
    assert_eq!(rig.run("ipvsadm -R --atomic", lines).status, 0);
    assert!(!rig.dataplane.boards.is_overloaded(id));
}

#[test]
fn deleted_servers_make_room_for_an_attempt() {
    let rig = rig();
    for server in 2..=4 {
        rig.ok(&format!("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.{server}:80 -m"));
    }
    rig.ok("ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.4:80");
    let add = "-a -t 10.0.0.1:80 -r 10.1.0.5:80 -m\n";
    assert_eq!(rig.run("ipvsadm -R --atomic", &format!("{add}-C\n-D -t 10.0.0.1:80\n")).status, 255);
    assert_eq!(rig.run("ipvsadm -R --atomic", add).status, 0);
    let answer = rig.run("ipvsadm -R --atomic", "-a -t 10.0.0.1:80 -r 10.1.0.6:80 -m\n");
    assert!(answer.status == 255 && answer.stderr.starts_with("line 1: no room"), "{answer:?}");
}

fn json(rig: &Rig, line: &str) -> Value {
    serde_json::from_str(&rig.list(line)).unwrap()
}

#[test]
fn services_as_json() {
    let rig = rig();
    rig.ok("ipvsadm -A -f 7 -6 -s sh -b sh-port -p 60 -M 64 --pe sip");
    rig.ok("ipvsadm -a -f 7 -6 -r 10.1.0.2:0 -i --tun-type gue --tun-port 6080 --tun-csum");
    rig.ok("ipvsadm -A -u 10.0.0.1:53 -o");
    let none = json!({"connections": 0, "in_packets": 0, "out_packets": 0, "in_bytes": 0, "out_bytes": 0});
    let address = json!({
        "family": "ipv4", "protocol": "tcp", "address": "10.0.0.1", "port": 80, "fwmark": null,
        "scheduler": "wrr", "scheduler_flags": [], "one_packet": false, "persistence": null,
        "statistics": none, "rates": none,
        "servers": [{
            "address": "10.1.0.1", "port": 80, "method": "nat", "tunnel": null, "weight": 5,
            "upper_threshold": 20, "lower_threshold": 10, "active_connections": 0, "inactive_connections": 0,
            "persistent_connections": 0, "statistics": none, "rates": none,
        }],
    });
    for line in ["--json -L", "--json", "--json -Ln --stats", "--json -L --rate --nosort"] {
        let list = json(&rig, &format!("shuntadm {line}"));
        let services = list["services"].as_array().unwrap();
        assert_eq!(services.len(), 3, "{line}");
        assert!(services.contains(&address), "{line}: {list}");
    }
    assert_eq!(json(&rig, "shuntadm --json -L -t 10.0.0.1:80"), json!({ "services": [address] }));
    let marked = &json(&rig, "shuntadm --json -L -f 7 -6")["services"][0];
    assert_eq!(
        (&marked["fwmark"], &marked["family"], &marked["address"]),
        (&json!(7), &json!("ipv6"), &Value::Null)
    );
    assert_eq!(marked["scheduler_flags"], json!(["sh-port"]));
    assert_eq!(marked["persistence"], json!({"timeout": 60, "netmask": "64", "engine": "sip"}));
    assert_eq!(marked["servers"][0]["tunnel"], json!({"type": "gue", "port": 6080, "checksum": "full"}));
    assert_eq!(json(&rig, "shuntadm --json -L -u 10.0.0.1:53")["services"][0]["one_packet"], json!(true));
}

#[test]
fn other_lists_as_json_and_errors_as_text() {
    let rig = rig();
    assert_eq!(
        json(&rig, "shuntadm --json -L --timeout"),
        json!({"timeouts": {"tcp": 900, "tcp_fin": 120, "udp": 300}})
    );
    assert_eq!(json(&rig, "shuntadm --json -L --daemon"), json!({"daemons": []}));
    assert_eq!(json(&rig, "shuntadm --json -L -c"), json!({"connections": []}));
    rig.dataplane.entries.lock().unwrap().extend([fake::entry(40_000), fake::entry(40_001)]);
    let list = json(&rig, "shuntadm --json -L -c");
    let end = |address: &str, port: u16| json!({"address": address, "port": port});
    assert_eq!(
        list["connections"][1],
        json!({
            "family": "ipv4", "protocol": "tcp", "client": end("192.0.2.1", 40_001),
            "virtual": end("10.0.0.1", 80), "destination": end("10.1.0.1", 8080),
            "state": "ESTABLISHED", "timeout_ms": 900_000, "expires_ms": 899_500, "flags": 0, "fwmark": 0,
            "in_packets": 0, "pe_data": null,
        })
    );
    let refused = |line, status, stderr: &str| {
        let expected = Answer { status, stdout: String::new(), stderr: stderr.to_owned() };
        assert_eq!(rig.run(line, ""), expected, "{line}");
    };
    refused("shuntadm --json -S", 2, "--json goes with -L only\n");
    refused("shuntadm --json -L -t 10.0.0.9:80", 1, "No such service\n");
}
