//! Daemons on threads of their own, over the kernel's sockets.

use super::backup::Backup;
use super::batches::Sending;
use super::daemon::{DaemonHost, DaemonParts, Role, Running};
use super::master::Master;
use super::sockets;
use crate::director::{Errno, Refusal};
use crate::mirror::Interface;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use shunt_engine::Tick;
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long a master rests when there was nothing to send, and when there was. The workers' rings hold what a million
/// announcements per second amount to in 16 ms.
const REST: Duration = Duration::from_millis(10);
const SHORT_REST: Duration = Duration::from_millis(1);

/// The kernel's interfaces and sockets, in the network namespace of the calling thread.
pub struct KernelHost;

impl DaemonHost for KernelHost {
    fn mtu(&self, interface: &str) -> Result<u32, Refusal> {
        find(interface).map(|interface| interface.mtu)
    }

    fn start(&self, parts: DaemonParts) -> Result<Box<dyn Running>, Refusal> {
        let interface = find(&parts.config.interface)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(system)?);
        let (stopped, builder) = (stop.clone(), Builder::new());
        let (name, config) = (parts.config.interface.clone(), &parts.config);
        let is_bound = config.role == Role::Master && config.group.is_ipv4();
        let thread = match parts.config.role {
            Role::Master => {
                let sockets = sockets::for_master(&parts.config, &interface).map_err(system)?;
                builder.name("sync-master".to_owned()).spawn(move || run_master(parts, &sockets, &stopped))
            }
            Role::Backup => {
                let sockets = sockets::for_backup(&parts.config, &interface).map_err(system)?;
                builder.name("sync-backup".to_owned()).spawn(move || run_backup(parts, &sockets, &stopped))
            }
        };
        Ok(Box::new(Thread { stop, thread: Some(thread.map_err(system)?), name, interface, is_bound }))
    }
}

fn find(name: &str) -> Result<Interface, Refusal> {
    Interface::find(name).map_err(system)?.ok_or(Errno::Enodev.into())
}

fn system(error: impl Into<io::Error>) -> Refusal {
    let error: io::Error = error.into();
    Refusal::System(match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    })
}

/// A daemon's thread; dropping it ends it.
struct Thread {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    /// Its interface by name, and as it was when the sockets were opened.
    name: String,
    interface: Interface,
    /// Are the sockets bound to the interface's address?
    is_bound: bool,
}

impl Running for Thread {
    fn is_cut_off(&self) -> bool {
        match Interface::find(&self.name) {
            Ok(Some(now)) => {
                now.index != self.interface.index || self.is_bound && now.ipv4 != self.interface.ipv4
            }
            Ok(None) => true,
            // The kernel does not say.
            Err(_) => false,
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // An event descriptor takes this always.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until one of the sockets can be read, or until `rest` is over. True if the daemon is to stop.
fn wait(stop: &OwnedFd, sockets: &[UdpSocket], rest: Option<Duration>) -> bool {
    let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
    fds.extend(sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
    let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
    // Interrupted: the caller looks and comes back.
    let _ = poll(&mut fds, rest.as_ref());
    fds[0].revents().contains(PollFlags::IN)
}

fn run_master(parts: DaemonParts, sockets: &[UdpSocket], stop: &OwnedFd) {
    let mut master = Master::new(parts);
    let epoch = Instant::now();
    let mut rest = REST;
    while !wait(stop, &[], Some(rest)) {
        let now = Tick(epoch.elapsed().as_millis() as u64);
        rest = if master.gather(now) > 0 { SHORT_REST } else { REST };
        master.flush(now, |socket, datagram| match sockets[socket].send(datagram) {
            Ok(_) => Sending::Sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sending::Full,
            // The interface is down, or nobody is there; the next record of the connection may get through.
            Err(error) => {
                tracing::debug!(%error, "a synchronisation message was not sent");
                Sending::Refused
            }
        });
    }
}

fn run_backup(parts: DaemonParts, sockets: &[UdpSocket], stop: &OwnedFd) {
    // Longer datagrams are cut, and so do not have the size that they say.
    let mut buffer = vec![0; usize::from(parts.config.maxlen)];
    let mut backup = Backup::new(parts);
    while !wait(stop, sockets, None) {
        for socket in sockets {
            // A socket with much to say must not keep the others, or the end, waiting.
            const AT_ONCE: usize = 64;
            for _ in 0..AT_ONCE {
                match socket.recv(&mut buffer) {
                    Ok(len) => backup.receive(&buffer[..len]),
                    Err(_) => break,
                }
            }
        }
    }
}
