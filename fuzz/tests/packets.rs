//! Bytes into an engine with a populated table: nothing panics, nothing is allocated, what came in valid leaves valid,
//! every verdict can be carried out, and when all is over nothing remains.

use bolero::TypeGenerator;
use shunt_engine::Origin;
use shunt_fuzz::director::Fuzzed;
use shunt_fuzz::traffic::{Template, templates};
use std::cell::RefCell;

/// What an input does.
#[derive(Clone, Debug, TypeGenerator)]
enum Step {
    /// A frame of [`templates`], spoilt.
    Known { template: u8, edits: Vec<(u8, u8)>, cut: Option<u8>, from_kernel: bool, other_port: bool },
    /// Some frames of them as they are, one after another, with other client ports.
    Row { first: u8, count: u8, cport: u8 },
    /// Any bytes behind the link layer, or instead of it.
    Bytes { bytes: Vec<u8>, framed: bool, v6: bool, inside: bool },
    /// Time passes, in units of 250 ms.
    Wait(u8),
    /// Somebody configures.
    Command(u8),
    /// Or changes a setting.
    Setting(u8),
}

struct Target {
    director: Fuzzed,
    templates: Vec<Template>,
}

/// Steps in an input, at most: what libFuzzer makes must stay fast.
const STEPS: usize = 64;

impl Target {
    fn run(&mut self, steps: &[Step]) {
        for step in steps.iter().take(STEPS) {
            self.step(step);
        }
        self.director.end();
    }

    fn template(&self, number: u8) -> &Template {
        &self.templates[usize::from(number) % self.templates.len()]
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Known { template, edits, cut, from_kernel, other_port } => {
                let Template { nic_port, mut bytes } = self.template(*template).clone();
                for (place, value) in edits {
                    let place = usize::from(*place) % bytes.len();
                    bytes[place] = *value;
                }
                bytes.truncate(cut.map_or(usize::MAX, usize::from));
                let origin = if *from_kernel { Origin::Twin } else { Origin::Wire };
                self.director.burst(origin, &[(nic_port ^ u8::from(*other_port), bytes)]);
            }
            Step::Row { first, count, cport } => {
                let frames: Vec<(u8, Vec<u8>)> = (0..*count % 32)
                    .map(|nth| {
                        let Template { nic_port, mut bytes } = self.template(first.wrapping_add(nth)).clone();
                        // The low byte of the source port in most of them: new flows, or wrong checksums.
                        if *cport != 0 && bytes.len() > 35 {
                            bytes[35] ^= cport.wrapping_mul(nth);
                        }
                        (nic_port, bytes)
                    })
                    .collect();
                self.director.burst(Origin::Wire, &frames);
            }
            Step::Bytes { bytes, framed, v6, inside } => {
                let mut frame = Vec::new();
                if *framed {
                    let to = [2, 0, 0, 0, if *inside { 2 } else { 1 }, 1];
                    let ethertype: [u8; 2] = if *v6 { [0x86, 0xdd] } else { [8, 0] };
                    frame.extend([&to[..], &[2, 0, 0, 0, 9, 9], &ethertype].concat());
                }
                frame.extend(bytes);
                self.director.burst(Origin::Wire, &[(u8::from(*inside), frame)]);
            }
            Step::Wait(quarters) => self.director.wait(u64::from(*quarters) * 250),
            Step::Command(number) => self.director.command(*number),
            Step::Setting(number) => self.director.setting(*number),
        }
    }
}

#[test]
fn packets() {
    thread_local! {
        static TARGET: RefCell<Target> =
            RefCell::new(Target { director: Fuzzed::new(), templates: templates() });
    }
    bolero::check!()
        .with_type::<Vec<Step>>()
        .for_each(|steps| TARGET.with(|target| target.borrow_mut().run(steps)));
}
