//! A [`Request`] becomes a [`Command`], if its parts go together (spec `cli.md` §4, §7).

use super::command::{Columns, Command, Format, List};
use super::failure::Failure;
use super::options::{Given, SLOTS, Slot, Verb};
use super::parse::{Request, ServerPart, ServicePart, TunnelType};
use crate::director::{ServerOptions, ServiceOptions};
use shunt_engine::tables::{Family, ForwardingMethod, ServiceKey, TunnelChecksum, TunnelKind};

const UDP: u8 = 17;

/// Which options go with a command, or with a type of tunnel. What is not named is forbidden.
struct Rules {
    /// In messages.
    name: &'static str,
    required: Given,
    optional: Given,
    /// At most one of these.
    one_of: Given,
}

const NOTHING: Given = Given::of(&[]);

const fn rules(name: &'static str, required: Given, optional: Given) -> Rules {
    Rules { name, required, optional, one_of: NOTHING }
}

const SERVICE: Given = Given::of(&[Slot::Service]);
const SERVICE_AND_SERVER: Given = Given::of(&[Slot::Service, Slot::RealServer]);
const SERVICE_OPTIONS: Given = Given::of(&[
    Slot::Scheduler,
    Slot::Persistent,
    Slot::Netmask,
    Slot::Ops,
    Slot::Engine,
    Slot::SchedulerFlags,
]);
const SERVER_OPTIONS: Given = Given::of(&[
    Slot::Forwarding,
    Slot::Weight,
    Slot::UpperThreshold,
    Slot::LowerThreshold,
    Slot::TunType,
    Slot::TunPort,
    Slot::TunNocsum,
    Slot::TunCsum,
    Slot::TunRemcsum,
]);
const LIST: Rules = Rules {
    name: "list",
    required: NOTHING,
    optional: Given::of(&[
        Slot::Numeric,
        Slot::Stats,
        Slot::Rate,
        Slot::Thresholds,
        Slot::PersistentConn,
        Slot::Nosort,
        Slot::Syncid,
        Slot::Exact,
        Slot::TunInfo,
    ]),
    one_of: Given::of(&[Slot::Connection, Slot::Service, Slot::Timeout, Slot::Daemon]),
};
const DAEMON_OPTIONS: Given = Given::of(&[
    Slot::Syncid,
    Slot::McastInterface,
    Slot::McastGroup,
    Slot::McastPort,
    Slot::McastTtl,
    Slot::SyncMaxlen,
]);

fn rules_of_command(verb: Verb) -> Rules {
    match verb {
        Verb::AddService => rules("add-service", SERVICE, SERVICE_OPTIONS),
        Verb::EditService => rules("edit-service", SERVICE, SERVICE_OPTIONS),
        Verb::DeleteService => rules("delete-service", SERVICE, NOTHING),
        Verb::AddServer => rules("add-server", SERVICE_AND_SERVER, SERVER_OPTIONS),
        Verb::EditServer => rules("edit-server", SERVICE_AND_SERVER, SERVER_OPTIONS),
        Verb::DeleteServer => rules("delete-server", SERVICE_AND_SERVER, NOTHING),
        Verb::Flush => rules("flush", NOTHING, NOTHING),
        Verb::List => LIST,
        Verb::Set => rules("set", NOTHING, NOTHING),
        Verb::StartDaemon => rules("start-daemon", NOTHING, DAEMON_OPTIONS),
        Verb::StopDaemon => rules("stop-daemon", NOTHING, Given::of(&[Slot::Syncid])),
        Verb::Restore => rules("restore", NOTHING, Given::of(&[Slot::Atomic])),
        Verb::Save => rules("save", NOTHING, Given::of(&[Slot::Numeric])),
        Verb::Zero => rules("zero", NOTHING, SERVICE),
        // These end before any check.
        Verb::Help => rules("help", NOTHING, NOTHING),
        Verb::Version => rules("version", NOTHING, NOTHING),
    }
}

