//! Picks by chance: `twos` draws two servers at random, so any pick that two draws can lead to is as good as the recorded
//! one. The replay looks for a seed that leads to the recorded one, and gives it to the engine before the packet. Where
//! there is none, no draw could have led there, and the picks differ.

use crate::case::Sent;
use crate::ip::{ETHERNET_LEN, Ip, protocol};
use shunt_engine::Tick;
use shunt_engine::board::Boards;
use shunt_engine::sched::{NewFlow, Schedulers};
use shunt_engine::tables::{Hop, Marked, SchedulerKind, ServerId, Service, Tables};
use shunt_wire::NicPortId;

/// Seeds to try. A pick that only one pair of draws leads to is found among these, but for odds of 1 to 20, up to a sum of
/// weights of 80.
const SEEDS: u64 = 20_000;

/// The seed that makes the next new flow of a `twos` service, which `frame` opens, go where it went in the recording.
/// `None`: the packet is for no such service, or the recording shows no pick, or one that cannot be.
#[must_use]
pub fn seed(
    tables: &Tables,
    boards: &Boards,
    nic_port: NicPortId,
    frame: &[u8],
    sent: &[Sent],
) -> Option<u64> {
    let (service, flow) = new_flow(tables, nic_port, frame)?;
    let recorded = sent.iter().find_map(|sent| server_of(tables, &service, &sent.frame.0))?;
    let mut schedulers = Schedulers::new(0, 0, 0);
    (0..SEEDS).find(|&seed| {
        schedulers.reseed(seed);
        schedulers.pick(&service, boards, &flow) == Some(recorded)
    })
}

/// The `twos` service that a packet is for, and the packet as that sees it.
fn new_flow(tables: &Tables, nic_port: NicPortId, frame: &[u8]) -> Option<(Service, NewFlow)> {
    let packet = frame.get(ETHERNET_LEN..)?;
    let ip = Ip::read(packet)?;
    let ports: [u8; 4] = *packet.get(ip.header_len..)?.first_chunk()?;
    let (sport, dport) = (u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]));
    let Ip { src, dst, protocol, .. } = ip;
    let mark = tables.mark_of(&Marked { src, dst, protocol, sport, dport, nic_port });
    let service = tables.service_for(mark, protocol, dst, dport)?;
    let flow = NewFlow { protocol, caddr: src, cport: sport, daddr: dst, vport: dport, now: Tick(0) };
    (service.scheduler == SchedulerKind::Twos).then(|| (Service::clone(service), flow))
}

/// The server of a service that a recorded frame went to: by its IP address or, with direct routing, its link.
fn server_of(tables: &Tables, service: &Service, frame: &[u8]) -> Option<ServerId> {
    let ip = Ip::read(frame.get(ETHERNET_LEN..)?)?;
    let is_error = [protocol::ICMP, protocol::ICMPV6].contains(&ip.protocol);
    let is_there = |id: ServerId| {
        let Some(server) = tables.server(id) else { return false };
        let on_link = matches!(&server.hop, Hop::Via(next) if frame.starts_with(&next.dst_mac.0));
        server.daddr == ip.dst || on_link
    };
    let found = service.servers.iter().map(|server| server.id).find(|id| is_there(*id));
    found.filter(|_| !is_error)
}

#[cfg(test)]
mod tests {
    use crate::case::{Bytes, Command, Step};
    use crate::replay::Player;
    use shunt_wire::MacAddr;
    use shunt_wire::craft::Craft;
    use shunt_wire::tcp::Flags;

    use super::Sent;

    fn command(cmd: &str) -> Step {
        let nothing = String::new;
        let (cmd, stdin, stdout, stderr) = (cmd.to_owned(), nothing(), nothing(), nothing());
        Step::Cmd(Command { t: 0.0, cmd, stdin, rc: 0, stdout, stderr, out: Vec::new() })
    }

    /// Does a replay agree to a new connection of a `twos` service having gone to this server, of which the weights are
    /// given?
    fn may_go_to(server: u8, weights: [u8; 3]) -> bool {
        let mac = |net, host| MacAddr([2, 0, 0, 0, net, host]);
        let syn = |dst: [u8; 4]| {
            Craft::v4([192, 0, 2, 9].into(), dst.into()).tcp(4000, 80, Flags::SYN).sequence(1000, 0)
        };
        let mut player = Player::default();
        player.step(&command("ipvsadm -A -t 10.0.1.100:80 -s twos"));
        for (nth, weight) in weights.iter().enumerate() {
            let host = 11 + nth;
            player.step(&command(&format!("ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.{host} -m -w {weight}")));
        }
        let sent = syn([10, 0, 2, server]).ttl(63).macs(mac(2, 1), mac(2, server + 6));
        let sent = Sent {
            t: 0.0,
            nic_port: "eth1".to_owned(),
            frame: Bytes(sent.frame()),
            volatile: Vec::new(),
            desc: String::new(),
        };
        let arrival = syn([10, 0, 1, 100]).macs(mac(1, 0xfe), mac(1, 1)).padded_frame();
        let (note, nic_port) = (String::new(), "eth0".to_owned());
        player.step(&Step::Rx { t: 0.0, nic_port, frame: Bytes(arrival), note, out: vec![sent] });
        player.report().differences.is_empty()
    }

    #[test]
    fn any_pick_that_chance_can_make() {
        for server in 11..=13 {
            assert!(may_go_to(server, [1, 5, 9]), "{server}");
        }
        assert!(!may_go_to(12, [1, 0, 9]), "a server without weight is never drawn");
    }
}
