//! The connection table against a map from the standard library, under random operations and jumps of time.

use super::*;
use crate::tables::ServerId;
use bolero::TypeGenerator;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Operation {
    Insert {
        client: u8,
        nat: bool,
        timeout_s: u16,
    },
    Remove {
        client: u8,
    },
    Touch {
        client: u8,
        timeout_s: u16,
    },
    Wait {
        ms: u32,
    },
    Expire,
    /// Whoever is found goes.
    Evict {
        looks: u8,
    },
}

const CAPACITY: u32 = 24;

fn tuple(client: u8) -> Tuple<u32> {
    Tuple {
        src: 0xc000_0200 | u32::from(client),
        dst: 0x0a00_0164,
        sport: 1024 + u16::from(client),
        dport: 80,
        protocol: 6,
    }
}

fn conn(client: u8, nat: bool, timeout_s: u16) -> Conn<u32> {
    let method = if nat { ForwardingMethod::Nat } else { ForwardingMethod::DirectRouting };
    let mut conn = Conn::new(tuple(client), method, ServerId(7), 0x0a00_0200 + u32::from(client % 3), 8080);
    conn.timeout_ms = u32::from(timeout_s) * 1000;
    conn
}

/// What the table should hold: how it answers, and when it is due.
struct Known {
    nat: bool,
    due: u64,
}

fn key() -> FlowKey {
    FlowKey::new([3, 5, 7, 11])
}

fn check(table: &ConnTable<u32>, model: &HashMap<u8, Known>) {
    assert_eq!(table.len() as usize, model.len());
    assert_eq!(table.iter_in(0..table.capacity()).count(), model.len());
    for client in 0..32 {
        let found = table.lookup(&tuple(client));
        assert_eq!(
            found.map(|(_, direction)| direction),
            model.contains_key(&client).then_some(Direction::Request)
        );
        let Some(known) = model.get(&client) else { continue };
        let (index, _) = found.unwrap();
        let entry = table.get(index);
        assert_eq!(table.lookup(&entry.reply()), Some((index, Direction::Reply)));
        assert_eq!(entry.method() == ForwardingMethod::Nat, known.nat);
    }
}

fn run(operations: &[Operation]) {
    let mut now = Tick(1_000_000);
    let mut table = ConnTable::new(CAPACITY, key(), now);
    let mut model: HashMap<u8, Known> = HashMap::new();
    for operation in operations {
        match *operation {
            Operation::Insert { client, nat, timeout_s } => {
                let client = client % 32;
                if !model.contains_key(&client) {
                    let inserted = table.insert(conn(client, nat, timeout_s), now).is_some();
                    assert_eq!(inserted, model.len() < CAPACITY as usize);
                    if inserted {
                        model.insert(client, Known { nat, due: now.0 + u64::from(timeout_s) * 1000 });
                    }
                }
            }
            Operation::Remove { client } => {
                let client = client % 32;
                if model.remove(&client).is_some() {
                    let (index, _) = table.lookup(&tuple(client)).unwrap();
                    assert_eq!(table.remove(index).cport, tuple(client).sport);
                }
            }
            Operation::Touch { client, timeout_s } => {
                if let Some(known) = model.get_mut(&(client % 32)) {
                    let (index, _) = table.lookup(&tuple(client % 32)).unwrap();
                    table.touch(index, u32::from(timeout_s) * 1000, now);
                    known.due = now.0 + u64::from(timeout_s) * 1000;
                }
            }
            Operation::Wait { ms } => now.0 += u64::from(ms % 2_000_000),
            Operation::Expire => {
                let mut budget = u32::MAX;
                while let Some(index) = table.due(now, &mut budget) {
                    let gone = table.expired(index);
                    let known = model.remove(&(gone.cport as u8)).expect("it was in the table");
                    assert!(known.due <= now.0, "not before its time");
                }
                // Two slots of the wheel are the most that it may be late.
                assert!(model.values().all(|known| known.due + 256 > now.0), "and not late");
            }
            Operation::Evict { looks } => {
                // Of odd clients none is given up.
                if let Some(index) = table.sweep(u32::from(looks % 8), |conn| conn.cport % 2 == 0) {
                    let gone = table.remove(index);
                    assert!(gone.cport % 2 == 0 && model.remove(&(gone.cport as u8)).is_some());
                }
                table.expect_sweep();
            }
        }
        check(&table, &model);
    }
}

#[test]
fn behaves_like_a_map() {
    bolero::check!().with_type::<Vec<Operation>>().for_each(|operations| run(operations));
}

/// Long seeded runs: the generator above makes short ones.
#[test]
fn behaves_like_a_map_for_long() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (state >> 40) as u32
    };
    for _ in 0..20 {
        let operations: Vec<Operation> = (0..2000)
            .map(|_| {
                let (client, timeout_s) = (random() as u8, (random() % 2000) as u16);
                match random() % 10 {
                    0..=2 => Operation::Insert { client, nat: random() % 2 == 0, timeout_s },
                    3 => Operation::Remove { client },
                    4 | 5 => Operation::Touch { client, timeout_s },
                    6 => Operation::Wait { ms: random() % 700_000 },
                    7 | 8 => Operation::Evict { looks: random() as u8 },
                    _ => Operation::Expire,
                }
            })
            .collect();
        run(&operations);
    }
}
