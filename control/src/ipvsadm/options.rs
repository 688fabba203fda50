//! The words of the language: commands, options, and which option goes with which command (spec `cli.md` §2-4).

use super::popt::{Spelling, Takes};

/// A command, as the first option names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Verb {
    AddService,
    EditService,
    DeleteService,
    Flush,
    Restore,
    Save,
    AddServer,
    EditServer,
    DeleteServer,
    List,
    Zero,
    Set,
    StartDaemon,
    StopDaemon,
    Help,
    Version,
}

/// A slot of the option matrix: what may be given once. The order is that of the check, which stops at the first
/// problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u8)]
pub(super) enum Slot {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    Forwarding,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    Nosort,
    Syncid,
    Exact,
    Ops,
    Engine,
    SchedulerFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
    /// Not of ipvsadm.
    Atomic,
}

/// The slots in the order of the check, and their names in messages.
pub(super) const SLOTS: [(Slot, &str); 35] = [
    (Slot::Numeric, "numeric"),
    (Slot::Connection, "connection"),
    (Slot::Service, "service-address"),
    (Slot::Scheduler, "scheduler"),
    (Slot::Persistent, "persistent"),
    (Slot::Netmask, "netmask"),
    (Slot::RealServer, "real-server"),
    (Slot::Forwarding, "forwarding-method"),
    (Slot::Weight, "weight"),
    (Slot::UpperThreshold, "u-threshold"),
    (Slot::LowerThreshold, "l-threshold"),
    (Slot::McastInterface, "mcast-interface"),
    (Slot::Timeout, "timeout"),
    (Slot::Daemon, "daemon"),
    (Slot::Stats, "stats"),
    (Slot::Rate, "rate"),
    (Slot::Thresholds, "thresholds"),
    (Slot::PersistentConn, "persistent-conn"),
    (Slot::Nosort, "nosort"),
    (Slot::Syncid, "syncid"),
    (Slot::Exact, "exact"),
    (Slot::Ops, "ops"),
    (Slot::Engine, "pe"),
    (Slot::SchedulerFlags, "sched-flags"),
    (Slot::McastGroup, "mcast-group"),
    (Slot::McastPort, "mcast-port"),
    (Slot::McastTtl, "mcast-ttl"),
    (Slot::SyncMaxlen, "sync-maxlen"),
    (Slot::TunInfo, "tun-info"),
    (Slot::TunType, "tun-type"),
    (Slot::TunPort, "tun-port"),
    (Slot::TunNocsum, "tun-nocsum"),
    (Slot::TunCsum, "tun-csum"),
    (Slot::TunRemcsum, "tun-remcsum"),
    (Slot::Atomic, "atomic"),
];

/// The options of one command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given(u64);

impl Given {
    /// A set of slots.
    pub(super) const fn of(slots: &[Slot]) -> Given {
        let mut given = Given(0);
        let mut index = 0;
        while index < slots.len() {
            given.0 |= 1 << slots[index] as u8;
            index += 1;
        }
        given
    }

    pub(super) const fn has(self, slot: Slot) -> bool {
        self.0 & (1 << slot as u8) != 0
    }

    pub(super) const fn add(&mut self, slot: Slot) {
        self.0 |= 1 << slot as u8;
    }

    /// What is in both.
    pub(super) const fn and(self, other: Given) -> Given {
        Given(self.0 & other.0)
    }

    pub(super) fn has_any(self, slots: &[Slot]) -> bool {
        slots.iter().any(|slot| self.has(*slot))
    }
}

/// What an option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Word {
    Verb(Verb),
    TcpService,
    UdpService,
    SctpService,
    Fwmark,
    Ipv6,
    Gatewaying,
    Ipip,
    Masquerading,
    Sort,
    /// An option with a slot of its own.
    Slot(Slot),
}

const fn spelling(long: &'static str, short: u8, takes: Takes, means: Word) -> Spelling<Word> {
    Spelling { long, short: if short == 0 { None } else { Some(short) }, takes, means }
}

/// A command without argument.
const fn verb(long: &'static str, short: u8, verb: Verb) -> Spelling<Word> {
    spelling(long, short, Takes::Nothing, Word::Verb(verb))
}

