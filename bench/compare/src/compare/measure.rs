//! Measuring: rounds of shuntd and testpmd in turn.

use crate::cases::{Case, Flow, Kind, fresh, udp_service};
use crate::director::{Plan, Service};
use crate::report::{Check, Pair, Row, median};
use crate::rig::{Place, Rig, Round, SHUNT};
use crate::{engine, pcap, special};
use anyhow::{Result, ensure};
use serde_json::json;
use shunt_compare::orders::{Payload, Run};

/// Connections of a table that new flows must not fill within a measurement.
const MAX_NEW: u32 = 32_000_000;
/// How long a round of new flows is: ten of them fit in the table at 10 M flows a second.
const FRESH_MS: u64 = 300;
/// Rounds of each of two services that are compared: a few per cent are to be seen, so there are many, and short ones.
const VERSUS_ROUNDS: u8 = 25;
/// How long they are.
const VERSUS_MS: u64 = 60;

/// Full rate, as long as the window is open.
pub fn full(millis: u64) -> Run {
    Run { port: SHUNT, millis, rate: 0, window: 0, stamp: false }
}

/// What measurements have in common.
pub struct Measure {
    pub place: Place,
    rig: Option<Rig>,
    pub rounds: usize,
    pub millis: u64,
    /// Nominal cycles per nanosecond.
    pub ghz: f64,
}

impl Measure {
    pub fn new(place: Place, quick: bool) -> Measure {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mhz = text
            .lines()
            .find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse().ok());
        let ghz = mhz.unwrap_or(1000.0) / 1000.0;
        Measure { place, rig: None, rounds: 5, millis: if quick { 600 } else { 1800 }, ghz }
    }

    /// The rig, started if need be.
    pub fn rig(&mut self) -> Result<&mut Rig> {
        if self.rig.is_none() {
            self.rig = Some(Rig::start(&self.place)?);
        }
        Ok(self.rig.as_mut().expect("it was just started"))
    }

    pub fn discard(&mut self) {
        self.rig = None;
    }

    /// Makes one measurement.
    pub fn case(&mut self, case: &Case) -> Result<Vec<Row>> {
        let rows = match &case.kind {
            Kind::Established(flow) => vec![self.established(flow)?],
            Kind::New => vec![self.new_flows()?],
            Kind::Versus { fresh, one, other, ratio_min } => {
                vec![self.versus(*fresh, one, other, *ratio_min)?]
            }
            Kind::Flood { scheduler, servers } => vec![special::flood(self, scheduler, *servers)?],
            Kind::Latency => vec![special::latency(self)?],
            Kind::Publish => vec![special::publish(self)?],
            Kind::Idle => vec![special::idle(self)?],
            Kind::Engine | Kind::Figures | Kind::Hold => {
                self.discard();
                match &case.kind {
                    Kind::Engine => engine::cycles(&self.place)?,
                    Kind::Figures => vec![engine::figures(&self.place)?],
                    _ => vec![engine::hold(&self.place)?],
                }
            }
            Kind::Pcap { flows, mpps_min } => {
                // On the same core as the others, which must not poll meanwhile.
                self.discard();
                vec![pcap::measure(self, *flows, *mpps_min)?]
            }
        };
        if let Some(rig) = &mut self.rig {
            rig.dismiss();
        }
        let name = |row: Row| Row {
            name: if row.name.is_empty() {
                case.name.to_owned()
            } else {
                format!("{}/{}", case.name, row.name)
            },
            ..row
        };
        Ok(rows.into_iter().map(name).collect())
    }

    fn established(&mut self, flow: &Flow) -> Result<Row> {
        let (rounds, millis, ghz) = (self.rounds, self.millis, self.ghz);
        let rig = self.rig()?;
        rig.direct(&plan(vec![flow.service()], flow.flows + flow.flows / 4 + 1024, flow.family))?;
        let (streams, visits) = flow.streams();
        rig.establish(&streams, &visits)?;
        let row =
            row(flow.method.name(), flow.family, flow.flows, &format!("{:?}", flow.pattern).to_lowercase());
        let mut row = alternate(rig, row, rounds, ghz, &full(millis), |round| {
            ensure!(round.new_connections == 0, "{} of the flows were new", round.new_connections);
            Ok(())
        })?;
        if let Some(ratio_min) = flow.ratio_min {
            row.checks.push(Check::at_least("ratio", row.ratio.unwrap_or_default(), ratio_min));
        }
        Ok(row)
    }

    fn new_flows(&mut self) -> Result<Row> {
        let (rounds, ghz) = (self.rounds, self.ghz);
        let rig = self.rig()?;
        rig.direct(&plan(vec![udp_service(80, "wlc", 10)], MAX_NEW, 4))?;
        rig.generator.load(vec![fresh(48, 80, Payload::Udp)])?;
        let row = row("dr", 4, 0, "all new");
        let mut row = alternate(rig, row, rounds, ghz, &full(FRESH_MS), |round| {
            ensure!(round.new_connections == round.received, "only {} were new", round.new_connections);
            Ok(())
        })?;
        row.checks.push(Check::at_least("M/s", row.mpps, 3.0));
        Ok(row)
    }

    /// The second of two services in comparison with the first.
    fn versus(&mut self, is_fresh: bool, one: &Service, other: &Service, ratio_min: f64) -> Result<Row> {
        const FLOWS: u32 = 100_000;
        let run = full(VERSUS_MS);
        let ghz = self.ghz;
        let rig = self.rig()?;
        rig.direct(&plan(vec![one.clone(), other.clone()], MAX_NEW, 4))?;
        let (mut ones, mut others) = (Vec::new(), Vec::new());
        for round in 0..VERSUS_ROUNDS {
            let mut turns = [(one, &mut ones), (other, &mut others)];
            // Who begins changes.
            turns.rotate_left(usize::from(round % 2));
            for (service, results) in turns {
                // New flows are new in each round.
                let network = if is_fresh { 48 + round } else { 48 };
                let mut stream = fresh(network, service.vport, Payload::Udp);
                if !is_fresh {
                    stream.flows = FLOWS;
                    stream.pattern = shunt_compare::orders::Pattern::Uniform;
                }
                let visits: &[_] = if is_fresh { &[] } else { &[(0, None)] };
                rig.establish(&[stream], visits)?;
                let round = rig.shunt(run.clone())?;
                let made = round.new_connections;
                ensure!(!is_fresh || made == round.received, "only {made} of {} were new", round.received);
                results.push(round);
            }
        }
        let kind = if is_fresh { "all new" } else { "uniform" };
        let row = row("dr", 4, if is_fresh { 0 } else { FLOWS }, kind);
        let mut row = pairs(row, &others, &ones, ghz);
        let what = format!("{} {} to {} {}", other.scheduler, other.servers, one.scheduler, one.servers);
        row.checks.push(Check::at_least(&what, row.ratio.unwrap_or_default(), ratio_min));
        Ok(row)
    }
}

