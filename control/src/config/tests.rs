use super::*;
use crate::director::{Director, check_sysctl};
use std::path::PathBuf;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

const MINIMAL: &str =
    "[workers]\ncores = [1]\n\n[[nic_port]]\nname = \"eth\"\ndevice = \"net_tap0,iface=x\"\n";

fn error_of(text: &str) -> String {
    Config::parse("f.toml", text).expect_err("must be refused").to_string()
}

#[test]
fn all_shipped_files_load() {
    let files: Vec<_> = std::fs::read_dir(configs())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(files.len() >= 8, "{files:?}");
    for file in files {
        Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Keys that `parsed` has by its type and `written` does not spell out.
fn missing(path: &str, parsed: &serde_json::Value, written: &toml::Value, found: &mut Vec<String>) {
    match (parsed, written) {
        (serde_json::Value::Object(parsed), toml::Value::Table(written)) => {
            for (key, value) in parsed {
                let path = format!("{path}.{key}");
                match written.get(key) {
                    Some(written) => missing(&path, value, written, found),
                    None => found.push(path),
                }
            }
        }
        (serde_json::Value::Array(parsed), toml::Value::Array(written)) => {
            for (parsed, written) in parsed.iter().zip(written) {
                missing(path, parsed, written, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_reference_names_every_key() {
    let text = std::fs::read_to_string(configs().join("reference.toml")).unwrap();
    let config = Config::parse("reference.toml", &text).unwrap();
    let mut found = Vec::new();
    let parsed = serde_json::to_value(&config).unwrap();
    missing("", &parsed, &toml::Value::Table(toml::from_str(&text).unwrap()), &mut found);
    assert_eq!(found, Vec::<String>::new(), "keys that reference.toml does not document");
    assert!(!config.next_hop.is_empty() && !config.local_address.is_empty());
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = Config::load(&configs().join("reference.toml")).unwrap();
    let minimal = Config::parse("minimal", MINIMAL).unwrap();
    assert_eq!(reference.eal, minimal.eal);
    assert_eq!(reference.connections, minimal.connections);
    assert_eq!(reference.limits, minimal.limits);
    assert_eq!(reference.ipvs, minimal.ipvs);
    assert_eq!(reference.log, minimal.log);
    assert_eq!(reference.workers.idle, minimal.workers.idle);
    assert_eq!(reference.control.socket, minimal.control.socket);
    assert_eq!(reference.control.mode, minimal.control.mode);
    assert_eq!(reference.nic_port[0].mtu, minimal.nic_port[0].mtu);
    assert_eq!(reference.nic_port[0].rx_descriptors, minimal.nic_port[0].rx_descriptors);
}

fn director() -> Director {
    let dataplane = std::sync::Arc::new(crate::dataplane::tests::Recorder::new(1, 16));
    let limits = crate::director::Limits { services: 1, servers: 1 };
    let resolver = std::sync::Arc::new(crate::director::StaticResolver::default());
    Director::new(dataplane, resolver, Vec::new(), limits)
}

#[test]
fn ipvs_has_the_names_of_the_director() {
    assert_eq!(Ipvs::default().sysctls(), director().sysctls());
}

/// So that what `--check` passes can be put in force.
#[test]
fn the_check_takes_what_the_director_takes() {
    let (mut taken, mut refused) = (0, 0);
    for (name, _) in Ipvs::default().sysctls().into_iter().chain([("nonsense", String::new())]) {
        for value in
            ["0", "1", "3", "4", "65535", "65536", "2147483647", "2147483648", "-1", "x", "2 5", "5 2"]
        {
            let checked = check_sysctl(name, value);
            assert_eq!(checked, director().set_sysctl(name, value), "{name} {value}");
            *(if checked.is_ok() { &mut taken } else { &mut refused }) += 1;
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

#[test]
fn switches_are_words_or_numbers() {
    let parse = |text: &str| Config::parse("f", &format!("{MINIMAL}[ipvs]\n{text}\n")).unwrap().ipvs;
    assert_eq!(parse("sloppy_tcp = 1\npmtu_disc = 0"), parse("sloppy_tcp = true\npmtu_disc = false"));
    assert_ne!(parse("sloppy_tcp = 1"), parse("sloppy_tcp = 0"));
}

#[test]
fn errors_name_the_line_and_the_fix() {
    let cases = [
        (
            "[workers]\ncores = [1]\nidel = \"poll\"\n[[nic_port]]\nname=\"a\"\ndevice=\"net_tap0\"\n",
            "f.toml:3: unknown field `idel`, expected",
        ),
        (
            "[workers]\ncores = []\n[[nic_port]]\nname=\"a\"\ndevice=\"net_tap0\"\n",
            "f.toml:2: workers.cores: 0 cores",
        ),
        ("[workers]\ncores = [\"x\"]\n", "f.toml:2: invalid type: string"),
        ("[workers\n", "f.toml:1: "),
    ];
    for (text, expected) in cases {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = Config::load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/x.toml: cannot be read: "), "{error}");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let cases = [
        ("mtu = 9601", "f.toml:7: nic_port[1].mtu: 9601 is out of range: write 576 to 9600"),
        ("rx_descriptors = 63", "f.toml:7: nic_port[1].rx_descriptors: 63 is out of range"),
        ("rx_queues = 2", "f.toml:7: nic_port[1].rx_queues: 2 is out of range: write 1 to 1"),
        (
            "mac = \"01:00:00:00:00:00\"",
            "f.toml:7: nic_port[1].mac: 01:00:00:00:00:00 is no address of a single",
        ),
        ("mac = \"1:2:3\"", "f.toml:7: `1:2:3' is no Ethernet address: write six bytes like"),
        ("twin = \"a/b\"", "f.toml:7: nic_port[1].twin: `a/b' is no interface name"),
        ("twin = 7", "f.toml:7: write the name of a TAP interface, or false for none"),
        ("[eal]\nmemory_mb = 1", "f.toml:8: eal.memory_mb: 1 is out of range"),
        ("[eal]\nextra_args = [\"-l\", \"1\"]", "f.toml:8: eal.extra_args[1]: `-l' contradicts"),
        ("[control]\nmain_core = 1", "f.toml:2: workers.cores[1]: core 1 is control.main_core"),
        ("[control]\nsocket = \"a.sock\"", "f.toml:8: control.socket: `a.sock' is no absolute path"),
        ("[control]\nmode = 660", "f.toml:8: control.mode: 0o1224 is no mode of a socket: write it in octal"),
        ("[control]\nmode = 0o066", "f.toml:8: control.mode: 0o66 is no mode"),
        ("[connections]\nmax_ipv4 = 0\nmax_ipv6 = 0", "f.toml:7: connections: no room for any connection"),
        ("[limits]\nservices = 0", "f.toml:8: limits.services: 0 is out of range"),
        (
            "[ipvs]\ndrop_entry = 4",
            "f.toml:8: ipvs.drop_entry: `4' is no value for `drop_entry': a whole number",
        ),
        ("[ipvs]\nftp_port = 65536", "f.toml:8: ipvs.ftp_port: `65536' is no value for `ftp_port': a whole"),
        ("[ipvs]\namemthresh = 2147483648", "f.toml:8: ipvs.amemthresh: `2147483648' is no value"),
        ("[ipvs]\ndebug_level = 2147483648", "f.toml:8: ipvs.debug_level: `2147483648' is no value"),
        ("[ipvs]\nsloppy_tcp = 2", "f.toml:8: invalid value: integer `2`, expected true, false, 1 or 0"),
        ("[ipvs]\nsloppy_tcp = \"on\"", "f.toml:8: invalid type: string \"on\", expected true, false, 1"),
        ("[ipvs]\ntimeout_udp = 0", "f.toml:8: ipvs.timeout_udp: 0 is out of range"),
        ("[ipvs]\nsync_ports = 3", "f.toml:8: ipvs.sync_ports: `3' is no value for `sync_ports': a whole"),
        ("[ipvs]\nsync_threshold = [5, 2]", "f.toml:8: ipvs.sync_threshold: `5 2' is no value for"),
        ("[[sync_daemon]]\nrole = \"slave\"\ninterface = \"a\"", "f.toml:8: unknown variant `slave`"),
        (
            "[[sync_daemon]]\nrole = \"master\"\ninterface = \"a\"\ngroup = \"192.0.2.1\"",
            "f.toml:10: sync_daemon[1].group: 192.0.2.1 is no multicast",
        ),
        ("[log]\nlevel = \"loud\"", "f.toml:8: unknown variant `loud`, expected one of `error`"),
        (
            "[[nic_port]]\nname = \"eth\"\ndevice = \"net_tap1\"",
            "f.toml:8: nic_port[2].name: name `eth' is taken",
        ),
        (
            "[[nic_port]]\nname = \"b\"\ndevice = \"net_tap0\"",
            "f.toml:9: nic_port[2].device: device `net_tap0' is",
        ),
        (
            "[[nic_port]]\nname = \"b\"\ndevice = \"net_af_packet0\"",
            "f.toml:9: nic_port[2].device: `net_af_packet0' says no",
        ),
        (
            "[state]\nfile = \"/run/shunt/control.sock\"",
            "f.toml:8: state.file: `/run/shunt/control.sock' is the",
        ),
        (
            "[state]\nfile = \"/run/shunt/control.sock.lock\"",
            "f.toml:8: state.file: `/run/shunt/control.sock.lock' is",
        ),
        (
            "[[nic_port]]\nname = \"b\"\ndevice = \"0000:0A:00.0\"\n[[nic_port]]\nname = \"c\"\ndevice = \"0a:00.0,x=1\"",
            "f.toml:12: nic_port[3].device: device `0000:0a:00.0' is taken",
        ),
        (
            "[[nic_port]]\nname = \"b\"\ndevice = \"net_tap1,iface=x\"",
            "f.toml:9: nic_port[2].device: interface `x' is taken by another NIC port",
        ),
        (
            "[[nic_port]]\nname = \"b\"\ndevice = \"net_tap1\"\ntwin = \"x\"",
            "f.toml:10: nic_port[2].twin: interface `x' is taken by another NIC port",
        ),
        ("[[nic_port]]\nname = \"b\"\ndevice = \"0:1\"", "f.toml:9: nic_port[2].device: `0:1': write a PCI"),
        (
            "[[nic_port]]\nname = \"abcdefghijkl\"\ndevice = \"net_tap1\"",
            "f.toml:7: nic_port[2].twin: `twin-abcdef",
        ),
        (
            "[[next_hop]]\nprefix = \"10.0.0.1/24\"\nnic_port = \"eth\"\nmac = \"02:00:00:00:00:01\"",
            "f.toml:8: next_hop[1].prefix: 10.0.0.1/24 has bits set beyond its length: write 10.0.0.0/24",
        ),
        (
            "[[next_hop]]\nprefix = \"10.0.0.0/24\"\nnic_port = \"wan\"\nmac = \"02:00:00:00:00:01\"",
            "f.toml:9: next_hop[1].nic_port: there is no NIC port `wan': write one of eth",
        ),
        (
            "[[local_address]]\naddress = \"::\"\nnic_port = \"eth\"",
            "f.toml:8: local_address[1].address: :: is no",
        ),
    ];
    for (text, expected) in cases {
        let error = error_of(&format!("{MINIMAL}{text}\n"));
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn sleeping_workers_may_share_cores() {
    let text = MINIMAL.replace("cores = [1]", "cores = [0, 0]\nidle = \"sleep\"");
    assert_eq!(Config::parse("f", &text).unwrap().workers.cores, [0, 0]);
    let polling = MINIMAL.replace("cores = [1]", "cores = [1, 1]");
    assert!(error_of(&polling).contains("core 1 is named twice"));
}

#[test]
fn a_reload_tells_live_keys_from_others() {
    let old = Config::parse("f", MINIMAL).unwrap();
    assert_eq!(old.reload_diff(&old), ReloadDiff::default());
    let text = MINIMAL.replace("cores = [1]", "cores = [1, 2]")
        + "mtu = 1400\n[ipvs]\ndrop_entry = 1\n[log]\nlevel = \"debug\"\n[limits]\nservices = 5\n\
           [[local_address]]\naddress = \"10.0.0.1\"\nnic_port = \"eth\"\n";
    let diff = Config::parse("f", &text).unwrap().reload_diff(&old);
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    assert_eq!(sorted(diff.live), ["ipvs.drop_entry", "local_address", "log.level"]);
    assert_eq!(sorted(diff.needs_restart), ["limits.services", "nic_port[1].mtu", "workers.cores"]);
}

#[test]
fn an_address_is_a_prefix_of_its_whole_length() {
    let text = format!(
        "{MINIMAL}[[next_hop]]\nprefix = \"fd00::1\"\nnic_port = \"eth\"\nmac = \"02:00:00:00:00:01\"\n\
         [[mark]]\nmark = 5\ndestination = \"10.0.1.100\"\n"
    );
    let config = Config::parse("f", &text).unwrap();
    assert_eq!(config.next_hop[0].prefix.to_string(), "fd00::1/128");
    assert_eq!(config.mark[0].destination.map(|net| net.to_string()).as_deref(), Some("10.0.1.100/32"));
    let error = Config::parse("f", &text.replace("10.0.1.100", "10.0.1.")).unwrap_err().to_string();
    assert!(error.contains("`10.0.1.': write a prefix like"), "{error}");
}

#[test]
fn twins_have_names() {
    let config = Config::parse("f", MINIMAL).unwrap();
    assert_eq!(config.nic_port[0].twin_name().as_deref(), Some("twin-eth"));
    let named = Config::parse("f", &format!("{MINIMAL}twin = \"t0\"\n")).unwrap();
    assert_eq!(named.nic_port[0].twin_name().as_deref(), Some("t0"));
    let none = Config::parse("f", &format!("{MINIMAL}twin = false\n")).unwrap();
    assert_eq!(none.nic_port[0].twin_name(), None);
}
