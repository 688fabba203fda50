//! The director behind the command line: publications, deleted servers, statistics, bounds, rights.

mod fake;

use fake::Rig;
use shunt_control::director::{Errno, Refusal, StaticResolver};
use shunt_control::ipvsadm::Access;
use shunt_control::sync::{DaemonHost, DaemonOptions, DaemonParts, Role, Running};
use shunt_engine::Tick;
use shunt_engine::sched::{NewFlow, Schedulers};
use shunt_engine::tables::{Hop, SchedulerKind, Server, ServerId, ServiceKey, Tables};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn key(text: &str) -> ServiceKey {
    let (vaddr, vport) = text.rsplit_once(':').unwrap();
    ServiceKey::Address { protocol: 6, vaddr: vaddr.parse().unwrap(), vport: vport.parse().unwrap() }
}

/// What workers saw last.
fn published(rig: &Rig) -> Tables {
    rig.dataplane.published.lock().unwrap().last().expect("nothing was published").clone()
}

fn publications(rig: &Rig) -> usize {
    rig.dataplane.published.lock().unwrap().len()
}

fn servers(tables: &Tables, service: &str) -> Vec<Server> {
    let service = tables.service_by_key(&key(service)).expect("no such service");
    service.servers.iter().map(|candidate| tables.server(candidate.id).unwrap().clone()).collect()
}

fn ids(tables: &Tables, service: &str) -> Vec<ServerId> {
    servers(tables, service).iter().map(|server| server.id).collect()
}

fn tick(rig: &Rig, seconds: u64) {
    rig.director.lock().unwrap().tick(Tick(seconds * 1000)).unwrap();
}

#[test]
fn a_change_is_published_and_a_list_is_not() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    assert_eq!(publications(&rig), 1);
    rig.list("ipvsadm -Ln");
    rig.list("ipvsadm -Sn");
    assert_eq!(publications(&rig), 1);
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 3");
    assert_eq!(publications(&rig), 2);
    let server = &servers(&published(&rig), "10.0.0.1:80")[0];
    assert_eq!((server.weight, server.dport, server.available), (3, 80, true));
    assert_eq!(rig.run("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m", "").status, 255);
    assert_eq!(publications(&rig), 2, "nothing changed");
}

#[test]
fn servers_of_a_batch_are_known_by_where_their_packets_come_from() {
    let rig = Rig::new(10, 10);
    let batch = "-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m\n";
    assert_eq!(rig.run("ipvsadm -R", batch).status, 0);
    let server = |protocol| published(&rig).nat_server([10, 1, 0, 1].into(), 8080, protocol).map(|at| at.id);
    assert_eq!(server(6), Some(ids(&published(&rig), "10.0.0.1:80")[0]));
    assert_eq!(server(17), None);
}

#[test]
fn a_batch_is_one_publication() {
    let rig = Rig::new(10, 10);
    let batch = "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1 -m\n-L -n\n-a -t 10.0.0.1:80 -r 10.1.0.2 -m\n\
                 -e -t 10.0.0.1:80 -r 10.1.0.1 -m -w 9\n-A -t 10.0.0.2:x\n-A -t 10.0.0.3:80\n";
    let answer = rig.run("ipvsadm -R", batch);
    assert_eq!(answer.status, 2);
    assert_eq!(answer.stderr, "illegal virtual server address[:port] specified\n");
    assert!(answer.stdout.contains("10.1.0.1:80") && !answer.stdout.contains("10.1.0.2:80"));
    assert_eq!(publications(&rig), 1);
    let tables = published(&rig);
    let weights: Vec<_> = servers(&tables, "10.0.0.1:80").iter().map(|server| server.weight).collect();
    assert_eq!(weights, [1, 9], "newest first");
    assert!(tables.service_by_key(&key("10.0.0.3:80")).is_none(), "lines after the bad one are not read");
    let service = tables.service_by_key(&key("10.0.0.1:80")).unwrap();
    assert_eq!(service.plan.kind(), SchedulerKind::Rr);
    assert_eq!(service.servers[1].weight, 9);
}

