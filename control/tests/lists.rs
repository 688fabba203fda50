//! Lists with numbers in them, as the specification shows them (spec `cli.md` §12.7, §13, §16).

mod fake;

use fake::Rig;
use shunt_engine::board::ServerCounts;
use shunt_engine::tables::{Family, Server, ServerId};
use shunt_engine::{ConnectionInfo, Tick};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\n";

/// The server at this address.
fn server(rig: &Rig, daddr: &str) -> Server {
    let daddr: IpAddr = daddr.parse().unwrap();
    let snapshot = rig.director.lock().unwrap().snapshot();
    let services = snapshot.services();
    let mut servers = services.iter().flat_map(|service| snapshot.servers(service));
    servers.find(|server| server.daddr == daddr).expect("no such server").clone()
}

/// What a worker counts for the server at this address.
fn count(rig: &Rig, worker: usize, daddr: &str, write: impl Fn(&ServerCounts)) {
    let board = rig.dataplane.boards.for_worker(worker);
    write(board.mine(server(rig, daddr).id).unwrap());
}

fn counters(rig: &Rig, daddr: &str, [conns, in_packets, out_packets, in_bytes, out_bytes]: [u64; 5]) {
    count(rig, 1, daddr, |counts| {
        counts.conns.store(conns, Relaxed);
        counts.in_packets.store(in_packets, Relaxed);
        counts.out_packets.store(out_packets, Relaxed);
        counts.in_bytes.store(in_bytes, Relaxed);
        counts.out_bytes.store(out_bytes, Relaxed);
    });
}

fn tick(rig: &Rig, seconds: u64) {
    rig.director.lock().unwrap().tick(Tick(seconds * 1000)).unwrap();
}

#[test]
fn plain() {
    let rig = Rig::new(100, 100);
    for line in [
        "ipvsadm -A -f 5 -s rr",
        "ipvsadm -a -f 5 -r 10.1.0.3:90",
        "ipvsadm -A -f 5 -6",
        "ipvsadm -a -f 5 -6 -r [2001:db8::5]:0",
        "ipvsadm -A -u 10.0.0.5:5060 -p 60 --pe sip -o",
        "ipvsadm -A -t [2001:db8:1111:2222:3333:4444:5555:6666]:8080 -p",
        "ipvsadm -a -t [2001:db8:1111:2222:3333:4444:5555:6666]:8080 -r \
         [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:8080 -m",
        "ipvsadm -A -t 10.0.0.1:80 -s rr",
        "ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -m",
        "ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.2 -m",
    ] {
        rig.ok(line);
    }
    for worker in 0..2 {
        count(&rig, worker, "10.1.0.1", |counts| {
            counts.active.store(6172 + worker as u32, Relaxed);
            counts.total.store(6173 + worker as u32, Relaxed);
        });
    }
    count(&rig, 0, "10.1.0.2", |counts| {
        counts.active.store(u32::MAX, Relaxed);
        counts.total.store(u32::MAX, Relaxed);
    });
    assert_eq!(
        rig.list("ipvsadm -Ln"),
        HEAD.to_owned()
            + "Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 rr
  -> 10.1.0.1:80                  Masq    1      12345      2         
  -> 10.1.0.2:80                  Masq    1      4294967295 0         
UDP  10.0.0.5:5060 wlc persistent 60 pe sip ops
TCP  [2001:db8:1111:2222:3333:4444:5555:6666]:8080 wlc persistent 360
  -> [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:8080 Masq    1      0          0         
FWM  5 rr
  -> 10.1.0.3:90                  Route   1      0          0         
FWM  5 IPv6 wlc
  -> [2001:db8::5]:0              Route   1      0          0         
"
    );
    count(&rig, 0, "10.1.0.1", |counts| counts.persistent.store(3, Relaxed));
    assert_eq!(
        rig.list("ipvsadm -Ln --persistent-conn -t 10.0.0.1:80").lines().nth(3),
        Some("  -> 10.1.0.1:80                  1         3           12345      2         ")
    );
}

#[test]
fn counters_scaled_and_exact() {
    let rig = Rig::new(100, 100);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.2 -m");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.3 -m");
    counters(&rig, "10.1.0.2", [1, 2, 3, 4, 5]);
    counters(&rig, "10.1.0.3", [99_999_998, 99_999_998, 999_999_996, 999_999_996, 99_999_999_994]);
    let line =
        |options: &str, nth| rig.list(&format!("ipvsadm -Ln {options}")).lines().nth(nth).unwrap().to_owned();
    let nothing = "TCP  10.0.0.1:80                         0        0        0        0        0";
    assert_eq!(line("--stats", 3), nothing, "before the tick");
    tick(&rig, 0);
    assert_eq!(
        line("--stats", 3),
        "TCP  10.0.0.1:80                  99999999  100000K  999999K    1000M   99999M"
    );
    assert_eq!(
        line("--stats", 4),
        "  -> 10.1.0.2:80                         1        2        3        4        5"
    );
    assert_eq!(
        line("--stats --exact", 3),
        "TCP  10.0.0.1:80                  99999999 100000000 999999999 1000000000 99999999999"
    );
    rig.ok("ipvsadm -Z -t 10.0.0.1:80");
    assert_eq!(line("--stats", 3), nothing);
    let total = || rig.director.lock().unwrap().snapshot().total().counters().0[0];
    assert_eq!(total(), 99_999_999, "-Z of a service leaves the total alone");
    rig.ok("ipvsadm -Z");
    assert_eq!(total(), 0);
}

