//! Generator, shuntd and testpmd, of which one of the latter two runs and the other waits.

use crate::director::{Director, Plan};
use crate::generator::Generator;
use crate::testpmd::Testpmd;
use anyhow::{Result, bail};
use shunt_compare::orders::{Outcome, Run, Stream};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ports of the generator.
pub const SHUNT: usize = 0;
const TESTPMD: usize = 1;

/// Where things are, and the cores.
#[derive(Clone, Debug)]
pub struct Place {
    pub bin: PathBuf,
    pub folder: PathBuf,
    pub generator_core: usize,
    pub worker_core: usize,
}

impl Place {
    fn socket(&self, port: usize) -> PathBuf {
        self.folder.join(format!("vhost-{port}"))
    }

    /// The device on the other side of a port of the generator.
    fn device(&self, port: usize) -> String {
        let socket = self.socket(port);
        let mac = "02:00:00:00:01:fe";
        format!("net_virtio_user0,path={},packed_vq=1,queue_size=1024,mac={mac}", socket.display())
    }

    pub fn director(&self, plan: &Plan) -> Result<Director> {
        Director::start(&self.bin, &self.folder, (self.generator_core, self.worker_core), plan)
    }
}

/// The two rigs that are compared. The generator and testpmd stay; a shuntd is started for each measurement.
pub struct Rig {
    place: Place,
    pub director: Option<Director>,
    testpmd: Testpmd,
    pub generator: Generator,
}

/// What one side did in one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the generator saw.
    pub outcome: Outcome,
    /// Connections that were made.
    pub new_connections: u64,
    /// Nanoseconds that the worker was busy; 0 for testpmd.
    pub busy_nanos: u64,
    /// Packets that the director received.
    pub received: u64,
    /// Packets that shuntd dropped, by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

impl Round {
    /// Millions of packets that came back per second.
    pub fn mpps(&self) -> f64 {
        self.outcome.received_meanwhile as f64 / self.outcome.seconds / 1e6
    }

    pub fn lost(&self) -> u64 {
        self.outcome.sent.saturating_sub(self.outcome.received)
    }
}

impl Rig {
    pub fn start(place: &Place) -> Result<Rig> {
        let sockets = [place.socket(SHUNT), place.socket(TESTPMD)];
        let ports: Vec<&Path> = sockets.iter().map(PathBuf::as_path).collect();
        let generator = Generator::start(&place.bin, place.generator_core, &place.folder, &ports)?;
        let device = place.device(TESTPMD);
        let testpmd = Testpmd::start(place.worker_core, &place.folder, &device, "macswap", &[])?;
        let mut rig = Rig { place: place.clone(), generator, testpmd, director: None };
        rig.generator.connect(TESTPMD)?;
        Ok(rig)
    }

    /// Starts a shuntd with this plan in place of the last one.
    pub fn direct(&mut self, plan: &Plan) -> Result<()> {
        self.director = None;
        let plan = Plan { device: self.place.device(SHUNT), ..plan.clone() };
        self.director = Some(self.place.director(&plan)?);
        self.generator.connect(SHUNT)
    }

    pub fn director(&mut self) -> &mut Director {
        self.director.as_mut().expect("direct() comes first")
    }

    /// Ends shuntd.
    pub fn dismiss(&mut self) {
        self.director = None;
    }

    /// A round of shuntd. Fails if the two sides do not count the same.
    pub fn shunt(&mut self, run: Run) -> Result<Round> {
        let director = self.director();
        director.go_on();
        let before = director.counters()?;
        let outcome = self.generator.run(Run { port: SHUNT, ..run })?;
        let director = self.director();
        let after = director.counters()?;
        director.pause();
        let (received, transmitted) =
            (after.since(&before, "received")?, after.since(&before, "transmitted")?);
        let dropped = after.since(&before, "dropped")?;
        if received != outcome.sent || transmitted != outcome.received || received != transmitted + dropped {
            bail!(
                "the counters disagree: sent {}, shuntd received {received}, transmitted {transmitted}, dropped \
                 {dropped}; came back {}",
                outcome.sent,
                outcome.received
            );
        }
        Ok(Round {
            outcome,
            received,
            drops: after.drops_since(&before)?,
            new_connections: after.since(&before, "new_connections")?,
            busy_nanos: after.since(&before, "busy_ns")?,
        })
    }

    /// A round of testpmd. Fails if the two sides do not count the same.
    pub fn testpmd(&mut self, run: Run) -> Result<Round> {
        if let Some(director) = &self.director {
            director.pause();
        }
        let before = self.testpmd.counts()?;
        self.testpmd.say("start")?;
        let outcome = self.generator.run(Run { port: TESTPMD, ..run });
        self.testpmd.say("stop")?;
        let (outcome, after) = (outcome?, self.testpmd.counts()?);
        let (received, transmitted) = (after.0 - before.0, after.1 - before.1);
        if received != outcome.sent || transmitted != outcome.received {
            bail!(
                "the counters disagree: sent {}, testpmd received {received}, transmitted {transmitted}; came back {}",
                outcome.sent,
                outcome.received
            );
        }
        Ok(Round { outcome, received, new_connections: 0, busy_nanos: 0, drops: BTreeMap::new() })
    }

    /// Loads streams and sends each flow of some of them once through shuntd, so that connections are established.
    pub fn establish(&mut self, streams: &[Stream], visits: &[(usize, Option<usize>)]) -> Result<()> {
        self.generator.load(streams.to_vec())?;
        self.director().go_on();
        for &(stream, learn_for) in visits {
            self.generator.visit(SHUNT, stream, learn_for)?;
        }
        Ok(())
    }
}