#[test]
fn restore_quirks() {
    let rig = Rig::new(10, 10);
    let run = |stdin| {
        let answer = rig.run("prog -R", stdin);
        (answer.status, answer.stderr)
    };
    assert_eq!(
        run("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80\n-A -t 10.0.0.2:80\n"),
        (0, "Service already exists\n".into())
    );
    assert_eq!(run("-A -t 10.0.0.3:80 -Q\n-A -t 10.0.0.4:80\r\n"), (0, "-Q: unknown option\n".into()));
    assert_eq!(run("-A -t 10.0.0.5:80"), (0, String::new()));
    assert_eq!(run("-A -t 10.0.0.6:80 "), (0, String::new()));
    let help = "Try `prog -h' or 'prog --help' for more information.\n";
    assert_eq!(run("-R\n-A -t 10.0.0.7:80\n"), (255, help.into()));
    assert_eq!(run("-v\n-A -t 10.0.0.7:80\n").0, 0, "-v ends the program");
    let services: Vec<String> = rig.list("ipvsadm -Sn").lines().map(|line| line[13..14].to_owned()).collect();
    assert_eq!(services, ["1", "2", "4", "5", "6"]);
    let long = format!("-A -t 10.0.0.8:80 -s {}\n", "x".repeat(70_000));
    assert_eq!(run(&long).0, 2, "a line has a bound");
}

#[test]
fn readers_may_list_and_nothing_else() {
    let mut rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.access = Access::ReadOnly;
    for line in [
        "ipvsadm -A -t 10.0.0.2:80",
        "ipvsadm -E -t 10.0.0.1:80",
        "ipvsadm -D -t 10.0.0.1:80",
        "ipvsadm -C",
        "ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1",
        "ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1",
        "ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.1",
        "ipvsadm -Z",
        "ipvsadm --set 1 1 1",
        "ipvsadm --start-daemon master",
        "ipvsadm --stop-daemon master",
    ] {
        let answer = rig.run(line, "");
        assert_eq!(
            (answer.status, answer.stderr.as_str()),
            (255, "Permission denied (you must be root)\n"),
            "{line}"
        );
    }
    assert_eq!(rig.run("ipvsadm -R", "-C\n").status, 255);
    assert_eq!(rig.run("ipvsadm -A", "").status, 2, "the words are checked first");
    assert_eq!(rig.list("ipvsadm -Sn"), "-A -t 10.0.0.1:80 -s wlc\n");
    assert_eq!(publications(&rig), 1);
}

#[test]
fn a_deleted_server_comes_back_with_its_connections() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m");
    let id = ids(&published(&rig), "10.0.0.1:80")[0];
    let counts = rig.dataplane.boards.for_worker(0);
    let counts = counts.mine(id).unwrap();
    counts.total.store(2, Relaxed);
    counts.conns.store(7, Relaxed);
    tick(&rig, 0);

    rig.ok("ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.1");
    let tables = published(&rig);
    assert!(ids(&tables, "10.0.0.1:80").is_empty());
    assert!(!tables.server(id).unwrap().available, "connections may still name it");
    for minute in 1..10 {
        tick(&rig, minute * 60);
    }
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.2 -m");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 5");
    let tables = published(&rig);
    assert_eq!(ids(&tables, "10.0.0.1:80")[0], id, "the same record, at the head of the list");
    assert_eq!((tables.server(id).unwrap().available, tables.server(id).unwrap().weight), (true, 5));
    let list = rig.list("ipvsadm -Ln --stats");
    assert!(list.contains("10.1.0.1:80                         7"), "statistics are kept: {list}");

    // The service is made anew: connections stay, statistics do not.
    rig.ok("ipvsadm -D -t 10.0.0.1:80");
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m");
    assert_eq!(ids(&published(&rig), "10.0.0.1:80"), [id]);
    let list = rig.list("ipvsadm -Ln --stats");
    assert!(list.contains("10.1.0.1:80                         0"), "statistics begin anew: {list}");
    assert!(rig.list("ipvsadm -Ln").contains("Masq    1      0          2"), "connections are kept");
}

