//! Makes a scenario smaller while it still shows a difference.

use crate::scenario::{Event, Scenario};
use anyhow::Result;

/// Removes what can be removed. `differs` plays a scenario; it is asked `tries` times at most.
///
/// # Errors
/// Those of `differs`.
pub fn shrink(
    scenario: &Scenario,
    tries: usize,
    mut differs: impl FnMut(&Scenario) -> Result<bool>,
) -> Result<Scenario> {
    let mut best = scenario.clone();
    let mut left = tries;
    loop {
        let before = size(&best);
        for part in [Part::Events, Part::Setup] {
            best = without_chunks(best, part, &mut left, &mut differs)?;
        }
        best = simpler(best, &mut left, &mut differs)?;
        if size(&best) == before || left == 0 {
            return Ok(best);
        }
    }
}

fn size(scenario: &Scenario) -> usize {
    scenario.events.len() + scenario.setup.len()
}

#[derive(Clone, Copy)]
enum Part {
    Events,
    Setup,
}

impl Part {
    fn len(self, scenario: &Scenario) -> usize {
        match self {
            Part::Events => scenario.events.len(),
            Part::Setup => scenario.setup.len(),
        }
    }

    fn without(self, scenario: &Scenario, from: usize, count: usize) -> Scenario {
        let mut smaller = scenario.clone();
        let end = (from + count).min(self.len(scenario));
        match self {
            Part::Events => drop(smaller.events.drain(from..end)),
            Part::Setup => drop(smaller.setup.drain(from..end)),
        }
        smaller
    }
}

/// Tries to do without halves, quarters, eighths…, at last without single things; from the end, where causes are not.
fn without_chunks(
    mut best: Scenario,
    part: Part,
    left: &mut usize,
    differs: &mut impl FnMut(&Scenario) -> Result<bool>,
) -> Result<Scenario> {
    let mut count = part.len(&best).div_ceil(2);
    while count > 0 {
        let mut end = part.len(&best);
        while end > 0 && *left > 0 {
            let from = end.saturating_sub(count);
            let smaller = part.without(&best, from, end - from);
            *left -= 1;
            if differs(&smaller)? {
                best = smaller;
            }
            end = from;
        }
        count = if count == 1 { 0 } else { count.div_ceil(2) };
    }
    Ok(best)
}

/// Plain packets in place of odd ones.
fn simpler(
    mut best: Scenario,
    left: &mut usize,
    differs: &mut impl FnMut(&Scenario) -> Result<bool>,
) -> Result<Scenario> {
    for nth in 0..best.events.len() {
        for plain in plainer(&best.events[nth]) {
            if *left == 0 {
                return Ok(best);
            }
            let mut smaller = best.clone();
            smaller.events[nth] = plain;
            *left -= 1;
            if differs(&smaller)? {
                best = smaller;
                break;
            }
        }
    }
    Ok(best)
}

fn plainer(event: &Event) -> Vec<Event> {
    let Event::Packet { flow, from, shape } = event else { return Vec::new() };
    let plain = crate::generate::plain(shape.kind);
    let variants =
        [plain, crate::scenario::Shape { cut: shape.cut, payload: shape.payload, call: shape.call, ..plain }];
    let variants = variants.into_iter().filter(|variant| variant != shape);
    variants.map(|shape| Event::Packet { flow: *flow, from: *from, shape }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    #[test]
    fn what_matters_remains() {
        let mut scenario = generate(7);
        scenario.events.insert(3, Event::Wait(77.0));
        scenario.events.push(Event::Wait(78.0));
        let culprit = scenario.setup[1].clone();
        let differs = |scenario: &Scenario| {
            Ok(scenario.setup.contains(&culprit)
                && scenario.events.contains(&Event::Wait(77.0))
                && scenario.events.contains(&Event::Wait(78.0)))
        };
        let small = shrink(&scenario, 1_000, differs).expect("no errors");
        assert_eq!(small.setup, std::slice::from_ref(&culprit));
        assert_eq!(small.events, [Event::Wait(77.0), Event::Wait(78.0)]);
    }

    #[test]
    fn tries_are_bounded() {
        let mut asked = 0;
        let shrunk = shrink(&generate(8), 10, |_| {
            asked += 1;
            Ok(false)
        });
        assert_eq!(shrunk.expect("no errors"), generate(8));
        assert_eq!(asked, 10);
    }
}