/// A director for so many connections of this family.
pub fn plan(services: Vec<Service>, connections: u32, family: u8) -> Plan {
    let (max_ipv4, max_ipv6) = if family == 4 { (connections, 1024) } else { (1024, connections) };
    Plan { device: String::new(), rx_descriptors: 1024, max_ipv4, max_ipv6, idle: "poll", services }
}

pub fn row(method: &str, family: u8, flows: u32, pattern: &str) -> Row {
    Row {
        method: method.to_owned(),
        family: format!("ipv{family}"),
        flows,
        pattern: pattern.to_owned(),
        ..Row::default()
    }
}

/// Rounds of shuntd and testpmd in turn; who begins changes.
pub fn alternate(
    rig: &mut Rig,
    row: Row,
    rounds: usize,
    ghz: f64,
    run: &Run,
    mut judge: impl FnMut(&Round) -> Result<()>,
) -> Result<Row> {
    let (mut ours, mut ceilings) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for ours_is_next in [round % 2 == 0, round % 2 != 0] {
            if ours_is_next {
                let round = rig.shunt(run.clone())?;
                judge(&round)?;
                ours.push(round);
            } else {
                ceilings.push(rig.testpmd(run.clone())?);
            }
        }
    }
    Ok(pairs(row, &ours, &ceilings, ghz))
}

/// Fills in what rounds yielded.
pub fn pairs(mut row: Row, ours: &[Round], ceilings: &[Round], ghz: f64) -> Row {
    let pair = |(ours, ceiling): (&Round, &Round)| Pair {
        mpps: ours.mpps(),
        ceiling_mpps: Some(ceiling.mpps()),
        lost: ours.lost(),
    };
    row.rounds = ours.iter().zip(ceilings).map(pair).collect();
    row.mpps = median(ours.iter().map(Round::mpps).collect());
    let ceiling = median(ceilings.iter().map(Round::mpps).collect());
    row.ceiling_mpps = Some(ceiling);
    // What the machine has for us changes from round to round, so a round is compared with its neighbour.
    row.ratio =
        Some(median(ours.iter().zip(ceilings).map(|(ours, ceiling)| ours.mpps() / ceiling.mpps()).collect()));
    let cycles = |round: &Round| round.busy_nanos as f64 * ghz / round.received.max(1) as f64;
    row.cycles_per_packet = Some(median(ours.iter().map(cycles).collect()));
    for (reason, count) in ours.iter().flat_map(|round| &round.drops) {
        let sum = row.details.get(*reason).and_then(|sum| sum.as_u64()).unwrap_or_default();
        row.details.insert((*reason).to_owned(), json!(sum + count));
    }
    row
}
