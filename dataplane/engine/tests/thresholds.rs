//! Thresholds that are changed while connections come: control looks at them when a command says so, workers obey them when
//! that is published.

mod common;

use common::{INSIDE, Rig, Setup};
use shunt_engine::Verdict;
use shunt_engine::tables::{ForwardingMethod, ServerId};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
const VIP: &str = "10.0.1.100";

fn rig() -> Rig {
    Rig::new(&[Setup::new(TCP, VIP, ForwardingMethod::DirectRouting, &["10.0.2.11"])])
}

fn opens(rig: &mut Rig, cport: u16) -> bool {
    let syn = Craft::between("192.0.2.9".parse().unwrap(), VIP.parse().unwrap()).unwrap();
    rig.outside(syn.tcp(cport, 80, Flags::SYN)).verdict == Verdict::Transmit(INSIDE)
}

#[test]
fn a_threshold_that_was_taken_away_meanwhile_holds_nobody_off() {
    let mut rig = rig();
    rig.change_server(0, |server| server.upper_threshold = 2);
    assert!(opens(&mut rig, 4000));
    // The command clears the flag, the worker does not know of it yet and sets it once more.
    rig.boards.set_overloaded(ServerId(0), false);
    assert!(opens(&mut rig, 4001));
    assert!(rig.boards.is_overloaded(ServerId(0)));
    rig.change_server(0, |server| server.upper_threshold = 0);
    rig.wait(1000);
    assert_eq!(rig.boards.total(ServerId(0)), 0);
    assert!(!rig.boards.is_overloaded(ServerId(0)));
    assert!(opens(&mut rig, 4002));
}

#[test]
fn a_threshold_that_was_passed_meanwhile_holds_the_next_ones_off() {
    let mut rig = rig();
    assert!(opens(&mut rig, 4000));
    // The command finds fewer than the threshold, and one more comes before it is published.
    assert!(opens(&mut rig, 4001));
    rig.change_server(0, |server| server.upper_threshold = 2);
    let opened = (5000..5020).filter(|&cport| opens(&mut rig, cport)).count();
    assert!(opened <= 1, "{opened} beyond the threshold");
}
