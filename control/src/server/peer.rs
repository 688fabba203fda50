//! Who is at the other end of a connection, and what may they do?

use crate::ipvsadm::Access;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use rustix::net::sockopt::socket_peercred;
use std::ffi::CString;
use std::os::unix::net::UnixStream;

/// Root and members of the group may change things; everyone else who could open the socket may list.
pub(super) fn access(stream: &UnixStream, group: Option<u32>) -> Access {
    let Ok(peer) = socket_peercred(stream) else { return Access::ReadOnly };
    let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
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
