use super::*;
use crate::dataplane::tests::Recorder;
use crate::director::{Limits, StaticResolver};
use crate::ipvsadm::SystemNames;
use shunt_engine::counters::Counter;

struct Rig {
    commands: DirectorCommands,
    dataplane: Arc<Recorder>,
}

fn rig() -> Rig {
    let dataplane = Arc::new(Recorder::new(2, 16));
    let resolver = Arc::new(StaticResolver::default());
    let limits = Limits { services: 4, servers: 4 };
    let director = Director::new(dataplane.clone(), resolver, Vec::new(), limits);
    let director = Arc::new(Mutex::new(director));
    Rig {
        commands: DirectorCommands::new(director, Box::new(SystemNames::default()), "1.2.3".to_owned()),
        dataplane,
    }
}

impl Rig {
    /// Status, standard output, standard error.
    fn run_as(&self, line: &str, access: Access) -> (u8, String, String) {
        self.feed_as(line, "", access)
    }

    fn feed_as(&self, line: &str, input: &str, access: Access) -> (u8, String, String) {
        let argv = crate::protocol::argv(line).unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.commands.run(Request {
            argv: &argv,
            access,
            stdin: &mut input.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
        });
        (status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn run(&self, line: &str) -> (u8, String, String) {
        self.run_as(line, Access::ReadWrite)
    }
}

#[test]
fn settings_are_shown_and_changed() {
    let rig = rig();
    assert_eq!(rig.run("get drop_entry"), (0, "0\n".into(), String::new()));
    assert_eq!(rig.run("set drop_entry 2"), (0, String::new(), String::new()));
    assert_eq!(rig.run("get drop_entry").1, "2\n");
    assert_eq!(rig.dataplane.published.lock().unwrap().last().unwrap().settings().drop_entry, 2);
    assert!(rig.run("get").1.contains("drop_entry 2\n"));
    assert_eq!(rig.run("get nothing").0, 1);
    let (status, _, stderr) = rig.run("set drop_entry 9");
    assert_eq!(status, 1);
    assert!(stderr.contains("from 0 to 3"), "{stderr}");
    let usage = "usage: shuntadm set NAME VALUE... | NAME=VALUE\n";
    for line in ["set", "set drop_entry", "set drop_entry=", "set =2"] {
        assert_eq!(rig.run(line), (2, String::new(), usage.into()), "{line}");
    }
}

#[test]
fn settings_are_written_as_sysctl_has_them() {
    let rig = rig();
    for (line, name, value) in [
        ("set sync_threshold 2 70", "sync_threshold", "2 70\n"),
        ("set sync_threshold '3 60'", "sync_threshold", "3 60\n"),
        ("set sync_threshold = 4 80", "sync_threshold", "4 80\n"),
        ("set net.ipv4.vs.drop_entry=1", "net.ipv4.vs.drop_entry", "1\n"),
        ("set drop_entry = 2", "drop_entry", "2\n"),
    ] {
        assert_eq!(rig.run(line), (0, String::new(), String::new()), "{line}");
        assert_eq!(rig.run(&format!("get {name}")).1, value, "{line}");
    }
}

#[test]
fn settings_that_mean_nothing_here_are_kept_and_the_operator_is_told() {
    let rig = rig();
    for (name, default) in [("conntrack", 0), ("debug_level", 0), ("ignore_tunneled", 0), ("snat_reroute", 1)]
    {
        assert_eq!(rig.run(&format!("get {name}")).1, format!("{default}\n"));
        let (status, stdout, stderr) = rig.run(&format!("set {name} {}", 1 - default));
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (0, "", 1), "{name}");
        assert!(stderr.starts_with(&format!("shuntadm: `{name}' has no effect: ")), "{stderr}");
        assert_eq!(rig.run(&format!("get {name}")).1, format!("{}\n", 1 - default));
        assert_eq!(rig.run(&format!("set {name} x")).0, 1);
    }
}

#[test]
fn a_listener_changes_nothing() {
    let rig = rig();
    let (status, _, stderr) = rig.run_as("set drop_entry 2", Access::ReadOnly);
    assert_eq!(status, 1);
    assert!(stderr.contains("may change things"), "{stderr}");
    assert_eq!(rig.run_as("get drop_entry", Access::ReadOnly).1, "0\n");
    assert!(rig.dataplane.published.lock().unwrap().is_empty());
}

#[test]
fn workers_balance() {
    let rig = rig();
    let counters = &rig.dataplane.counters;
    counters[0].add(Counter::Received, 10);
    counters[0].add(Counter::Transmitted, 6);
    counters[0].add(Counter::TxRingFull, 3);
    counters[1].add(Counter::Injected, 4);
    counters[1].add(Counter::Punted, 4);
    let (status, text, _) = rig.run("workers");
    assert_eq!(status, 0);
    let row = |name: &str| -> Vec<String> {
        // Names fill a column of 22 characters.
        let line = text.lines().find(|line| line[..22].trim() == name).unwrap_or_else(|| panic!("{text}"));
        line[22..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("received"), ["10", "0", "10"]);
    assert_eq!(row("injected"), ["0", "4", "4"]);
    assert_eq!(row("dropped"), ["3", "0", "3"]);
    assert_eq!(row("tx_ring_full"), ["3", "0", "3"]);
    assert_eq!(row("under way"), ["1", "0", "1"]);
    for counter in Counter::ALL {
        assert_eq!(row(counter.name()).len(), 3, "{}", counter.name());
    }
    let json: serde_json::Value = serde_json::from_str(&rig.run("workers --json").1).unwrap();
    assert_eq!(json["workers"][0]["transmitted"], 6);
    assert_eq!(json["all"]["dropped"], 3);
    assert_eq!(json["workers"][0]["under_way"], 1);
}

#[test]
fn statistics_of_the_whole_director() {
    use crate::dataplane::Dataplane;
    use shunt_engine::board::bump;
    let rig = rig();
    assert_eq!(rig.run("-A -t 10.0.0.1:80").0, 0);
    for server in 1..=2 {
        assert_eq!(rig.run(&format!("-a -t 10.0.0.1:80 -r 10.1.0.{server} -m")).0, 0);
        let counts = rig.dataplane.boards().mine(shunt_engine::tables::ServerId(server - 1)).unwrap();
        bump(&counts.conns, 10);
        counts.in_bytes.store(5_000_000_000, std::sync::atomic::Ordering::Relaxed);
    }
    // What deleted servers had counted stays.
    assert_eq!(rig.run("-d -t 10.0.0.1:80 -r 10.1.0.1").0, 0);
    rig.commands.director().tick(shunt_engine::Tick(2000)).unwrap();
    let text = rig.run("stats").1;
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(row("connections"), ["20", "2"]);
    assert_eq!(row("in_bytes")[0], "10000000000");
    let json: serde_json::Value = serde_json::from_str(&rig.run("stats --json").1).unwrap();
    assert_eq!((&json["statistics"]["connections"], &json["rates"]["connections"]), (&20.into(), &2.into()));
    assert_eq!(rig.run("-Z").0, 0);
    assert!(rig.run("stats").1.contains("connections                      0"));
    assert_eq!(rig.run("stats x").0, 2);
}

#[test]
fn other_words_are_explained() {
    let rig = rig();
    assert_eq!(rig.run("version").1, "shuntd 1.2.3\n");
    let (status, _, stderr) = rig.run("as shuntadm frobnicate");
    assert_eq!(status, 2);
    assert_eq!(stderr, "shuntadm: there is no command `frobnicate': see `shuntadm help' and `shuntadm -h'\n");
    let help = rig.run("help").1;
    for SubCommand { name, .. } in SUB_COMMANDS {
        assert!(help.contains(&format!("  {name} ")), "{help}");
    }
}

#[test]
fn marks_are_added_listed_and_deleted() {
    let rig = rig();
    assert_eq!(rig.run("mark add 5 destination 10.0.1.0/24 protocol tcp dports 80-443").0, 0);
    assert_eq!(rig.run("mark add 6 family 6").0, 0);
    assert_eq!(
        rig.run("mark list").1,
        "1: 5 destination 10.0.1.0/24 protocol tcp dports 80-443\n2: 6 family 6\n"
    );
    let published = || rig.dataplane.published.lock().unwrap().last().unwrap().marks().rules().to_vec();
    assert_eq!(published().iter().map(|rule| rule.mark).collect::<Vec<_>>(), [5, 6]);
    for line in ["mark add 0", "mark add 5 nic_port nowhere", "mark del 3", "mark del 0"] {
        let (status, _, stderr) = rig.run(line);
        assert!(status == 1 && !stderr.is_empty(), "{line}");
    }
    assert_eq!(rig.run_as("mark del 1", Access::ReadOnly).0, 1);
    assert_eq!(rig.run("mark del 1").0, 0);
    assert_eq!(published().len(), 1);
    assert_eq!(rig.run("mark").0, 2);
    // Into the middle.
    assert_eq!(rig.run("mark add 7 before 1").0, 0);
    assert_eq!(rig.run("mark add 8 protocol udp before 2").0, 0);
    let list = "1: 7\n2: 8 protocol udp\n3: 6 family 6\n";
    assert_eq!(rig.run("mark list").1, list);
    for line in ["mark add 9 before 4", "mark add 9 before", "mark add before 1"] {
        assert_eq!(rig.run(line).0, 1, "{line}");
    }
    assert_eq!(rig.run("mark list").1, list);
}

#[test]
fn rules_of_marks_are_loaded_in_one_publication_or_not_at_all() {
    let rig = rig();
    let publications = || rig.dataplane.published.lock().unwrap().len();
    let rules: String =
        (1..=10_000).map(|mark| format!("{mark} destination 10.{}.{}.1\n", mark / 256, mark % 256)).collect();
    let before = publications();
    assert_eq!(rig.feed_as("mark load", &format!("# all\n\n{rules}"), Access::ReadWrite).0, 0);
    assert_eq!(publications(), before + 1);
    let list = rig.run("mark list").1;
    assert_eq!(list.lines().count(), 10_000);
    // What is listed can be loaded.
    assert_eq!(rig.feed_as("mark load", &list, Access::ReadWrite).0, 0);
    assert_eq!(rig.run("mark list").1, list);
    let (status, _, stderr) = rig.feed_as("mark load", "5\n0\n", Access::ReadWrite);
    assert_eq!(
        (status, stderr.as_str()),
        (1, "shuntadm: line 2: a mark is a number from 1 to 4294967295; nothing was changed\n")
    );
    assert_eq!(rig.feed_as("mark load", "5\n", Access::ReadOnly).0, 1);
    // Two ragged ranges, 900 blocks each in both families.
    let ragged = "5 sports 1-65534 dports 1-65534\n".repeat(600);
    let (status, _, stderr) = rig.feed_as("mark load", &ragged, Access::ReadWrite);
    assert!(
        status == 1 && stderr.contains("rule 583: with this rule all rules have more than 1048576"),
        "{stderr}"
    );
    assert_eq!(rig.run("mark list").1, list);
}