/// An option without argument.
const fn flag(long: &'static str, short: u8, slot: Slot) -> Spelling<Word> {
    spelling(long, short, Takes::Nothing, Word::Slot(slot))
}

/// An option with argument.
const fn value(long: &'static str, short: u8, slot: Slot) -> Spelling<Word> {
    spelling(long, short, Takes::Argument, Word::Slot(slot))
}

/// All options.
pub(super) const TABLE: &[Spelling<Word>] = &[
    verb("add-service", b'A', Verb::AddService),
    verb("edit-service", b'E', Verb::EditService),
    verb("delete-service", b'D', Verb::DeleteService),
    verb("clear", b'C', Verb::Flush),
    verb("list", b'L', Verb::List),
    verb("list", b'l', Verb::List),
    verb("zero", b'Z', Verb::Zero),
    verb("add-server", b'a', Verb::AddServer),
    verb("edit-server", b'e', Verb::EditServer),
    verb("delete-server", b'd', Verb::DeleteServer),
    verb("set", 0, Verb::Set),
    verb("help", b'h', Verb::Help),
    verb("version", b'v', Verb::Version),
    verb("restore", b'R', Verb::Restore),
    verb("save", b'S', Verb::Save),
    spelling("start-daemon", 0, Takes::Argument, Word::Verb(Verb::StartDaemon)),
    spelling("stop-daemon", 0, Takes::Argument, Word::Verb(Verb::StopDaemon)),
    spelling("tcp-service", b't', Takes::Argument, Word::TcpService),
    spelling("udp-service", b'u', Takes::Argument, Word::UdpService),
    spelling("sctp-service", 0, Takes::Argument, Word::SctpService),
    spelling("fwmark-service", b'f', Takes::Argument, Word::Fwmark),
    spelling("ipv6", b'6', Takes::Nothing, Word::Ipv6),
    spelling("gatewaying", b'g', Takes::Nothing, Word::Gatewaying),
    spelling("ipip", b'i', Takes::Nothing, Word::Ipip),
    spelling("masquerading", b'm', Takes::Nothing, Word::Masquerading),
    spelling("sort", 0, Takes::Nothing, Word::Sort),
    spelling("persistent", b'p', Takes::Perhaps, Word::Slot(Slot::Persistent)),
    value("scheduler", b's', Slot::Scheduler),
    value("netmask", b'M', Slot::Netmask),
    value("pe", 0, Slot::Engine),
    value("sched-flags", b'b', Slot::SchedulerFlags),
    flag("ops", b'o', Slot::Ops),
    value("real-server", b'r', Slot::RealServer),
    value("weight", b'w', Slot::Weight),
    value("u-threshold", b'x', Slot::UpperThreshold),
    value("l-threshold", b'y', Slot::LowerThreshold),
    value("tun-type", 0, Slot::TunType),
    value("tun-port", 0, Slot::TunPort),
    flag("tun-nocsum", 0, Slot::TunNocsum),
    flag("tun-csum", 0, Slot::TunCsum),
    flag("tun-remcsum", 0, Slot::TunRemcsum),
    flag("numeric", b'n', Slot::Numeric),
    flag("connection", b'c', Slot::Connection),
    flag("timeout", 0, Slot::Timeout),
    flag("daemon", 0, Slot::Daemon),
    flag("stats", 0, Slot::Stats),
    flag("rate", 0, Slot::Rate),
    flag("thresholds", 0, Slot::Thresholds),
    flag("persistent-conn", 0, Slot::PersistentConn),
    flag("tun-info", 0, Slot::TunInfo),
    flag("nosort", 0, Slot::Nosort),
    flag("exact", b'X', Slot::Exact),
    value("mcast-interface", 0, Slot::McastInterface),
    value("syncid", 0, Slot::Syncid),
    value("mcast-group", 0, Slot::McastGroup),
    value("mcast-port", 0, Slot::McastPort),
    value("mcast-ttl", 0, Slot::McastTtl),
    value("sync-maxlen", 0, Slot::SyncMaxlen),
    flag("atomic", 0, Slot::Atomic),
];