#[test]
fn rates() {
    let rig = Rig::new(100, 100);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.9 -m");
    // A steady rate, long enough for the average to settle.
    for second in (0..200).step_by(2) {
        let rates = [1_234_567_890, 5, 0, 100_000_000, 5_120_000];
        counters(&rig, "10.1.0.9", rates.map(|rate: u64| rate * second));
        tick(&rig, second);
    }
    let list = rig.list("ipvsadm -Ln --rate");
    let lines: Vec<&str> = list.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
            "  -> RemoteAddress:Port",
            "TCP  10.0.0.1:80                     1234M        5        0  100000K  5120000",
            "  -> 10.1.0.9:80                  1234567890        5        0  100000K  5120000",
        ]
    );
}

#[test]
fn thresholds_and_tunnels() {
    let rig = Rig::new(100, 100);
    rig.ok("ipvsadm -A -t 10.0.0.1:80 -s wrr");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -x 2147483647");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.5 -i --tun-type gue --tun-port 6080");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.6 -i --tun-type gre --tun-csum");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.7 -i");
    rig.ok("ipvsadm -a -t 10.0.0.1:80 -r [2001:db8::98]:80 -i --tun-type gue --tun-port 1 --tun-remcsum");
    assert_eq!(
        rig.list("ipvsadm -Ln --tun-info -t 10.0.0.1:80"),
        "Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn
TCP  10.0.0.1:80 wrr
  -> 10.1.0.1:80                  Route   n/a           1      0          0         
  -> 10.1.0.5:80                  Tunnel  gue:6080:-c   1      0          0         
  -> 10.1.0.6:80                  Tunnel  gre:+c        1      0          0         
  -> 10.1.0.7:80                  Tunnel  ipip          1      0          0         
  -> [2001:db8::98]:80            Tunnel  gue:1:r+c     1      0          0         
"
    );
    assert_eq!(
        rig.list("ipvsadm -Ln --thresholds -t 10.0.0.1:80").lines().nth(3),
        Some("  -> 10.1.0.1:80                  2147483647 0          0          0         ")
    );
    assert_eq!(
        rig.list("ipvsadm -Sn").lines().nth(5),
        Some("-a -t 10.0.0.1:80 -r [2001:db8::98]:80 -i -w 1 --tun-type gue --tun-port 1 --tun-remcsum")
    );
}

#[test]
fn names_are_cut_for_ipv4_only() {
    let rig = Rig::new(100, 100);
    rig.ok("ipvsadm -A -t 192.0.2.99:80 -s rr");
    rig.ok("ipvsadm -a -t 192.0.2.99:80 -r very-long-host-name.example.com:http");
    rig.ok("ipvsadm -A -t [2001:db8::99]:80");
    let list = rig.list("ipvsadm -L");
    assert_eq!(
        list.lines().skip(3).collect::<Vec<_>>(),
        [
            "TCP  very-long-host-name.example. rr",
            "  -> very-long-host-name.example. Route   1      0          0         ",
            "TCP  [very-long-host-name.example.com]:http wlc",
        ]
    );
    assert_eq!(
        rig.list("ipvsadm -S").lines().next(),
        Some("-A -t very-long-host-name.example.com:http -s rr")
    );
}