/// The options of tunnels.
const TUNNEL_OPTIONS: Given = Given::of(&[Slot::TunPort, Slot::TunNocsum, Slot::TunCsum, Slot::TunRemcsum]);

fn rules_of_tunnel(tunnel: TunnelType) -> Rules {
    let sums = Given::of(&[Slot::TunNocsum, Slot::TunCsum, Slot::TunRemcsum]);
    let sums_of_gre = Given::of(&[Slot::TunNocsum, Slot::TunCsum]);
    let one_of = |name, required, one_of| Rules { name, required, optional: NOTHING, one_of };
    match tunnel {
        TunnelType::Ipip => one_of("ipip", NOTHING, NOTHING),
        TunnelType::Gue => one_of("gue", Given::of(&[Slot::TunPort]), sums),
        TunnelType::Gre => one_of("gre", NOTHING, sums_of_gre),
    }
}

impl Rules {
    /// Walks the options in the order of the check and stops at the first problem. `kind` ends the message: "command".
    fn check(&self, given: Given, kind: &str) -> Result<(), Failure> {
        let what = |text: String| Err(Failure::words(format!("{text} the '{}' {kind}", self.name)));
        let mut earlier: Option<&str> = None;
        for (slot, name) in SLOTS {
            if !given.has(slot) {
                if self.required.has(slot) {
                    return what(format!("You need to supply the '{name}' option for"));
                }
            } else if self.one_of.has(slot) {
                if let Some(earlier) = earlier {
                    return what(format!("The option '{name}' conflicts with the '{earlier}' option in"));
                }
                earlier = Some(name);
            } else if !self.required.has(slot) && !self.optional.has(slot) {
                return what(format!("Illegal '{name}' option with"));
            }
        }
        Ok(())
    }
}

impl ServicePart {
    fn key(&self) -> ServiceKey {
        match self.mark {
            0 => ServiceKey::Address { protocol: self.protocol, vaddr: self.vaddr, vport: self.vport },
            mark => ServiceKey::Fwmark { family: self.family, mark },
        }
    }

    fn options(self) -> Result<ServiceOptions, Failure> {
        if self.mark == 0 && self.vport == 0 && self.timeout_s.is_none() {
            return Err(Failure::words("Zero port specified for non-persistent service"));
        }
        if self.flags.one_packet && self.mark == 0 && self.protocol != UDP {
            return Err(Failure::words("One-Packet Scheduling is only for UDP virtual services"));
        }
        Ok(ServiceOptions {
            scheduler: if self.scheduler.is_empty() { "wlc".to_owned() } else { self.scheduler },
            flags: self.flags,
            persistence_timeout_s: self.timeout_s,
            netmask: self.netmask,
            persistence_engine: self.engine,
        })
    }
}

fn server_options(
    mut server: ServerPart,
    service: &ServicePart,
    given: Given,
) -> Result<ServerOptions, Failure> {
    let is_tunnel = server.method == ForwardingMethod::Tunnel;
    if service.mark == 0 && server.method != ForwardingMethod::Nat {
        // The real server sees the packet as the client sent it.
        server.dport = service.vport;
    }
    if Family::of(&server.daddr) != service.family && !is_tunnel {
        return Err(Failure::words("Different address family is allowed only for tunneling servers"));
    }
    if !is_tunnel && (given.has(Slot::TunType) || given.and(TUNNEL_OPTIONS) != NOTHING) {
        return Err(Failure::words("Tunnel options conflict with forward method"));
    }
    rules_of_tunnel(server.tunnel).check(given.and(TUNNEL_OPTIONS), "tunnel type")?;
    Ok(ServerOptions {
        daddr: server.daddr,
        dport: server.dport,
        method: server.method,
        tunnel: match server.tunnel {
            TunnelType::Ipip => TunnelKind::Ipip,
            TunnelType::Gue => TunnelKind::Gue { dport: server.tunnel_port },
            TunnelType::Gre => TunnelKind::Gre,
        },
        tunnel_checksum: if given.has(Slot::TunCsum) {
            TunnelChecksum::Full
        } else if given.has(Slot::TunRemcsum) {
            TunnelChecksum::Remote
        } else {
            TunnelChecksum::None
        },
        // At most 2^31 - 1, as the option's bounds say.
        weight: server.weight as i32,
        upper_threshold: server.upper_threshold,
        lower_threshold: server.lower_threshold,
    })
}