#[test]
fn an_idle_deleted_server_is_forgotten_and_its_id_reused() {
    let rig = Rig::new(10, 1);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m");
    let id = ids(&published(&rig), "10.0.0.1:80")[0];
    rig.dataplane.boards.mine(id).unwrap().conns.store(7, Relaxed);
    tick(&rig, 0);
    rig.ok("ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.1");
    for seconds in [0, 60, 120, 180] {
        assert!(published(&rig).server(id).is_some(), "{seconds} s");
        tick(&rig, seconds);
    }
    assert!(published(&rig).server(id).is_none());
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.9 -m");
    assert_eq!(ids(&published(&rig), "10.0.0.1:80"), [id]);
    tick(&rig, 200);
    assert!(rig.list("ipvsadm -Ln --stats").contains("10.1.0.9:80                         0"));
}

#[test]
fn statistics_of_a_service_outlive_its_servers() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m");
    let id = ids(&published(&rig), "10.0.0.1:80")[0];
    let counts = rig.dataplane.boards.for_worker(1);
    let conns = &counts.mine(id).unwrap().conns;
    conns.store(3, Relaxed);
    tick(&rig, 0);
    // Counted between the last tick and the deletion.
    conns.store(5, Relaxed);
    rig.ok("ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.1");
    tick(&rig, 2);
    let statistics = |nth| rig.list("ipvsadm -Ln --stats").lines().nth(nth).unwrap().to_owned();
    assert_eq!(
        statistics(3),
        "TCP  10.0.0.1:80                         5        0        0        0        0"
    );
    rig.ok("ipvsadm -Z");
    assert_eq!(
        statistics(3),
        "TCP  10.0.0.1:80                         0        0        0        0        0"
    );
    let mut director = rig.director.lock().unwrap();
    director.set_sysctl("run_estimation", "0").unwrap();
    conns.store(9, Relaxed);
    director.tick(Tick(4000)).unwrap();
    assert_eq!(director.snapshot().total().counters().0[0], 0, "frozen");
    director.set_sysctl("run_estimation", "1").unwrap();
    director.tick(Tick(6000)).unwrap();
    assert_eq!(director.snapshot().total().counters().0[0], 4);
}

#[test]
fn bounds() {
    let rig = Rig::new(2, 2);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -A -t 10.0.0.2:80");
    let full = rig.run("ipvsadm -A -t 10.0.0.3:80", "");
    assert_eq!(full.status, 255);
    assert_eq!(full.stderr, "no room for another virtual service: the limit is 2 (limits.services)\n");
    rig.ok("ipvsadm -D -t 10.0.0.1:80");
    rig.ok("ipvsadm -A -t 10.0.0.3:80");
    rig.ok("ipvsadm -a -t 10.0.0.2:80 -r 10.1.0.1");
    rig.ok("ipvsadm -a -t 10.0.0.2:80 -r 10.1.0.2");
    let full = rig.run("ipvsadm -a -t 10.0.0.2:80 -r 10.1.0.3", "");
    assert_eq!(full.status, 255);
    assert!(full.stderr.starts_with("no room for another real server: the limit is 2"), "{}", full.stderr);
    // A deleted server without connections makes room at once, one with connections does not.
    let id = ids(&published(&rig), "10.0.0.2:80")[0];
    rig.dataplane.boards.mine(id).unwrap().persistent.store(1, Relaxed);
    rig.ok("ipvsadm -d -t 10.0.0.2:80 -r 10.1.0.2");
    assert_eq!(rig.run("ipvsadm -a -t 10.0.0.2:80 -r 10.1.0.3", "").status, 255);
    rig.dataplane.boards.mine(id).unwrap().persistent.store(0, Relaxed);
    rig.ok("ipvsadm -a -t 10.0.0.2:80 -r 10.1.0.3");
}

