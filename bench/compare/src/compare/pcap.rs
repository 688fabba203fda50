//! One core, packets from memory: net_pcap with infinite_rx, which deals the packets of a capture file over and over.
//! Nothing is plugged to its other side: what is sent is counted and freed.

use crate::cases::udp_service;
use crate::director::Plan;
use crate::measure::{Measure, plan, row};
use crate::report::{Check, Pair, Row, median};
use crate::testpmd::Testpmd;
use anyhow::{Context, Result, ensure};
use shunt_compare::orders::{Pattern, Payload, Stream};
use shunt_compare::stream::{FRAME_LEN_MAX, Flows};
use shunt_wire::pcap::PcapWriter;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What testpmd makes on the machine that the targets are for, Mpps.
const TESTPMD_THERE: f64 = 58.0;

/// Buffers for the packets of the file and those under way.
const BUFFERS: &str = "--total-num-mbufs=131072";

pub fn measure(measure: &Measure, flows: u32, mpps_min: f64) -> Result<Row> {
    let place = &measure.place;
    let file = place.folder.join(format!("flows-{flows}.pcap"));
    write(&file, flows)?;
    let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", file.display());
    let services = vec![udp_service(80, "rr", 4)];
    // The driver takes as many buffers as the file has packets, and shuntd makes as many as it has descriptors, and more.
    let plan = Plan { device: device.clone(), rx_descriptors: 32_768, ..plan(services, flows * 2 + 1024, 4) };
    let mut director = place.director(&plan)?;
    director.pause();
    let more = [BUFFERS, "--no-flush-rx"];
    let mut testpmd = Testpmd::start(place.worker_core, &place.folder, &device, "macswap", &more)?;
    let time = Duration::from_millis(measure.millis);
    let (mut ours, mut ceilings, mut cycles) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        director.go_on();
        let (before, started) = (director.counters()?, Instant::now());
        sleep(time);
        let (after, seconds) = (director.counters()?, started.elapsed().as_secs_f64());
        director.pause();
        let (received, sent) = (after.since(&before, "received")?, after.since(&before, "transmitted")?);
        // The counters are read one after the other, within one burst or two.
        ensure!(received.abs_diff(sent) < 1024, "{received} packets were received and {sent} sent");
        ours.push(sent as f64 / seconds / 1e6);
        cycles.push(after.since(&before, "busy_ns")? as f64 * measure.ghz / received.max(1) as f64);

        testpmd.say("start")?;
        let (before, started) = (testpmd.counts()?, Instant::now());
        sleep(time);
        let (after, seconds) = (testpmd.counts()?, started.elapsed().as_secs_f64());
        testpmd.say("stop")?;
        ceilings.push((after.1 - before.1) as f64 / seconds / 1e6);
    }
    let pair = |(&mpps, &ceiling): (&f64, &f64)| Pair { mpps, ceiling_mpps: Some(ceiling), lost: 0 };
    let (mpps, ceiling) = (median(ours.clone()), median(ceilings.clone()));
    Ok(Row {
        rounds: ours.iter().zip(&ceilings).map(pair).collect(),
        mpps,
        ceiling_mpps: Some(ceiling),
        ratio: Some(mpps / ceiling),
        cycles_per_packet: Some(median(cycles)),
        checks: vec![Check::at_least(
            "Mpps where testpmd makes 58",
            mpps / ceiling * TESTPMD_THERE,
            mpps_min,
        )],
        ..row("dr", 4, flows, "in turn")
    })
}

/// A file with a packet of each flow.
fn write(path: &Path, flows: u32) -> Result<()> {
    let stream = Stream {
        network: 48,
        flows,
        family: 4,
        vport: 80,
        payload: Payload::Udp,
        pattern: Pattern::Uniform,
        replies: false,
        share: 32,
    };
    let stream = Flows::new(0, &stream);
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut writer = PcapWriter::new(BufWriter::new(file))?;
    let mut frame = [0; FRAME_LEN_MAX];
    for n in 0..flows {
        stream.write(n, 0, &mut frame);
        writer.write(Duration::ZERO, &frame[..stream.frame_len()])?;
    }
    writer.finish()?;
    Ok(())
}