const TEMPLATE: u32 = 0x1000;

fn entry(protocol: u8, state: u8, seconds: u64, ends: [(&str, u16); 3]) -> ConnectionInfo {
    let [(caddr, cport), (vaddr, vport), (daddr, dport)] = ends;
    let caddr: IpAddr = caddr.parse().unwrap();
    ConnectionInfo {
        protocol,
        family: Family::of(&caddr),
        caddr,
        cport,
        vaddr: vaddr.parse().unwrap(),
        vport,
        daddr: daddr.parse().unwrap(),
        dport,
        state,
        timeout_ms: 900_000,
        expires_ms: seconds * 1000 + 999,
        flags: if cport == 0 { TEMPLATE } else { 0 },
        fwmark: 0,
        in_packets: 0,
        server: ServerId(0),
        control: None,
        sequence: None,
        pe_data: None,
    }
}

#[test]
fn connections() {
    let rig = Rig::new(100, 100);
    let client = ("192.168.0.2", 50_000);
    let service = ("10.0.0.1", 80);
    let mut sip = entry(17, 0, 60, [("192.168.0.0", 0), ("10.0.0.5", 5060), ("10.1.0.1", 5060)]);
    *rig.dataplane.entries.lock().unwrap() = vec![
        entry(6, 1, 899, [client, service, ("10.1.0.1", 8080)]),
        entry(6, 0, 359, [("192.168.0.0", 0), service, ("10.1.0.1", 80)]),
        entry(0, 1, 300, [("192.168.0.0", 0), ("0.0.0.5", 0), ("10.1.0.1", 0)]),
        entry(6, 1, 6000, [("2001:db8::2", 50_000), ("2001:db8::1", 80), ("2001:db8::a0a0", 80)]),
        entry(132, 11, 61, [client, service, ("10.1.0.1", 8080)]),
    ];
    assert_eq!(
        rig.list("ipvsadm -Lnc"),
        "IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 192.168.0.2:50000  10.0.0.1:80        10.1.0.1:8080
TCP 05:59  NONE        192.168.0.0:0      10.0.0.1:80        10.1.0.1:80
IP  05:00  ASSURED     192.168.0.0:0      0.0.0.5:0          10.1.0.1:0
TCP 100:00 ESTABLISHED [2001:db8::2]:50000 [2001:db8::1]:80   [2001:db8::a0a0]:80
SCTP 01:01  S-ACK-SENT  192.168.0.2:50000  10.0.0.1:80        10.1.0.1:8080
"
    );
    sip.pe_data = Some("193373839".to_owned());
    *rig.dataplane.entries.lock().unwrap() = vec![sip];
    assert_eq!(
        rig.list("ipvsadm -Lnc --persistent-conn"),
        "IPVS connection entries
pro expire state       source             virtual            destination        pe name          pe_data
UDP 01:00  NONE        192.168.0.0:0      10.0.0.5:5060      10.1.0.1:5060    sip                193373839
"
    );
    assert_eq!(
        rig.list("ipvsadm -Lc").lines().nth(2),
        Some("UDP 01:00  NONE        192.168.0.0:0      10.0.0.5:sip       10.1.0.1:sip"),
        "without --persistent-conn"
    );
}

#[test]
fn timeouts() {
    let rig = Rig::new(1, 1);
    rig.ok("ipvsadm --set 0 0 2678400");
    rig.ok("ipvsadm --set 7200 60 0");
    assert_eq!(rig.list("ipvsadm -L --timeout"), "Timeout (tcp tcpfin udp): 7200 60 2678400\n");
    for (line, stderr) in [
        ("ipvsadm --set 1 2", "--set option requires 3 timeout values\n"),
        ("ipvsadm --set 1 2 3 4", "unexpected argument 4\n"),
        ("ipvsadm --set 1 2 x", "invalid timeout value `x' specified\n"),
        ("ipvsadm --set 1 2 2678401", "invalid timeout value `2678401' specified\n"),
    ] {
        let answer = rig.run(line, "");
        assert_eq!((answer.status, answer.stderr.as_str()), (2, stderr), "{line}");
    }
    let answer = rig.run("ipvsadm --set -1 2 3", "");
    assert_eq!((answer.status, answer.stderr.as_str()), (255, "-1: unknown option\n"));
}

