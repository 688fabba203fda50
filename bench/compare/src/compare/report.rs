//! What was measured, for people and for machines.

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write;

/// One line of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    pub name: String,
    pub method: String,
    pub family: String,
    pub flows: u32,
    pub pattern: String,
    /// Median, millions per second: of packets, or of what the name says.
    pub mpps: f64,
    /// Median of testpmd with the same packets in the same run, or of what shuntd is compared with.
    pub ceiling_mpps: Option<f64>,
    /// Median of the rounds' ratios: not the ratio of the medians.
    pub ratio: Option<f64>,
    pub cycles_per_packet: Option<f64>,
    pub rounds: Vec<Pair>,
    /// What this measurement has beyond the others.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    pub checks: Vec<Check>,
}

/// One round.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pair {
    pub mpps: f64,
    pub ceiling_mpps: Option<f64>,
    /// Packets that shuntd received and that did not come back.
    pub lost: u64,
}

/// A target and whether it was reached.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub what: String,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    pub met: bool,
}

impl Check {
    pub fn at_least(what: &str, value: f64, limit: f64) -> Check {
        Check { what: what.to_owned(), value, at_least: Some(limit), at_most: None, met: value >= limit }
    }

    pub fn at_most(what: &str, value: f64, limit: f64) -> Check {
        Check { what: what.to_owned(), value, at_least: None, at_most: Some(limit), met: value <= limit }
    }

    fn text(&self) -> String {
        let (sign, limit) = match (self.at_least, self.at_most) {
            (Some(limit), _) => ("≥", limit),
            (_, limit) => ("≤", limit.unwrap_or_default()),
        };
        let met = if self.met { "met" } else { "MISSED" };
        format!("{} {} ({sign} {}) {met}", self.what, number(self.value), number(limit))
    }
}

/// Everything of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub machine: String,
    pub commit: String,
    pub dpdk: String,
    pub quick: bool,
    /// What could not be measured, and why.
    pub failures: Vec<(String, String)>,
    pub rows: Vec<Row>,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Three digits that count.
fn number(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

pub const HEADING: &str = "measurement                method  flows      pattern       shunt  ceiling  ratio  cycles  rounds, targets";

/// The row as a line of the table.
pub fn line(row: &Row) -> String {
    let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", 100.0 * ratio));
    let mut text = format!(
        "{:<26} {:<7} {:<10} {:<12} {:>6} {:>8} {:>6} {:>7}  ",
        row.name,
        row.method,
        row.flows,
        row.pattern,
        number(row.mpps),
        or_dash(row.ceiling_mpps),
        ratio,
        or_dash(row.cycles_per_packet)
    );
    let rounds: Vec<String> = row
        .rounds
        .iter()
        .map(|round| match round.ceiling_mpps {
            Some(ceiling) => format!("{}/{}", number(round.mpps), number(ceiling)),
            None => number(round.mpps),
        })
        .collect();
    let _ = write!(text, "{}", rounds.join(" "));
    for (name, value) in &row.details {
        let _ = write!(text, "\n    {name}: {value}");
    }
    for check in &row.checks {
        let _ = write!(text, "\n    {}", check.text());
    }
    text
}
