//! Who is at the other end of a connection, and what may they do?

use crate::ipvsadm::Access;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::ffi::CString;
use std::os::unix::net::UnixStream;

/// Root and members of the group may change things; everyone else who could open the socket may list.
pub(super) fn access(stream: &UnixStream, group: Option<u32>) -> Access {
    // Not by rustix: its process id cannot be 0, as that of a peer in another container is.
    let Ok(peer) = getsockopt(stream, PeerCredentials) else { return Access::ReadOnly };
    let (uid, gid) = (peer.uid(), peer.gid());
    let member = group.is_some_and(|group| gid == group || is_member(uid, gid, group));
    if uid == 0 || member { Access::ReadWrite } else { Access::ReadOnly }
}

/// By the user database: the credentials of a socket do not tell supplementary groups.
fn is_member(uid: u32, gid: u32, group: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, Gid::from_raw(gid))
        .is_ok_and(|groups| groups.iter().any(|member| member.as_raw() == group))
}