#[test]
fn hops_follow_the_mirror() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -i");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.2 -i");
    assert_eq!(servers(&published(&rig), "10.0.0.1:80")[0].hop, Hop::Unreachable);
    let source: IpAddr = "10.1.0.254".parse().unwrap();
    let mut resolver = StaticResolver::default();
    resolver.insert("10.1.0.1".parse().unwrap(), Hop::Unresolved, Some(source));
    resolver.insert("10.1.0.3".parse().unwrap(), Hop::Local, None);
    {
        let mut director = rig.director.lock().unwrap();
        assert_eq!(director.refresh_hops(Arc::new(resolver.clone())), 1);
        director.publish().unwrap();
        let before = publications(&rig);
        assert_eq!(director.refresh_hops(Arc::new(resolver)), 0);
        director.publish().unwrap();
        assert_eq!(publications(&rig), before, "nothing changed");
    }
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.3 -i");
    let servers = servers(&published(&rig), "10.0.0.1:80");
    let ways: Vec<_> = servers.iter().map(|server| (server.hop, server.tunnel_source)).collect();
    assert_eq!(ways, [(Hop::Local, None), (Hop::Unreachable, None), (Hop::Unresolved, Some(source))]);
}

#[test]
fn overload_is_evaluated_at_edits() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1");
    let id = ids(&published(&rig), "10.0.0.1:80")[0];
    let boards = &rig.dataplane.boards;
    boards.mine(id).unwrap().total.store(9, Relaxed);
    let edit = |options: &str| {
        rig.ok(&format!("ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1 {options}"));
        boards.is_overloaded(id)
    };
    assert!(edit("-x 9"));
    assert!(edit("-x 9 -w 4"), "unchanged thresholds change nothing");
    assert!(edit("-x 10"), "between the thresholds the flag keeps its value");
    assert!(!edit("-x 20"));
    assert!(!edit("-x 10"));
    assert!(edit("-x 5"));
    assert!(!edit("-w 1"), "no threshold");
}

#[test]
fn edits_replace_everything() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80 -s rr -p 60 -b flag-1");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 9 -x 4 -y 2");
    let epoch = published(&rig).service_by_key(&key("10.0.0.1:80")).unwrap().plan.clone();
    rig.ok("ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1");
    rig.ok("ipvsadm -E -t 10.0.0.1:80");
    assert_eq!(
        rig.list("ipvsadm -Sn"),
        "-A -t 10.0.0.1:80 -s wlc\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 1\n"
    );
    let tables = published(&rig);
    let server = &servers(&tables, "10.0.0.1:80")[0];
    assert_eq!((server.upper_threshold, server.lower_threshold), (0, 0));
    let service = tables.service_by_key(&key("10.0.0.1:80")).unwrap();
    assert_eq!((epoch.kind(), service.plan.kind()), (SchedulerKind::Rr, SchedulerKind::Wlc));
}

#[test]
fn the_latest_weight_above_zero_is_kept() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80 -s mh");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -w 7");
    rig.ok("ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1 -w 0");
    let candidate = published(&rig).service_by_key(&key("10.0.0.1:80")).unwrap().servers[0];
    assert_eq!((candidate.weight, candidate.last_weight), (0, 7));
    rig.ok("ipvsadm -d -t 10.0.0.1:80 -r 10.1.0.1");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -w 0");
    let candidate = published(&rig).service_by_key(&key("10.0.0.1:80")).unwrap().servers[0];
    assert_eq!((candidate.weight, candidate.last_weight), (0, 0), "added anew");
}

#[test]
fn flush_forgets_all_and_keeps_connections() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1");
    let id = ids(&published(&rig), "10.0.0.1:80")[0];
    rig.dataplane.boards.mine(id).unwrap().total.store(1, Relaxed);
    rig.ok("ipvsadm -C");
    let tables = published(&rig);
    assert_eq!(tables.services().count(), 0);
    assert!(!tables.server(id).unwrap().available);
    assert_eq!(rig.list("ipvsadm -Sn"), "");
}

