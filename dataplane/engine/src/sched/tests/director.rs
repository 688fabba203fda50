//! A director reduced to what schedulers see: one service, its servers, and connections that only count.

use crate::board::{Boards, ServerCounts, step};
use crate::sched::{NewFlow, SchedulerPlan, Schedulers, TooManyServers};
use crate::tables::{
    Candidate, Family, SchedulerKind, ServerId, Service, ServiceFlags, ServiceId, ServiceKey,
};
use crate::tables::{Settings, Tables};
use crate::tick::Tick;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

const TCP: u8 = 6;
pub const SERVERS_MAX: usize = 256;

/// What is known of a server besides its place in the list. It outlives deletion, as in the kernel's
/// trash; only the last weight of a server that is added again is what it is added with.
#[derive(Clone, Copy, Default)]
struct Record {
    last_weight: i32,
    upper: u32,
    lower: u32,
}

struct Conn {
    server: ServerId,
    is_active: bool,
}

pub struct Director {
    pub service: Service,
    pub boards: Boards,
    pub schedulers: Schedulers,
    pub protocol: u8,
    pub now: Tick,
    records: Vec<Record>,
    conns: Vec<Option<Conn>>,
}

/// A service without servers.
pub fn service(family: Family, kind: SchedulerKind, flags: ServiceFlags) -> Service {
    let mut service = Service {
        id: ServiceId(3),
        key: ServiceKey::Fwmark { family, mark: 7 },
        scheduler: SchedulerKind::None,
        flags,
        persistence: None,
        sip: false,
        servers: [].into(),
        plan: SchedulerPlan::default(),
    };
    service.reschedule(kind).expect("an empty list fits every scheduler");
    service
}

impl Director {
    pub fn new(family: Family, kind: SchedulerKind) -> Director {
        Director {
            service: service(family, kind, ServiceFlags::default()),
            boards: Boards::new(1, SERVERS_MAX),
            schedulers: Schedulers::new(8, 4096, 1).with_servers_max(SERVERS_MAX),
            protocol: TCP,
            now: Tick(1_000_000),
            records: vec![Record::default(); SERVERS_MAX],
            conns: Vec::new(),
        }
    }

    /// A service of this kind with servers 0, 1, 2, … of these weights, added one by one in this order.
    pub fn with(kind: SchedulerKind, weights: &[i32]) -> Director {
        let mut director = Director::new(Family::V4, kind);
        director.add_all(weights);
        director
    }

    pub fn add_all(&mut self, weights: &[i32]) {
        for (n, &weight) in weights.iter().enumerate() {
            self.add(n as u32, weight, 0, 0);
        }
    }

    /// The server's address is 10.0.2.N or fd00:2::N (N written in decimal digits), its port 8080.
    fn candidate(&mut self, n: u32, weight: i32, is_new: bool) -> Candidate {
        let daddr = match self.service.family() {
            Family::V4 => format!("10.0.2.{n}"),
            Family::V6 => format!("fd00:2::{n}"),
        };
        let record = &mut self.records[n as usize];
        if weight != 0 || is_new {
            record.last_weight = weight;
        }
        Candidate {
            id: ServerId(n),
            weight,
            last_weight: record.last_weight,
            daddr: daddr.parse().unwrap(),
            dport: 8080,
        }
    }

    pub fn add(&mut self, n: u32, weight: i32, upper: u32, lower: u32) {
        let candidate = self.candidate(n, weight, true);
        self.set_thresholds(n, upper, lower);
        self.service.link(candidate);
    }

    pub fn edit(&mut self, n: u32, weight: i32, upper: u32, lower: u32) {
        let candidate = self.candidate(n, weight, false);
        self.set_thresholds(n, upper, lower);
        assert!(self.service.edit(candidate));
    }

    pub fn delete(&mut self, n: u32) {
        assert!(self.service.unlink(ServerId(n)));
    }

    pub fn reschedule(&mut self, kind: SchedulerKind, flags: ServiceFlags) -> Result<(), TooManyServers> {
        self.service.flags = flags;
        self.service.reschedule(kind)
    }

    fn counts(&self, id: ServerId) -> &ServerCounts {
        self.boards.mine(id).unwrap()
    }

