//! Synchronisation daemons, and the interface that they use.

use crate::lab;
use shunt_rig::lab::{Director, Lab, eventually, words};

fn ip(lab: &Lab, arguments: &str) {
    let output = lab.command("director", "ip").args(arguments.split_whitespace()).output().expect("it runs");
    assert!(output.status.success(), "ip {arguments}: {}", words(&output));
}

/// A cable between two interfaces of the director: a master at one end, a backup at the other.
fn plug(lab: &Lab, address: &str) {
    ip(lab, "link add sync0 type veth peer name sync1");
    ip(lab, &format!("address add {address}/24 dev sync0"));
    ip(lab, "address add 10.5.0.2/24 dev sync1");
    ip(lab, "link set sync0 up");
    ip(lab, "link set sync1 up");
}

fn received(lab: &Lab) -> u64 {
    let all = lab.adm_ok("sync");
    let line = all.lines().find(|line| line.contains("sync_received_messages"));
    let count = line.and_then(|line| line.split_whitespace().find_map(|word| word.parse().ok()));
    count.unwrap_or_else(|| panic!("no count of messages in {all}"))
}

fn hears(lab: &Lab) {
    let before = received(lab);
    eventually("the backup hears the master", 15, || {
        let load = shunt_rig::http::Load::sequential(shunt_rig::lab::vip(shunt_rig::lab::Family::V4, 80), 3);
        lab.on("client", || shunt_rig::http::run(&load));
        received(lab) > before
    });
}

#[test]
#[ignore = "needs root and network namespaces: scripts/test runs it"]
fn daemons_follow_their_interface() {
    let lab = lab(Director::default());
    lab.add_services(shunt_rig::lab::Family::V4, shunt_rig::lab::Method::Nat);
    // The master's own address comes in at the other end.
    let accept = ["-qw", "net.ipv4.conf.all.accept_local=1"];
    lab.command("director", "sysctl").args(accept).status().expect("it runs");
    plug(&lab, "10.5.0.1");
    lab.adm_ok("--start-daemon master --mcast-interface sync0 --syncid 2");
    lab.adm_ok("--start-daemon backup --mcast-interface sync1 --syncid 2");
    lab.adm_ok("set sync_threshold 0 1");
    hears(&lab);
    ip(&lab, "link del sync0");
    eventually("both daemons wait", 10, || !lab.adm_ok("-L --daemon").contains("sync"));
    assert!(lab.log().contains("the synchronisation daemon master has lost its interface sync0"));
    plug(&lab, "10.5.0.1");
    eventually("both run again", 10, || lab.adm_ok("-L --daemon").matches("sync").count() >= 2);
    hears(&lab);
    ip(&lab, "address flush dev sync0");
    ip(&lab, "address add 10.5.0.9/24 dev sync0");
    hears(&lab);
}
