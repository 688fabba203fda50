//! Tells the service manager how the daemon is: the datagram protocol of sd_notify(3).

use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// The manager that `$NOTIFY_SOCKET` names. Without one, nothing is told to nobody.
    #[must_use]
    pub fn from_environment() -> Notify {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let manager = name.and_then(|name| open(name).ok());
        Notify { manager }
    }

    /// Packets are forwarded and commands answered.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Notify::ready`] ends that.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// The daemon ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, message: &str) {
        if let Some((socket, manager)) = &self.manager
            && let Err(error) = socket.send_to_addr(message.as_bytes(), manager)
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

fn open(name: OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    // A leading @ stands for the zero byte of Linux' abstract names.
    let manager = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    Ok((UnixDatagram::unbound()?, manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify { manager: open(path.into_os_string()).ok() };
        notify.ready("2 workers");
        assert_eq!(received(&manager), "READY=1\nSTATUS=2 workers");
        notify.reloading();
        let reloading = received(&manager);
        let now = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(now.parse::<u64>().unwrap() > 0);
        notify.stopping();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn abstract_names_work_and_no_manager_is_fine() {
        let name = format!("shunt-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify { manager: open(format!("@{name}").into()).ok() };
        notify.stopping();
        assert_eq!(received(&manager), "STOPPING=1");
        Notify { manager: None }.ready("");
    }
}
