//! Words become a [`Request`]: every option read, nothing put together yet (spec `cli.md` §1, §6, §8).
//!
//! Options take effect from left to right, and some change what later ones mean; so this is one pass with state.

use super::Names;
use super::failure::Failure;
use super::options::{Given, SLOTS, Slot, TABLE, Verb, Word};
use super::popt::Words;
use super::values;
use crate::sync::{DaemonOptions, Role};
use shunt_engine::tables::{Family, ForwardingMethod, ServiceFlags};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest timeout of persistence and `--set`, seconds: 31 days.
const TIMEOUT_MAX: u32 = 31 * 86_400;

/// Persistence timeout of `-p` without a number, seconds. (The manual page says 300; the program sends 360.)
const PERSISTENCE_TIMEOUT: u32 = 360;

/// Longest name of a scheduler, in bytes.
const SCHEDULER_NAME_LEN: usize = 15;

/// Longest name of a persistence engine, in bytes.
const ENGINE_NAME_LEN: usize = 16;

/// What the options say of a service so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServicePart {
    pub(super) family: Family,
    /// IP protocol number; 0 before a service option.
    pub(super) protocol: u8,
    pub(super) mark: u32,
    pub(super) vaddr: IpAddr,
    pub(super) vport: u16,
    pub(super) netmask: u32,
    pub(super) timeout_s: Option<u32>,
    pub(super) scheduler: String,
    pub(super) engine: Option<String>,
    pub(super) flags: ServiceFlags,
}

/// What the options say of a real server so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerPart {
    pub(super) daddr: IpAddr,
    pub(super) dport: u16,
    pub(super) method: ForwardingMethod,
    pub(super) weight: u32,
    pub(super) upper_threshold: u32,
    pub(super) lower_threshold: u32,
    pub(super) tunnel: TunnelType,
    pub(super) tunnel_port: u16,
}

/// `--tun-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TunnelType {
    Ipip,
    Gue,
    Gre,
}

/// A command line, read.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) verb: Verb,
    pub(super) given: Given,
    pub(super) service: ServicePart,
    pub(super) server: ServerPart,
    /// Of `--start-daemon` and `--stop-daemon`.
    pub(super) role: Role,
    pub(super) daemon: DaemonOptions,
    /// The three values of `--set`.
    pub(super) timeouts_s: [u32; 3],
}

const NETMASK_V4: u32 = u32::MAX;
const NETMASK_V6: u32 = 128;

/// The first `len` bytes of a name, or a little less so as not to cut a character.
fn cut_name(name: &str, len: usize) -> String {
    let end = (0..=len.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].to_owned()
}

impl Request {
    fn new(verb: Verb) -> Request {
        Request {
            verb,
            given: Given::default(),
            service: ServicePart {
                family: Family::V4,
                protocol: 0,
                mark: 0,
                vaddr: Ipv4Addr::UNSPECIFIED.into(),
                vport: 0,
                netmask: NETMASK_V4,
                timeout_s: None,
                scheduler: String::new(),
                engine: None,
                flags: ServiceFlags::default(),
            },
            server: ServerPart {
                daddr: Ipv4Addr::UNSPECIFIED.into(),
                dport: 0,
                method: ForwardingMethod::DirectRouting,
                weight: 1,
                upper_threshold: 0,
                lower_threshold: 0,
                tunnel: TunnelType::Ipip,
                tunnel_port: 0,
            },
            role: Role::Master,
            daemon: DaemonOptions::default(),
            timeouts_s: [0; 3],
        }
    }

    /// Reads a command line; `argv[0]` is the program's name. Without options it is a list of everything.
    pub(super) fn parse(argv: &[&str], names: &dyn Names) -> Result<Request, Failure> {
        let program = argv.first().copied().unwrap_or("ipvsadm");
        if argv.len() <= 1 {
            return Ok(Request::new(Verb::List));
        }
        let mut words = Words::new(TABLE, argv);
        let Ok(Some((Word::Verb(verb), role))) = words.next() else {
            return Err(Failure::try_help(program));
        };
        let mut request = Request::new(verb);
        if let Some(role) = read_role(verb, role)? {
            request.role = role;
        }
        if matches!(verb, Verb::Help | Verb::Version) {
            return Ok(request);
        }
        let mut scheduler_flags = "";
        loop {
            match words.next() {
                Ok(Some((Word::Verb(_), _))) => {
                    return Err(Failure::words(format!("invalid option `{}'", words.current())));
                }
                Ok(Some((Word::Slot(Slot::SchedulerFlags), argument))) => {
                    request.once(Slot::SchedulerFlags)?;
                    scheduler_flags = argument.unwrap_or("");
                }
                Ok(Some((word, argument))) => request.take(word, argument, names)?,
                Ok(None) => break,
                Err(misuse) => return Err(Failure::library(words.current(), misuse.text())),
            }
        }
        request.take_plain(words.plain())?;
        if !scheduler_flags.is_empty() {
            request.take_scheduler_flags(scheduler_flags)?;
        }
        Ok(request)
    }

