//! Makes a scenario from a seed: the same one each time.

mod ftp;
mod life;
mod passing;
mod services;

use crate::scenario::{Event, Flow, Protocol, Scenario, Shape, Side, Sum};
use fastrand::Rng;
use life::Life;
use services::{Configuration, Service};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of FTP's control connections.
const FTP: u16 = 21;

/// A packet without anything unusual.
#[must_use]
pub fn plain(kind: u8) -> Shape {
    Shape {
        kind,
        payload: 0,
        call: None,
        ttl: 64,
        tos: 0,
        dont_fragment: true,
        id: 0x1234,
        sum: Sum::Right,
        options: false,
        atomic: false,
        cut: None,
    }
}

/// Is a thing that happens so often in a hundred times the case now?
fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

fn pick<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(0..all.len())].clone()
}

/// The scenario of a seed.
#[must_use]
pub fn generate(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let (mut configuration, setup) = Configuration::generate(&mut rng, seed);
    let leaves_traces = configuration.has_port_0() || configuration.has_ftp();
    let mut scenario = Scenario { setup, leaves_traces, ..Scenario::default() };
    scenario.events.extend(configuration.first_commands(&mut rng).into_iter().map(Event::Command));
    // Now and then there is only one client, which talks to all services at once.
    let again = pick(&mut rng, &[40, 40, 40, 100]);
    let lives: Vec<Life> = (0..rng.usize(2..14))
        .map(|_| {
            let service = pick(&mut rng, &configuration.services);
            let flow = flow(&mut rng, &service, &scenario.flows, again);
            let number = scenario.flows.len();
            scenario.flows.push(flow);
            if service.is_ftp() && flow.vport == FTP && flow.protocol == Protocol::Tcp {
                return Life::scripted(ftp::talk(&mut rng, number, &mut scenario.flows));
            }
            Life::generate(&mut rng, number, flow, service.is_sip())
        })
        .collect();
    let Scenario { flows, events, .. } = &mut scenario;
    interleave(&mut rng, &mut configuration, flows, lives, events);
    scenario.events.push(Event::List);
    scenario
}

/// The lives of the flows go on in turns; between their packets things are edited, listed, waited for.
fn interleave(
    rng: &mut Rng,
    configuration: &mut Configuration,
    flows: &[Flow],
    mut lives: Vec<Life>,
    events: &mut Vec<Event>,
) {
    let edits = pick(rng, &[0, 3, 10, 25]);
    let waits = pick(rng, &[1, 4, 8]);
    let passing = pick(rng, &[0, 5, 20]);
    while !lives.is_empty() {
        let nth = rng.usize(0..lives.len());
        // Some packets of one flow follow each other, so that it gets somewhere.
        for _ in 0..rng.usize(1..4) {
            match lives[nth].next(rng) {
                Some(event) => events.push(event),
                None => {
                    lives.swap_remove(nth);
                    break;
                }
            }
        }
        if chance(rng, edits) {
            events.push(Event::Command(configuration.edit(rng)));
        }
        if chance(rng, passing) {
            events.push(Event::Passing(passing::generate(rng, configuration, flows)));
        }
        if chance(rng, waits) {
            events.push(Event::Wait(seconds(rng)));
        }
        if chance(rng, 1) {
            events.push(Event::List);
        }
    }
}

/// How long a wait is. A second costs the kernel some milliseconds, so long ones are rare.
fn seconds(rng: &mut Rng) -> f64 {
    match rng.u32(0..100) {
        0..70 => pick(rng, &[0.1, 0.5, 1.0, 3.0]),
        70..97 => pick(rng, &[11.0, 31.0, 62.0]),
        _ => pick(rng, &[125.0, 310.0, 910.0]),
    }
}

fn client(rng: &mut Rng, is_v4: bool) -> IpAddr {
    if is_v4 {
        let nets = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
        let [a, b, c] = pick(rng, &nets);
        // Few hosts, so that persistence has something to hold.
        let host = pick(rng, &[1, 2, 9, 77, 130, 200]);
        Ipv4Addr::new(a, b, c, host).into()
    } else {
        Ipv6Addr::new(
            0x2001,
            0xdb8,
            pick(rng, &[0xa, 0xc]),
            0,
            0,
            0,
            pick(rng, &[0, 1]),
            pick(rng, &[1, 9, 0x77]),
        )
        .into()
    }
}

/// A client of a service, or, now and then, of none; so often in a hundred times it is the last one.
fn flow(rng: &mut Rng, service: &Service, others: &[Flow], again: u32) -> Flow {
    // The same client again, to another port: persistence.
    let again = chance(rng, again).then(|| others.last().copied()).flatten();
    let mut flow = service.flow(rng);
    flow.caddr = match again {
        Some(other) if other.caddr.is_ipv4() == flow.vaddr.is_ipv4() => other.caddr,
        _ => client(rng, flow.vaddr.is_ipv4()),
    };
    if chance(rng, 3) {
        flow.vport = 7;
    }
    if chance(rng, 3) {
        flow.protocol = pick(rng, &[Protocol::Tcp, Protocol::Udp]);
    }
    flow.cport = pick(rng, &[1024, 2000, 2001, 2002, 40_000, 50_000, 65_535]);
    // Two connections that a server cannot tell apart are outside of what shunt promises (docs/DIFFERENCES.md). Nor does
    // anybody hold two conversations of FTP over one connection.
    if others.iter().any(|other| {
        (other.caddr, other.cport) == (flow.caddr, flow.cport)
            && (service.is_ftp() || (other.vaddr, other.vport) != (flow.vaddr, flow.vport))
    }) {
        flow.cport = 3_000 + others.len() as u16;
    }
    flow
}

