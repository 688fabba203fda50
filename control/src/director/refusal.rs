//! Why a change was refused.

/// The kernel's error numbers that IPVS answers with (spec `cli.md` §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// Not permitted: the peer may only list.
    Eperm,
    /// No scheduler, persistence engine or real server of this name.
    Enoent,
    /// No such service, or no such daemon.
    Esrch,
    /// Service or server exists already.
    Eexist,
    /// A value, or the kind of an address, is not acceptable.
    Einval,
    /// No such interface.
    Enodev,
    /// Lower threshold above the upper one, or a negative weight.
    Erange,
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the kernel would answer.
    #[error("{0:?}")]
    Errno(Errno),
    /// The bound of the configuration on services.
    #[error("no room for another virtual service: the limit is {0} (limits.services)")]
    ServicesFull(usize),
    /// The bound of the configuration on real servers, deleted ones with living connections included.
    #[error(
        "no room for another real server: the limit is {0} (limits.servers), deleted ones with living connections included"
    )]
    ServersFull(usize),
    /// What the system said when a daemon was to be started.
    #[error("{0}")]
    System(String),
    /// IPVS can do it, shunt cannot.
    #[error("{0} is not supported yet")]
    NotSupported(&'static str),
}

impl Refusal {
    /// In plain words, where there is no command that the kernel's number would be explained by.
    #[must_use]
    pub fn explained(&self) -> String {
        match self {
            Refusal::Errno(Errno::Enodev) => "no such interface".to_owned(),
            Refusal::Errno(Errno::Eexist) => "there is one already".to_owned(),
            Refusal::Errno(Errno::Einval) => {
                "the group is no multicast address, or a server has another family than its service"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal::Errno(errno)
    }
}
