//! A command line that makes sense, but was not carried out yet.

use crate::director::{ServerOptions, ServiceOptions};
use crate::sync::{DaemonOptions, Role};
use shunt_engine::tables::ServiceKey;
use std::net::IpAddr;

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    AddService(ServiceKey, ServiceOptions),
    EditService(ServiceKey, ServiceOptions),
    DeleteService(ServiceKey),
    Flush,
    Restore {
        /// All lines or none.
        atomic: bool,
    },
    Save {
        numeric: bool,
    },
    AddServer(ServiceKey, ServerOptions),
    EditServer(ServiceKey, ServerOptions),
    DeleteServer(ServiceKey, IpAddr, u16),
    List(List),
    /// One service, or everything.
    Zero(Option<ServiceKey>),
    /// TCP, TCP in FIN_WAIT, UDP: seconds; 0 keeps.
    SetTimeouts([u32; 3]),
    StartDaemon(Role, DaemonOptions),
    StopDaemon(Role),
    Help,
    Version,
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List {
    Connections {
        numeric: bool,
        /// Show persistence engines.
        engines: bool,
    },
    Timeouts,
    Daemons,
    /// One service, or all.
    Services(Option<ServiceKey>, Columns),
}

/// How to list services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) numeric: bool,
    pub(super) exact: bool,
    pub(super) sorted: bool,
    pub(super) format: Format,
}

/// The list formats of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Stats,
    Rate,
    Thresholds,
    Persistent,
    Tunnel,
}

impl Command {
    /// Does it need the right to change something?
    pub(super) fn changes(&self) -> bool {
        match self {
            Command::Restore { .. }
            | Command::Save { .. }
            | Command::List(_)
            | Command::Help
            | Command::Version => false,
            Command::AddService(..)
            | Command::EditService(..)
            | Command::DeleteService(_)
            | Command::Flush
            | Command::AddServer(..)
            | Command::EditServer(..)
            | Command::DeleteServer(..)
            | Command::Zero(_)
            | Command::SetTimeouts(_)
            | Command::StartDaemon(..)
            | Command::StopDaemon(_) => true,
        }
    }

    /// Is it a change that the director can take back?
    pub(super) fn can_be_undone(&self) -> bool {
        self.changes() && !matches!(self, Command::StartDaemon(..) | Command::StopDaemon(_))
    }
}
