//! `workers`: the counters of each worker, as a table whose sums show that no packet is lost without a reason.

use super::{DirectorCommands, usage};
use crate::server::Request;
use serde_json::{Map, Value, json};
use shunt_engine::counters::{Counter, Flow, WorkerCounters};
use std::io::{self, Write};

pub(super) fn show(
    commands: &DirectorCommands,
    arguments: &[String],
    request: &mut Request<'_>,
) -> io::Result<u8> {
    let dataplane = commands.director().dataplane().clone();
    let columns: Vec<_> = dataplane.worker_counters().iter().map(Column::read).collect();
    let slow_path = dataplane.slow_path_counters().map(|counters| Column::read(&counters));
    match arguments {
        [] => table(&columns, slow_path.as_ref(), request.stdout)?,
        [option] if option == "--json" => as_json(&columns, slow_path.as_ref(), request.stdout)?,
        _ => return usage(request, "workers"),
    }
    Ok(0)
}

/// The counters of one worker at one moment, or their sum over all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    values: Vec<u64>,
}

impl Column {
    /// Sinks are read before sources: a packet that passes meanwhile shows as one under way, never as one too many.
    fn read(counters: &WorkerCounters) -> Column {
        let mut values = vec![0; Counter::ALL.len()];
        for sources in [false, true] {
            for &counter in Counter::ALL.iter().filter(|counter| (counter.flow() == Flow::Source) == sources)
            {
                values[counter as usize] = counters.get(counter);
            }
        }
        Column { values }
    }

    fn sum(columns: &[Column]) -> Column {
        let value = |counter: &Counter| {
            let values = columns.iter().map(|column| column.get(*counter));
            if counter.flow() == Flow::Peak { values.max().unwrap_or(0) } else { values.sum() }
        };
        Column { values: Counter::ALL.iter().map(value).collect() }
    }

    fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    fn of(&self, flow: Flow) -> u64 {
        of(flow).map(|counter| self.get(counter)).sum()
    }

    /// Part of its time in which the worker had something to do.
    fn busy_share(&self) -> f64 {
        let busy = self.get(Counter::BusyNs);
        part(busy, busy.wrapping_add(self.get(Counter::IdleNs)))
    }

    /// Nanoseconds of work for each packet that came.
    fn busy_ns_per_packet(&self) -> f64 {
        part(self.get(Counter::BusyNs), self.of(Flow::Source))
    }

    /// Part of the tables of IPv4 and IPv6 that is in use.
    fn fill(&self) -> [f64; 2] {
        let part_of = |used, max| part(self.get(used), self.get(max));
        [
            part_of(Counter::ConnectionsIpv4, Counter::ConnectionsIpv4Max),
            part_of(Counter::ConnectionsIpv6, Counter::ConnectionsIpv6Max),
        ]
    }

    /// Sources minus sinks: packets under way.
    fn balance(&self) -> i64 {
        let sinks = self.of(Flow::Sink).wrapping_add(self.of(Flow::Drop));
        self.of(Flow::Source).wrapping_sub(sinks) as i64
    }
}

/// 0 of nothing is 0.
fn part(of: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { of as f64 / whole as f64 }
}

/// The nominal clock of the processor, by which times become cycles; 1 where the system does not tell: then they are ns.
fn clock_ghz() -> f64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok());
    mhz.map_or(1.0, |mhz| mhz / 1000.0)
}

fn of(flow: Flow) -> impl Iterator<Item = Counter> {
    Counter::ALL.iter().copied().filter(move |counter| counter.flow() == flow)
}

/// A column for each worker, their sum, and the slow path, which is not in the sum: it takes from workers and gives back.
fn table(columns: &[Column], slow_path: Option<&Column>, out: &mut dyn Write) -> io::Result<()> {
    let total = Column::sum(columns);
    let all: Vec<&Column> = columns.iter().chain([&total]).chain(slow_path).collect();
    let mut line = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>16}")).collect();
        writeln!(out, "{name:<22}{cells}")
    };
    let numbers =
        |value: &dyn Fn(&Column) -> i128| all.iter().map(|column| value(column).to_string()).collect();
    let workers = (0..columns.len()).map(|index| format!("worker {index}"));
    let slow_name = slow_path.map(|_| "slow path".to_owned());
    line("", workers.chain(["all".to_owned()]).chain(slow_name).collect())?;
    for flow in [Flow::Source, Flow::Sink] {
        for counter in of(flow) {
            line(counter.name(), numbers(&|column| column.get(counter).into()))?;
        }
    }
    line("dropped", numbers(&|column| column.of(Flow::Drop).into()))?;
    for counter in of(Flow::Drop) {
        line(&format!("  {}", counter.name()), numbers(&|column| column.get(counter).into()))?;
    }
    line("under way", numbers(&|column| column.balance().into()))?;
    for counter in [Flow::Note, Flow::Peak, Flow::Gauge].into_iter().flat_map(of) {
        line(counter.name(), numbers(&|column| column.get(counter).into()))?;
    }
    let ghz = clock_ghz();
    let one_place =
        |value: &dyn Fn(&Column) -> f64| all.iter().map(|column| format!("{:.1}", value(column))).collect();
    line("busy, % of the time", one_place(&|column| 100.0 * column.busy_share()))?;
    line("cycles per packet", one_place(&|column| ghz * column.busy_ns_per_packet()))?;
    line("IPv4 table, % full", one_place(&|column| 100.0 * column.fill()[0]))?;
    line("IPv6 table, % full", one_place(&|column| 100.0 * column.fill()[1]))
}

fn as_json(columns: &[Column], slow_path: Option<&Column>, out: &mut dyn Write) -> io::Result<()> {
    let ghz = clock_ghz();
    let object = |column: &Column| {
        let mut object: Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.name().to_owned(), column.get(*counter).into()))
            .collect();
        object.insert("dropped".to_owned(), column.of(Flow::Drop).into());
        object.insert("under_way".to_owned(), column.balance().into());
        object.insert("busy_share".to_owned(), column.busy_share().into());
        object.insert("cycles_per_packet".to_owned(), (ghz * column.busy_ns_per_packet()).into());
        object.insert("fill_ipv4".to_owned(), column.fill()[0].into());
        object.insert("fill_ipv6".to_owned(), column.fill()[1].into());
        Value::Object(object)
    };
    let workers: Vec<_> = columns.iter().map(object).collect();
    let all = object(&Column::sum(columns));
    writeln!(out, "{}", json!({ "workers": workers, "all": all, "slow_path": slow_path.map(object) }))
}