    /// Notes an option, which may be given once.
    fn once(&mut self, slot: Slot) -> Result<(), Failure> {
        if self.given.has(slot) {
            let (_, name) = SLOTS[slot as usize];
            return Err(Failure::words(format!("multiple '{name}' options specified")));
        }
        self.given.add(slot);
        Ok(())
    }

    fn take(&mut self, word: Word, argument: Option<&str>, names: &dyn Names) -> Result<(), Failure> {
        let text = argument.unwrap_or("");
        match word {
            Word::TcpService => self.take_service(6, text, names),
            Word::UdpService => self.take_service(17, text, names),
            Word::SctpService => self.take_service(132, text, names),
            Word::Fwmark => self.take_mark(text),
            Word::Ipv6 => self.take_ipv6(),
            Word::Gatewaying => self.take_method(ForwardingMethod::DirectRouting),
            Word::Ipip => self.take_method(ForwardingMethod::Tunnel),
            Word::Masquerading => self.take_method(ForwardingMethod::Nat),
            Word::Slot(slot) => {
                self.once(slot)?;
                self.take_value(slot, argument, names)
            }
            Word::Sort | Word::Verb(_) => Ok(()),
        }
    }

    fn take_service(&mut self, protocol: u8, text: &str, names: &dyn Names) -> Result<(), Failure> {
        self.once(Slot::Service)?;
        self.service.protocol = protocol;
        let (vaddr, vport) = values::endpoint(text, protocol, names)
            .ok_or_else(|| Failure::words("illegal virtual server address[:port] specified"))?;
        self.service.family = Family::of(&vaddr);
        self.service.vaddr = vaddr;
        self.service.vport = vport.unwrap_or(0);
        if vaddr.is_ipv6() {
            self.service.netmask = NETMASK_V6;
        }
        Ok(())
    }

    fn take_mark(&mut self, text: &str) -> Result<(), Failure> {
        self.once(Slot::Service)?;
        // The kernel notes TCP for firewall marks, and names of ports follow it.
        self.service.protocol = 6;
        self.service.mark = values::number(text, 1, u32::MAX)
            .ok_or_else(|| Failure::words(format!("invalid fwmark value `{text}' specified")))?;
        Ok(())
    }

    fn take_ipv6(&mut self) -> Result<(), Failure> {
        if self.service.mark == 0 {
            return Err(Failure::words("-6 used before -f\n"));
        }
        self.service.family = Family::V6;
        self.service.netmask = NETMASK_V6;
        Ok(())
    }

    fn take_method(&mut self, method: ForwardingMethod) -> Result<(), Failure> {
        self.once(Slot::Forwarding)?;
        self.server.method = method;
        Ok(())
    }

    fn take_value(&mut self, slot: Slot, argument: Option<&str>, names: &dyn Names) -> Result<(), Failure> {
        const INT_MAX: u32 = i32::MAX as u32;
        let text = argument.unwrap_or("");
        let number =
            |min, max, error: &str| values::number(text, min, max).ok_or_else(|| Failure::words(error));
        match slot {
            Slot::Scheduler => self.service.scheduler = cut_name(text, SCHEDULER_NAME_LEN),
            Slot::Engine => self.service.engine = Some(cut_name(text, ENGINE_NAME_LEN)),
            Slot::Persistent => {
                let timeout_s = argument.map_or(Ok(PERSISTENCE_TIMEOUT), |text| timeout(text, 1))?;
                self.service.timeout_s = Some(timeout_s);
            }
            Slot::Netmask => self.take_netmask(text, names)?,
            Slot::Ops => self.service.flags.one_packet = true,
            Slot::RealServer => self.take_real_server(text, names)?,
            Slot::Weight => self.server.weight = number(0, INT_MAX, "illegal weight specified")?,
            Slot::UpperThreshold => {
                self.server.upper_threshold = number(0, INT_MAX, "illegal u_threshold specified")?;
            }
            Slot::LowerThreshold => {
                self.server.lower_threshold = number(0, INT_MAX, "illegal l_threshold specified")?;
            }
            Slot::TunType => {
                self.server.tunnel = match text {
                    "ipip" => TunnelType::Ipip,
                    "gue" => TunnelType::Gue,
                    "gre" => TunnelType::Gre,
                    _ => return Err(Failure::words("illegal tunnel type specified")),
                }
            }
            Slot::TunPort => {
                let l4_port = number(1, 65_535, "illegal tunnel port specified")?;
                self.server.tunnel_port = l4_port as u16;
            }
            Slot::McastInterface => self.daemon.interface = text.to_owned(),
            Slot::Syncid => self.daemon.syncid = number(0, 255, "illegal syncid specified")? as u8,
            Slot::McastPort => {
                self.daemon.l4_port = Some(number(1, 65_535, "illegal mcast-port specified")? as u16);
            }
            Slot::McastTtl => self.daemon.ttl = Some(number(1, 255, "illegal mcast-ttl specified")? as u8),
            Slot::SyncMaxlen => {
                self.daemon.maxlen = Some(number(1, 65_507, "illegal sync-maxlen specified")? as u16);
            }
            Slot::McastGroup => self.daemon.group = Some(group(text)?),
            // These say all they have to say by being given.
            Slot::Numeric
            | Slot::Connection
            | Slot::Timeout
            | Slot::Daemon
            | Slot::Stats
            | Slot::Rate
            | Slot::Thresholds
            | Slot::PersistentConn
            | Slot::Nosort
            | Slot::Exact
            | Slot::TunInfo
            | Slot::TunNocsum
            | Slot::TunCsum
            | Slot::TunRemcsum
            | Slot::Atomic => {}
            // Taken elsewhere.
            Slot::Service | Slot::Forwarding | Slot::SchedulerFlags => {}
        }
        Ok(())
    }

