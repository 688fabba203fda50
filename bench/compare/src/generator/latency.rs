//! How long packets were under way, counted by steps of 50 ns.

use shunt_compare::orders::Latency;

const STEP_NS: u64 = 50;
/// 10 ms; what takes longer is counted with the last.
const STEPS: usize = 200_000;

/// A histogram.
pub struct Histogram {
    steps: Vec<u32>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { steps: vec![0; STEPS], count: 0, max: 0 }
    }

    #[inline]
    pub fn add(&mut self, nanos: u64) {
        self.steps[((nanos / STEP_NS) as usize).min(STEPS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// `None` if there was no packet.
    pub fn summary(&self) -> Option<Latency> {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let part = |part: f64| {
            let rank = (self.count as f64 * part).ceil() as u64;
            let mut seen = 0;
            let place = self.steps.iter().position(|&count| {
                seen += u64::from(count);
                seen >= rank
            });
            micros((place.unwrap_or(STEPS) as u64 + 1) * STEP_NS)
        };
        (self.count > 0).then(|| Latency {
            p50: part(0.5),
            p99: part(0.99),
            p999: part(0.999),
            max: micros(self.max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_thousand() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.summary(), None);
        (0..1000).for_each(|n| histogram.add(n * 1000));
        let latency = histogram.summary().unwrap();
        assert_eq!((latency.p50, latency.p99, latency.max), (499.05, 989.05, 999.0));
        histogram.add(u64::MAX / 2);
        assert!(histogram.summary().unwrap().max > 1e12);
    }
}