/// Whose packet is it?
fn side(from_client: bool) -> Side {
    if from_client { Side::Client } else { Side::Server }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Message;

    #[test]
    fn the_same_seed_makes_the_same_scenario() {
        for seed in 0..50 {
            assert_eq!(generate(seed), generate(seed));
        }
        assert_ne!(generate(1), generate(2));
    }

    #[test]
    fn all_kinds_of_things_happen() {
        let (mut errors, mut cuts, mut commands, mut replies, mut v6, mut sctp) = (0, 0, 0, 0, 0, 0);
        let (mut atomic, mut atomic_replies, mut passing, mut again) = (0, 0, 0, 0);
        let (mut said, mut active) = (0, 0);
        for scenario in (0..300).map(generate) {
            again += scenario.events.windows(2).filter(|pair| pair[0] == pair[1]).count();
            for event in &scenario.events {
                match event {
                    Event::Error { .. } => errors += 1,
                    Event::Command(_) => commands += 1,
                    Event::Packet { from, shape, flow } => {
                        cuts += usize::from(shape.cut.is_some());
                        atomic += usize::from(shape.atomic && *from == Side::Client);
                        atomic_replies += usize::from(shape.atomic && *from == Side::Server);
                        replies += usize::from(*from == Side::Server);
                        v6 += usize::from(scenario.flows[*flow].caddr.is_ipv6());
                        sctp += usize::from(scenario.flows[*flow].protocol == Protocol::Sctp);
                    }
                    Event::Passing(_) => passing += 1,
                    Event::Said { .. } => said += 1,
                    Event::Active { .. } => active += 1,
                    Event::Wait(_) | Event::List => {}
                }
            }
        }
        for count in [errors, cuts, commands, replies, v6, sctp, passing, again] {
            assert!(
                count > 50,
                "errors {errors}, cuts {cuts}, commands {commands}, {replies}, {v6}, {sctp}, {passing}, {again}"
            );
        }
        for count in [atomic, atomic_replies, said, active] {
            assert!(count > 10, "fragment headers: {atomic}, {atomic_replies}, FTP: {said}, {active}");
        }
    }

    #[test]
    fn all_kinds_of_icmp_pass_by() {
        let (mut echoes, mut tunnels, mut atomic, mut known, mut unknown) = (0, 0, 0, 0, 0);
        for scenario in (0..300).map(generate) {
            for event in &scenario.events {
                let Event::Passing(passing) = event else { continue };
                atomic += usize::from(passing.atomic);
                assert!(crate::passing::frame(passing).is_some(), "{passing:?}");
                match passing.message {
                    Message::Echo { .. } => echoes += 1,
                    Message::Error { quote, .. } if quote.tunnel.is_some() => tunnels += 1,
                    Message::Error { quote, .. } => {
                        let ports = [quote.sport, quote.dport];
                        let of_a_flow = scenario.flows.iter().any(|flow| ports.contains(&flow.cport));
                        *if of_a_flow { &mut known } else { &mut unknown } += 1;
                    }
                }
            }
        }
        for count in [echoes, tunnels, atomic, known, unknown] {
            assert!(count > 10, "echoes {echoes}, tunnels {tunnels}, {atomic}, {known}, {unknown}");
        }
    }

    #[test]
    fn one_client_talks_to_several_services() {
        let alone = (0..300).map(generate).filter(|scenario| {
            let first = scenario.flows[0];
            scenario.flows.len() > 4
                && scenario.flows.iter().all(|flow| flow.caddr == first.caddr)
                && scenario.flows.iter().any(|flow| flow.vport != first.vport)
        });
        assert!(alone.count() > 5);
    }

    #[test]
    fn all_words_are_said() {
        let mut said = String::new();
        for scenario in (0..300).map(generate) {
            scenario.setup.iter().for_each(|line| said.push_str(&format!("{line}\n")));
            for event in scenario.events {
                match event {
                    Event::Command(line) => said.push_str(&format!("{line}\n")),
                    Event::Packet { shape, .. } if shape.call.is_some() => said.push_str("a call\n"),
                    _ => {}
                }
            }
        }
        let words = [
            "-t ",
            "-u ",
            "--sctp-service ",
            "-f ",
            "-6 ",
            "-m",
            "-g",
            "-i ",
            "--tun-type gue",
            "--tun-type gre",
            "--tun-csum",
            "-p ",
            "-M ",
            "--pe sip",
            "-o\n",
            ":0 ",
            "-w 0",
            "-x ",
            "ipvsadm -e",
            "ipvsadm -d",
            "ipvsadm -a",
            "ipvsadm -E",
            "ipvsadm -D",
            "ipvsadm -A",
            "ipvsadm -C",
            "ipvsadm -Z",
            "; ipvsadm -a -",
            "; ipvsadm -A -",
            "; ipvsadm -e -",
            "ipvsadm --set",
            "a call",
        ];
        let settings = crate::oracle::SETTINGS.iter().map(|(name, _)| *name);
        let schedulers = services::SCHEDULERS.iter().copied();
        for word in words.into_iter().chain(settings).chain(schedulers) {
            assert!(said.contains(word), "{word}");
        }
    }
}
