//! `[ipvs]`: what the kernel keeps as sysctls `net.ipv4.vs.*`, under the same names (spec `connections.md` §14), and the
//! timeouts of `ipvsadm --set`.

use crate::sync::SyncSettings;
use serde::{Deserialize, Serialize};
use shunt_engine::tables::Settings;

/// A value as the kernel's file shows it.
trait AsSysctl {
    fn as_sysctl(&self) -> String;
}

impl AsSysctl for u8 {
    fn as_sysctl(&self) -> String {
        self.to_string()
    }
}

impl AsSysctl for u32 {
    fn as_sysctl(&self) -> String {
        self.to_string()
    }
}

impl AsSysctl for [u32; 2] {
    fn as_sysctl(&self) -> String {
        format!("{} {}", self[0], self[1])
    }
}

macro_rules! ipvs {
    (
        timeouts { $($(#[$tdoc:meta])* $timeout:ident: $field:ident,)* }
        sysctls { $($(#[$doc:meta])* $name:ident: $kind:ident,)* }
        sync { $($(#[$sdoc:meta])* $sync:ident: $skind:ty = $default:expr,)* }
    ) => {
        /// `[ipvs]`. Re-read on SIGHUP: what the file changed since it was last read is set, everything else stays as
        /// operators set it meanwhile.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Ipvs {
            $($(#[$tdoc])* pub $timeout: u32,)*
            $($(#[$doc])* pub $name: $kind,)*
            $($(#[$sdoc])* pub $sync: $skind,)*
        }

        impl Default for Ipvs {
            fn default() -> Self {
                let settings = Settings::default();
                let sync = SyncSettings::default();
                Ipvs {
                    $($timeout: settings.$field,)*
                    $($name: settings.$name,)*
                    $($sync: { let default: fn(SyncSettings) -> $skind = $default; default(sync) },)*
                }
            }
        }

        impl Ipvs {
            /// Names and values of the sysctls, as [`crate::director::Director::set_sysctl`] takes them.
            #[must_use]
            pub fn sysctls(&self) -> Vec<(&'static str, String)> {
                let mut all = vec![
                    $((stringify!($name), u32::from(self.$name).to_string()),)*
                    $((stringify!($sync), self.$sync.as_sysctl()),)*
                ];
                all.sort_unstable();
                all
            }
        }
    };
}

ipvs! {
    timeouts {
        /// Seconds: established TCP connections.
        timeout_tcp: timeout_tcp_s,
        /// Seconds: TCP connections in FIN_WAIT.
        timeout_tcp_fin: timeout_tcp_fin_s,
        /// Seconds: UDP flows.
        timeout_udp: timeout_udp_s,
    }
    sysctls {
        /// One packet in this many is dropped by `drop_packet` in mode 3.
        am_droprate: u32,
        /// Free connection entries, in pages of 4 KiB, below which automatic defences begin.
        amemthresh: u32,
        /// While the backup daemon runs, do not balance.
        backup_only: bool,
        /// Flows of a service without servers go on to their own destination.
        cache_bypass: bool,
        /// What a new SYN on an old connection means (bits).
        conn_reuse_mode: u32,
        /// Defence: drop random entries (0..=3).
        drop_entry: u8,
        /// Defence: drop packets (0..=3).
        drop_packet: u8,
        /// Connections of a deleted server end at once.
        expire_nodest_conn: bool,
        /// Persistence templates of a quiesced server end at once.
        expire_quiescent_template: bool,
        /// Port of the control connections that the FTP helper looks at; 0: none.
        ftp_port: u32,
        /// Do not look into tunnel packets that come back in ICMP errors.
        ignore_tunneled: bool,
        /// Seconds: life of an unused entry of `lblc`.
        lblc_expiration: u32,
        /// Seconds: life of an unused entry of `lblcr`.
        lblcr_expiration: u32,
        /// Tell a real server by ICMP that its connection is gone.
        nat_icmp_send: bool,
        /// Path MTU discovery for tunnels.
        pmtu_disc: bool,
        /// Balance ICMP as well.
        schedule_icmp: bool,
        /// Defence: shorter TCP timeouts (0..=3).
        secure_tcp: u8,
        /// SCTP connections may begin with any chunk.
        sloppy_sctp: bool,
        /// TCP connections may begin with any packet.
        sloppy_tcp: bool,
    }
    sync {
        /// Synchronisation of persistent services: templates only.
        sync_persist_mode: u32 = |sync| u32::from(sync.rules.persist_mode),
        /// Sockets of each daemon, on consecutive ports: a power of two.
        sync_ports: u32 = |sync| sync.ports,
        /// Messages that wait for a socket, at most.
        sync_qlen_max: u32 = |sync| sync.qlen_max,
        /// Seconds between announcements of a connection; 0 = by packets alone.
        sync_refresh_period: u32 = |sync| sync.rules.refresh_period_s,
        /// Repetitions within a refresh period (0..=3).
        sync_retries: u8 = |sync| sync.rules.retries,
        /// Bytes of a daemon's socket buffers; 0 = the system's.
        sync_sock_size: u32 = |sync| sync.sock_size,
        /// Which packet of how many is announced.
        sync_threshold: [u32; 2] = |sync| [sync.rules.threshold, sync.rules.period],
        /// Version of the messages (0, 1).
        sync_version: u8 = |sync| sync.rules.version,
    }
}