#[test]
fn sysctls() {
    let rig = Rig::new(1, 1);
    let mut director = rig.director.lock().unwrap();
    director.set_sysctl("drop_packet", "3").unwrap();
    director.set_sysctl("expire_nodest_conn", " 1\n").unwrap();
    director.set_sysctl("lblc_expiration", "60").unwrap();
    let error = director.set_sysctl("drop_packet", "4").unwrap_err();
    assert_eq!(error.to_string(), "`4' is no value for `drop_packet': a whole number from 0 to 3 is wanted");
    assert_eq!(
        director.set_sysctl("nonsense", "1").unwrap_err().to_string(),
        "there is no setting `nonsense'"
    );
    director.publish().unwrap();
    let tables = published(&rig);
    let settings = tables.settings();
    assert_eq!((settings.drop_packet, settings.expire_nodest_conn, settings.lblc_expiration), (3, true, 60));
    assert!(director.sysctls().contains(&("drop_packet", "3".to_owned())));
}

/// The interface of a daemon comes and goes.
#[derive(Default)]
struct Plug(Arc<AtomicBool>);

impl DaemonHost for Plug {
    fn mtu(&self, _: &str) -> Result<u32, Refusal> {
        if self.0.load(Relaxed) { Ok(1500) } else { Err(Errno::Enodev.into()) }
    }

    fn start(&self, _: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        Ok(Box::new(Plugged(self.0.clone())))
    }
}

struct Plugged(Arc<AtomicBool>);

impl Running for Plugged {
    fn is_cut_off(&self) -> bool {
        !self.0.load(Relaxed)
    }
}

#[test]
fn a_daemon_whose_interface_goes_waits_for_it() {
    let rig = Rig::new(4, 4);
    let plug = Arc::new(Plug::default());
    let mut director = rig.director.lock().unwrap();
    director.set_daemon_host(plug.clone());
    plug.0.store(true, Relaxed);
    let options = DaemonOptions { interface: "sync0".to_owned(), syncid: 3, ..DaemonOptions::default() };
    director.start_daemon(Role::Master, &options).unwrap();
    director.tick(Tick(2000)).unwrap();
    assert!(director.daemons().len() == 1 && director.waiting_daemons().is_empty());
    plug.0.store(false, Relaxed);
    director.tick(Tick(4000)).unwrap();
    assert_eq!(director.waiting_daemons()[0].options, options);
    assert!(director.daemons().is_empty() && !published(&rig).settings().sync.master);
    plug.0.store(true, Relaxed);
    director.tick(Tick(6000)).unwrap();
    assert!(director.daemons().len() == 1 && published(&rig).settings().sync.master);
}

#[test]
fn a_wanted_daemon_waits_for_its_interface() {
    let rig = Rig::new(4, 4);
    let plug = Arc::new(Plug::default());
    let mut director = rig.director.lock().unwrap();
    director.set_daemon_host(plug.clone());
    director.publish().unwrap();
    let options = DaemonOptions { interface: "sync0".to_owned(), syncid: 3, ..DaemonOptions::default() };
    assert_eq!(director.want_daemon(Role::Master, &options), Err(Errno::Enodev.into()));
    director.tick(Tick(2000)).unwrap();
    assert_eq!(director.waiting_daemons()[0].options, options);
    assert!(director.daemons().is_empty() && !published(&rig).settings().sync.master);
    plug.0.store(true, Relaxed);
    director.tick(Tick(4000)).unwrap();
    assert!(director.waiting_daemons().is_empty() && published(&rig).settings().sync.master);
    assert_eq!((director.daemons()[0].role, director.daemons()[0].syncid), (Role::Master, 3));
    // Who stops one that waits has nothing to wait for any more; one started by hand takes the place of it.
    plug.0.store(false, Relaxed);
    let _ = director.want_daemon(Role::Backup, &options);
    director.stop_daemon(Role::Backup).unwrap();
    assert_eq!(director.stop_daemon(Role::Backup), Err(Errno::Esrch.into()));
    let _ = director.want_daemon(Role::Backup, &options);
    plug.0.store(true, Relaxed);
    director.start_daemon(Role::Backup, &DaemonOptions { syncid: 9, ..options.clone() }).unwrap();
    director.tick(Tick(6000)).unwrap();
    assert_eq!(director.daemons()[1].syncid, 9);
    assert_eq!(director.start_daemon(Role::Backup, &options), Err(Errno::Eexist.into()));
    assert_eq!(director.want_daemon(Role::Backup, &options), Err(Errno::Eexist.into()));
    assert_eq!(director.daemons()[1].syncid, 9);
}