#[test]
fn every_message_of_the_grammar() {
    let rig = Rig::new(10, 10);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    let a = "ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1";
    for (line, status, stderr) in [
        (
            format!("{a} -i --tun-type gue"),
            2,
            "You need to supply the 'tun-port' option for the 'gue' tunnel type",
        ),
        (format!("{a} -i --tun-port 5"), 2, "Illegal 'tun-port' option with the 'ipip' tunnel type"),
        (
            format!("{a} -i --tun-type gre --tun-remcsum"),
            2,
            "Illegal 'tun-remcsum' option with the 'gre' tunnel type",
        ),
        (
            format!("{a} -i --tun-type gre --tun-csum --tun-nocsum"),
            2,
            "The option 'tun-csum' conflicts with the 'tun-nocsum' option in the 'gre' tunnel type",
        ),
        (format!("{a} -m --tun-type gre"), 2, "Tunnel options conflict with forward method"),
        (format!("{a} -i --tun-type vxlan"), 2, "illegal tunnel type specified"),
        (format!("{a} -i --tun-type gue --tun-port 0"), 2, "illegal tunnel port specified"),
        (format!("{a} -x -1"), 2, "illegal u_threshold specified"),
        (format!("{a} -y x"), 2, "illegal l_threshold specified"),
        (format!("{a} -x 5 -y 6"), 255, "Numerical result out of range"),
        (format!("{a} --numeric=5"), 255, "--numeric=5: option does not take an argument"),
        ("ipvsadm -Lc --persistent-conn --rate".to_owned(), 2, "options conflicts in the list command"),
        ("ipvsadm -L --timeout --persistent-conn".to_owned(), 2, "options conflicts in the list command"),
        ("ipvsadm -L --list".to_owned(), 2, "invalid option `--list'"),
        ("ipvsadm -L --start-daemon master".to_owned(), 2, "invalid option `master'"),
        ("ipvsadm -L -h".to_owned(), 2, "invalid option `-h'"),
        ("ipvsadm --stop-daemon x".to_owned(), 2, "illegal start_daemon specified"),
        ("ipvsadm -A -f 5 -b sh-port -s sh,".to_owned(), 2, "incompatible scheduler flag `sh-port'"),
        ("ipvsadm -A -f 5 -b ,,".to_owned(), 2, "invalid scheduler flag `,,'"),
        ("ipvsadm -t x -L".to_owned(), 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information."),
        (
            "ipvsadm --start-daemon backup --mcast-group fd00::1".to_owned(),
            2,
            "invalid IPv6 mcast-group `fd00::1'",
        ),
    ] {
        let answer = rig.run(&line, "");
        assert_eq!((answer.status, answer.stderr), (status, format!("{stderr}\n")), "{line}");
    }
}

#[test]
fn order_of_options_matters() {
    let rig = Rig::new(100, 100);
    rig.ok("ipvsadm -A -t 10.0.0.1:80");
    rig.ok("ipvsadm -a -r 10.1.0.10 -t 10.0.0.1:80 -m");
    rig.ok("ipvsadm -a -r 10.1.0.11 -t 10.0.0.1:80 -g");
    rig.ok("ipvsadm -A -M 64 -t [2001:db8::1]:80 -p 5");
    rig.ok("ipvsadm -A -M 255.255.0.0 -t 10.0.0.2:80 -p 5");
    rig.ok("ipvsadm -A -f 1 -M 255.0.0.0 -6 -p 5");
    rig.ok("ipvsadm -A -b sh-port -t 10.0.0.3:80 -s sh");
    assert_eq!(
        rig.list("ipvsadm -Sn"),
        "-A -t 10.0.0.1:80 -s wlc
-a -t 10.0.0.1:80 -r 10.1.0.10:0 -m -w 1
-a -t 10.0.0.1:80 -r 10.1.0.11:80 -g -w 1
-A -t 10.0.0.2:80 -s wlc -p 5 -M 255.255.0.0
-A -t 10.0.0.3:80 -s sh -b sh-port
-A -t [2001:db8::1]:80 -s wlc -p 5
-A -f 1 -6 -s wlc -p 5
"
    );
}
