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
        let value = |counter: &Counter| columns.iter().map(|column| column.get(*counter)).sum();
        Column { values: Counter::ALL.iter().map(value).collect() }
    }

    fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    fn of(&self, flow: Flow) -> u64 {
        of(flow).map(|counter| self.get(counter)).sum()
    }

    /// Sources minus sinks: packets under way.
    fn balance(&self) -> i64 {
        let sinks = self.of(Flow::Sink).wrapping_add(self.of(Flow::Drop));
        self.of(Flow::Source).wrapping_sub(sinks) as i64
    }
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
    for counter in of(Flow::Note) {
        line(counter.name(), numbers(&|column| column.get(counter).into()))?;
    }
    Ok(())
}

fn as_json(columns: &[Column], slow_path: Option<&Column>, out: &mut dyn Write) -> io::Result<()> {
    let object = |column: &Column| {
        let mut object: Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.name().to_owned(), column.get(*counter).into()))
            .collect();
        object.insert("dropped".to_owned(), column.of(Flow::Drop).into());
        object.insert("under_way".to_owned(), column.balance().into());
        Value::Object(object)
    };
    let workers: Vec<_> = columns.iter().map(object).collect();
    let all = object(&Column::sum(columns));
    writeln!(out, "{}", json!({ "workers": workers, "all": all, "slow_path": slow_path.map(object) }))
}