/// What the files below `/proc/sys/net/ipv4/vs` said on a Linux 6.1 kernel that has just loaded IPVS.
#[test]
fn names_and_defaults_of_sysctls_are_the_kernels() {
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../testdata/cli/09-list.json")).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["cmd"].as_str().unwrap().contains("/proc/sys/net/ipv4/vs/"));
    let kernel: Vec<(&str, String)> = case.expect("the recording has them")["stdout"]
        .as_str()
        .unwrap()
        .lines()
        .map(|line| line.split_once(" = ").unwrap())
        .map(|(name, value)| (name, value.replace('\t', " ")))
        // It depends on the memory of the machine.
        .filter(|(name, _)| *name != "sync_qlen_max")
        .collect();
    assert!(kernel.len() > 20);
    let rig = Rig::new(1, 1);
    let mut here = rig.director.lock().unwrap().sysctls();
    // A parameter of a module, and files of modules that were not loaded.
    let elsewhere = ["ftp_port", "lblc_expiration", "lblcr_expiration", "sync_qlen_max"];
    for name in elsewhere {
        let place = here.iter().position(|(have, _)| *have == name).expect(name);
        here.remove(place);
    }
    assert_eq!(here, kernel);
}

/// The first picks of a fresh worker for this service.
fn picks(rig: &Rig, service: &str) -> Vec<Option<IpAddr>> {
    let tables = published(rig);
    let service = tables.service_by_key(&key(service)).unwrap();
    let mut schedulers = Schedulers::new(100, 100, 1);
    (0..40_u8)
        .map(|client| {
            let flow = NewFlow {
                protocol: 6,
                caddr: [192, 0, 2, client].into(),
                cport: 40_000,
                daddr: [10, 0, 0, client].into(),
                vport: 80,
                now: Tick(0),
            };
            let id = schedulers.pick(service, &rig.dataplane.boards, &flow)?;
            tables.server(id).map(|server| server.daddr)
        })
        .collect()
}

#[test]
fn a_batch_schedules_as_single_commands_do() {
    for scheduler in ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"] {
        let lines = format!(
            "-A -t 10.0.0.1:80 -s {scheduler}\n-a -t 10.0.0.1:80 -r 10.1.0.1 -w 0\n-a -t 10.0.0.1:80 -r 10.1.0.2 -w 4\n\
             -a -t 10.0.0.1:80 -r 10.1.0.3 -w 6\n-a -t 10.0.0.1:80 -r 10.1.0.4 -w 2\n"
        );
        let (batch, single) = (Rig::new(10, 10), Rig::new(10, 10));
        assert_eq!(batch.run("ipvsadm -R", &lines).status, 0);
        lines.lines().for_each(|line| single.ok(&format!("ipvsadm {line}")));
        let picks_of_batch = picks(&batch, "10.0.0.1:80");
        assert!(picks_of_batch.iter().any(Option::is_some), "{scheduler}");
        assert_eq!(picks_of_batch, picks(&single, "10.0.0.1:80"), "{scheduler}");
    }
}