    pub fn load(&mut self, n: u32, active: u32, inactive: u32) {
        self.counts(ServerId(n)).active.store(active, Relaxed);
        self.counts(ServerId(n)).total.store(active + inactive, Relaxed);
        self.schedulers.load_changed(&self.boards, self.boards.mine(ServerId(n)).unwrap(), ServerId(n));
    }

    pub fn overload(&mut self, n: u32, overloaded: bool) {
        self.boards.set_overloaded(ServerId(n), overloaded);
        self.schedulers.overload_changed(&self.boards, ServerId(n));
    }

    fn lower(&self, id: ServerId) -> u32 {
        let record = self.records[id.0 as usize];
        if record.lower > 0 { record.lower } else { record.upper - record.upper / 4 }
    }

    /// spec `connections.md` §6
    fn set_thresholds(&mut self, n: u32, upper: u32, lower: u32) {
        let id = ServerId(n);
        let record = &mut self.records[n as usize];
        if (record.upper, record.lower) == (upper, lower) {
            return;
        }
        (record.upper, record.lower) = (upper, lower);
        let total = self.boards.total(id);
        if upper > 0 && total >= upper {
            self.boards.set_overloaded(id, true);
        } else if upper == 0 || total < self.lower(id) {
            self.boards.set_overloaded(id, false);
        }
    }

    /// What the scheduler says to a flow, without consequences but its own.
    pub fn ask(&mut self, caddr: IpAddr, cport: u16, vaddr: IpAddr) -> Option<u32> {
        let flow = NewFlow { protocol: self.protocol, caddr, cport, daddr: vaddr, vport: 80, now: self.now };
        self.schedulers.pick(&self.service, &self.boards, &flow).map(|id| id.0)
    }

    /// A new flow: a TCP connection counts as active at once, others do not.
    pub fn pick(&mut self, caddr: IpAddr, cport: u16, vaddr: IpAddr) -> Option<u32> {
        let chosen = self.ask(caddr, cport, vaddr).map(ServerId);
        self.conns.push(chosen.map(|server| Conn { server, is_active: self.protocol == TCP }));
        let id = chosen?;
        step(&self.counts(id).total, 1);
        let upper = self.records[id.0 as usize].upper;
        if upper > 0 && self.boards.total(id) == upper {
            self.boards.set_overloaded(id, true);
        }
        step(&self.counts(id).active, i32::from(self.protocol == TCP));
        self.schedulers.overload_changed(&self.boards, id);
        Some(id.0)
    }

    /// Picks of a client whose address does not matter.
    pub fn picks(&mut self, count: usize) -> Vec<Option<u32>> {
        (0..count).map(|_| self.pick([192, 0, 2, 9].into(), 20_000, [10, 0, 1, 100].into())).collect()
    }

    /// The connection of the n-th pick becomes inactive.
    pub fn reset(&mut self, n: usize) {
        let conn = self.conns[n].as_mut().expect("an open connection");
        assert!(std::mem::take(&mut conn.is_active));
        step(&self.boards.mine(conn.server).unwrap().active, -1);
        self.schedulers.load_changed(&self.boards, self.boards.mine(conn.server).unwrap(), conn.server);
    }

    /// The connection of the n-th pick ends.
    pub fn expire(&mut self, n: usize) {
        let conn = self.conns[n].take().expect("an open connection");
        let counts = self.counts(conn.server);
        step(&counts.active, -i32::from(conn.is_active));
        step(&counts.total, -1);
        let total = self.boards.total(conn.server);
        let record = self.records[conn.server.0 as usize];
        if record.upper > 0 && total + 1 == self.lower(conn.server) && total < record.upper {
            self.boards.set_overloaded(conn.server, false);
        }
        self.schedulers.overload_changed(&self.boards, conn.server);
    }

    /// Lets time pass, with housekeeping each second.
    pub fn pass(&mut self, seconds: u64, settings: &Settings) {
        let mut tables = Tables::new(Vec::new());
        tables.put_service(self.service.clone());
        *tables.settings_mut() = settings.clone();
        for _ in 0..seconds {
            self.now.0 += 1000;
            self.schedulers.housekeep(&tables, self.now);
        }
    }
}