    fn take_netmask(&mut self, text: &str, names: &dyn Names) -> Result<(), Failure> {
        self.service.netmask = match self.service.family {
            Family::V6 => u32::try_from(values::leading(text))
                .ok()
                .filter(|len| (1..=NETMASK_V6).contains(len))
                .ok_or_else(|| Failure::words("illegal ipv6 netmask specified"))?,
            Family::V4 => values::host(text, names)
                .ok_or_else(|| Failure::words("illegal virtual server persistent mask specified"))?
                .to_bits(),
        };
        Ok(())
    }

    fn take_real_server(&mut self, text: &str, names: &dyn Names) -> Result<(), Failure> {
        let (daddr, dport) = values::endpoint(text, self.service.protocol, names)
            .ok_or_else(|| Failure::words("illegal real server address[:port] specified"))?;
        self.server.daddr = daddr;
        // The service's port as known so far: 0 if its option follows.
        self.server.dport = dport.unwrap_or(self.service.vport);
        Ok(())
    }

    fn take_plain(&mut self, plain: &[&str]) -> Result<(), Failure> {
        let plain = match (self.verb, plain) {
            (Verb::Set, [tcp, fin, udp, rest @ ..]) => {
                for (place, text) in self.timeouts_s.iter_mut().zip([tcp, fin, udp]) {
                    *place = timeout(text, 0)?;
                }
                rest
            }
            (Verb::Set, _) => return Err(Failure::words("--set option requires 3 timeout values")),
            (_, plain) => plain,
        };
        match plain.first() {
            Some(word) => Err(Failure::words(format!("unexpected argument {word}"))),
            None => Ok(()),
        }
    }

    /// `-b`, when the scheduler is known.
    fn take_scheduler_flags(&mut self, text: &str) -> Result<(), Failure> {
        if text.bytes().all(|byte| byte == b',') {
            // 1.31 crashes here.
            return Err(Failure::words(format!("invalid scheduler flag `{text}'")));
        }
        let flags = &mut self.service.flags;
        (flags.flag1, flags.flag2, flags.flag3) = (false, false, false);
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (flag, needs) = match word {
                "flag-1" => (&mut flags.flag1, None),
                "flag-2" => (&mut flags.flag2, None),
                "flag-3" => (&mut flags.flag3, None),
                "sh-fallback" => (&mut flags.flag1, Some("sh")),
                "sh-port" => (&mut flags.flag2, Some("sh")),
                "mh-fallback" => (&mut flags.flag1, Some("mh")),
                "mh-port" => (&mut flags.flag2, Some("mh")),
                _ => return Err(Failure::words(format!("invalid scheduler flag `{word}'"))),
            };
            if needs.is_some_and(|scheduler| self.service.scheduler != scheduler) {
                return Err(Failure::words(format!("incompatible scheduler flag `{word}'")));
            }
            *flag = true;
        }
        Ok(())
    }
}

/// The argument of `--start-daemon` and `--stop-daemon`.
fn read_role(verb: Verb, role: Option<&str>) -> Result<Option<Role>, Failure> {
    let text = match verb {
        Verb::StartDaemon => "illegal start-daemon parameter specified",
        Verb::StopDaemon => "illegal start_daemon specified",
        _ => return Ok(None),
    };
    match role {
        Some("master") => Ok(Some(Role::Master)),
        Some("backup") => Ok(Some(Role::Backup)),
        _ => Err(Failure::words(text)),
    }
}

fn timeout(text: &str, min: u32) -> Result<u32, Failure> {
    values::number(text, min, TIMEOUT_MAX)
        .ok_or_else(|| Failure::words(format!("invalid timeout value `{text}' specified")))
}

/// `--mcast-group`
fn group(text: &str) -> Result<IpAddr, Failure> {
    let (family, address) = if text.contains(':') {
        ("IPv6", text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
    } else {
        ("IPv4", text.parse::<Ipv4Addr>().ok().map(IpAddr::V4))
    };
    address
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| Failure::words(format!("invalid {family} mcast-group `{text}'")))
}
