//! What rules for firewall marks cost new flows: established ones never meet them.

use crate::engine::{engine, run};
use crate::figures::Line;
use crate::traffic::{VIP, request, tables};
use shunt_engine::tables::{Family, ForwardingMethod, MarkRule, Marks, Prefix, SchedulerKind};

const FLOWS: u32 = 1 << 20;
/// Rounds; the best counts, since nothing but disturbance makes one slower.
const ROUNDS: usize = 5;

/// So many rules, none of which is for the packets measured; and then one that is, if `marked`.
fn rules(count: u32, marked: bool) -> Marks {
    let rule = |n: u32, destination: [u8; 4], len: u8| MarkRule {
        family: Family::V4,
        source: None,
        destination: Some(Prefix { address: destination.into(), len }),
        protocol: Some(17),
        sports: 0..=u16::MAX,
        dports: 80..=80,
        nic_port: None,
        mark: n,
    };
    let others = (1..=count).map(|n| {
        let [_, high, mid, low] = n.to_be_bytes();
        // Nine lengths: more than rule sets of operators have.
        rule(n, [172, 16 + high, mid, low], 24 + (n % 9) as u8)
    });
    let own = marked.then(|| rule(count + 1, VIP, 32));
    Marks::new(others.chain(own).collect())
}

fn per_second(count: u32, marked: bool) -> f64 {
    let mut tables = tables(4, ForwardingMethod::DirectRouting, SchedulerKind::Wlc, 10);
    tables.set_marks(rules(count, marked));
    let packets: Vec<[u8; 64]> = (0..FLOWS).map(|n| request(4, n)).collect();
    let round = |_| {
        let mut engine = engine((FLOWS + FLOWS / 3, 1), (0, 1));
        1e3 / run(&mut engine, &tables, &packets, u64::from(FLOWS))
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

/// New flows per second without rules, with 100, with 10,000; unmarked, and marked by the last of them.
pub fn measure() -> Vec<Line> {
    let mut lines = vec![("marks/0".to_owned(), per_second(0, false), "M/s")];
    for count in [100, 10_000] {
        lines.push((format!("marks/{count}/unmarked"), per_second(count, false), "M/s"));
        lines.push((format!("marks/{count}/marked"), per_second(count, true), "M/s"));
    }
    lines
}
