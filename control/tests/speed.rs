//! A table of 200,000 lines is restored in less than 2 s, saved and listed. Run with `--release -- --ignored`.

mod fake;

use fake::Rig;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// `services` services of `servers` servers each, as `-S -n` writes them.
fn table(services: u32, servers: u32, scheduler: &str) -> String {
    let mut lines = String::new();
    for service in 0..services {
        let key = format!("-t 10.{}.{}.{}:80", service >> 16, service >> 8 & 255, service & 255);
        let _ = writeln!(lines, "-A {key} -s {scheduler}");
        for server in 0..servers {
            let (high, low) = (server >> 8 & 255, server & 255);
            let _ = writeln!(
                lines,
                "-a {key} -r 172.{}.{high}.{low}:8080 -m -w {}",
                16 + (server >> 16),
                1 + server % 100
            );
        }
    }
    lines
}

fn measure(services: u32, servers: u32, scheduler: &str) {
    let lines = table(services, servers, scheduler);
    let rig = Rig::new(200_001, 200_001);
    let timed = |what: &str, work: &dyn Fn() -> String| {
        let start = Instant::now();
        let text = work();
        let took = start.elapsed();
        println!("{services} services of {servers} servers, {scheduler}: {what} took {took:?}");
        assert!(took < Duration::from_secs(2), "{what}");
        text
    };
    let restore = || {
        let answer = rig.run("ipvsadm -R", &lines);
        assert_eq!((answer.status, answer.stderr.as_str()), (0, ""));
        String::new()
    };
    timed("restoring", &restore);
    let saved = timed("saving", &|| rig.list("ipvsadm -Sn"));
    assert_eq!(saved.lines().count(), lines.lines().count());
    timed("listing", &|| rig.list("ipvsadm -Ln"));
    timed("the tick", &|| {
        rig.director.lock().unwrap().tick(shunt_engine::Tick(0)).unwrap();
        String::new()
    });
    timed("one change", &|| {
        rig.ok("ipvsadm -e -t 10.0.0.0:80 -r 172.16.0.0:8080 -m -w 7");
        String::new()
    });
    timed("flushing", &|| {
        rig.ok("ipvsadm -C");
        String::new()
    });
    timed("restoring over the trash", &restore);
}

#[test]
#[ignore = "measures time: for release builds"]
fn a_large_table_is_restored_in_time() {
    measure(20_000, 9, "wlc");
    measure(1_000, 199, "wrr");
    measure(1_000, 199, "mh");
    measure(1, 199_999, "wrr");
}