fn list(given: Given, service: &ServicePart) -> Result<List, Failure> {
    use Slot::{Connection, Daemon, PersistentConn, Rate, Stats, Thresholds, Timeout};
    let counts = given.has_any(&[Stats, Rate, Thresholds]);
    let no_services = given.has_any(&[Timeout, Daemon]);
    if (given.has(Connection) || no_services) && counts || no_services && given.has(PersistentConn) {
        return Err(Failure::words("options conflicts in the list command"));
    }
    let numeric = given.has(Slot::Numeric);
    if given.has(Connection) {
        return Ok(List::Connections { numeric, engines: given.has(PersistentConn) });
    }
    let one = given.has(Slot::Service).then(|| service.key());
    if one.is_none() && given.has(Timeout) {
        return Ok(List::Timeouts);
    }
    if one.is_none() && given.has(Daemon) {
        return Ok(List::Daemons);
    }
    const FORMATS: [(Slot, Format); 5] = [
        (Stats, Format::Stats),
        (Rate, Format::Rate),
        (Thresholds, Format::Thresholds),
        (PersistentConn, Format::Persistent),
        (Slot::TunInfo, Format::Tunnel),
    ];
    let format =
        FORMATS.iter().find(|(slot, _)| given.has(*slot)).map_or(Format::Plain, |(_, format)| *format);
    let columns =
        Columns { numeric, exact: given.has(Slot::Exact), sorted: !given.has(Slot::Nosort), format };
    Ok(List::Services(one, columns))
}

impl Request {
    /// Checks how the options go together.
    pub(super) fn check(self) -> Result<Command, Failure> {
        match self.verb {
            Verb::Help => return Ok(Command::Help),
            Verb::Version => return Ok(Command::Version),
            _ => {}
        }
        rules_of_command(self.verb).check(self.given, "command")?;
        let (service, given) = (self.service, self.given);
        let key = service.key();
        Ok(match self.verb {
            Verb::AddService => Command::AddService(key, service.options()?),
            Verb::EditService => Command::EditService(key, service.options()?),
            Verb::DeleteService => Command::DeleteService(key),
            Verb::AddServer => Command::AddServer(key, server_options(self.server, &service, given)?),
            Verb::EditServer => Command::EditServer(key, server_options(self.server, &service, given)?),
            Verb::DeleteServer => Command::DeleteServer(key, self.server.daddr, self.server.dport),
            Verb::List => Command::List(list(given, &service)?),
            Verb::Zero => {
                // The kernel takes a service of zeros for "all".
                let all = service.mark == 0 && service.vport == 0 && service.vaddr.is_unspecified();
                Command::Zero((!all).then_some(key))
            }
            Verb::Set => Command::SetTimeouts(self.timeouts_s),
            Verb::Save => Command::Save { numeric: given.has(Slot::Numeric) },
            Verb::Flush => Command::Flush,
            Verb::Restore => Command::Restore { atomic: given.has(Slot::Atomic) },
            Verb::StartDaemon => Command::StartDaemon(self.role, self.daemon),
            Verb::StopDaemon => Command::StopDaemon(self.role),
            Verb::Help => Command::Help,
            Verb::Version => Command::Version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stand_in_their_order() {
        for (index, (slot, _)) in SLOTS.iter().enumerate() {
            assert_eq!(*slot as usize, index);
        }
    }
}
