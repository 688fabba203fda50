//! A client and a server that speak FTP through the director.

use super::{INSIDE, OUTSIDE, Outcome, Rig, Setup, ip};
use shunt_engine::tables::{ForwardingMethod, SchedulerKind};
use shunt_wire::Flags;
use shunt_wire::craft::Craft;

const TCP: u8 = 6;
/// Client, virtual address, real server.
pub const ENDS: [[&str; 3]; 2] =
    [["192.0.2.9", "10.0.1.100", "10.0.2.11"], ["2001:db8::9", "fd00:1::100", "fd00:2::11"]];
pub const CPORT: u16 = 40_500;

pub fn between(src: &str, dst: &str) -> Craft {
    Craft::between(ip(src), ip(dst)).unwrap()
}

/// The service.
pub fn service(vip: &'static str, real: &'static str) -> Setup {
    Setup {
        vport: 21,
        servers: vec![(real, 21)],
        scheduler: SchedulerKind::Rr,
        ..Setup::new(TCP, vip, ForwardingMethod::Nat, &[])
    }
}

/// A client and a server with a control connection between them.
pub struct Session {
    pub rig: Rig,
    pub client: &'static str,
    pub vip: &'static str,
    pub real: &'static str,
    /// What the client, and the server, will send next, and has got.
    pub client_next: u32,
    pub server_next: u32,
    pub client_got: u32,
    pub server_got: u32,
}

impl Session {
    pub fn new([client, vip, real]: [&'static str; 3], workers: u8) -> Session {
        Session::over(Rig::with_workers(&[service(vip, real)], workers, 256), [client, vip, real])
    }

    /// The same over a director that is there.
    pub fn over(mut rig: Rig, [client, vip, real]: [&'static str; 3]) -> Session {
        rig.outside(between(client, vip).tcp(CPORT, 21, Flags::SYN).sequence(999, 0)).sent(INSIDE);
        rig.inside(between(real, client).tcp(21, CPORT, Flags::SYN_ACK).sequence(4999, 1000)).sent(OUTSIDE);
        rig.outside(between(client, vip).tcp(CPORT, 21, Flags::ACK).sequence(1000, 5000)).sent(INSIDE);
        Session {
            rig,
            client,
            vip,
            real,
            client_next: 1000,
            server_next: 5000,
            client_got: 5000,
            server_got: 1000,
        }
    }

    /// The two ends as they are, to go on over another director.
    pub fn elsewhere(&self) -> Session {
        let Session { client, vip, real, client_next, server_next, client_got, server_got, .. } = *self;
        let rig = Rig::new(&[]);
        Session { rig, client, vip, real, client_next, server_next, client_got, server_got }
    }

    /// The client's line, as the server gets it.
    pub fn says(&mut self, line: &str) -> String {
        let segment = between(self.client, self.vip)
            .tcp(CPORT, 21, Flags::ACK)
            .sequence(self.client_next, self.client_got)
            .payload(line.as_bytes());
        self.client_next += line.len() as u32;
        let out = self.rig.outside(segment);
        out.sent(INSIDE);
        let (sequence, acknowledgment, text) = read(&out, self.client);
        assert_eq!(sequence, self.server_got, "the client's stream has no gap");
        assert_eq!(acknowledgment, self.server_next, "what the server has sent, as it counts");
        self.server_got += text.len() as u32;
        text
    }

    /// The server's line, as the client gets it.
    pub fn answers(&mut self, line: &str) -> String {
        let (before, got) = (self.server_next, self.client_got);
        self.server_next += line.len() as u32;
        let text = self.answers_again(line, before, got);
        self.client_got += text.len() as u32;
        text
    }

    pub fn answers_again(&mut self, line: &str, sequence: u32, got: u32) -> String {
        let segment = between(self.real, self.client)
            .tcp(21, CPORT, Flags::ACK)
            .sequence(sequence, self.server_got)
            .payload(line.as_bytes());
        let out = self.rig.inside(segment);
        out.sent(OUTSIDE);
        let (sequence, acknowledgment, text) = read(&out, self.client);
        assert_eq!((sequence, acknowledgment), (got, self.client_next));
        text
    }

    pub fn listed(&self) -> Vec<(String, &'static str, u64)> {
        let mut all: Vec<_> = self
            .rig
            .connections()
            .iter()
            .map(|info| {
                let ends = format!("{} {} {}", info.cport, info.vport, info.dport);
                (ends, info.state_name(), info.expires_ms / 1000)
            })
            .collect();
        all.sort_unstable();
        all
    }
}

/// Sequence number, acknowledgement and text of a segment that left.
fn read(out: &Outcome, client: &str) -> (u32, u32, String) {
    let l4 = if ip(client).is_ipv4() { 34 } else { 54 };
    let word = |at: usize| u32::from_be_bytes(out.bytes[l4 + at..l4 + at + 4].try_into().unwrap());
    let data = l4 + usize::from(out.bytes[l4 + 12] >> 4) * 4;
    (word(4), word(8), String::from_utf8(out.bytes[data..].to_vec()).unwrap())
}
