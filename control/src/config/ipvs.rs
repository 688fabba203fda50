//! `[ipvs]`: what the kernel keeps as sysctls `net.ipv4.vs.*`, under the same names (spec `connections.md` §14), and the
//! timeouts of `ipvsadm --set`.

use crate::sync::SyncSettings;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use shunt_engine::tables::Settings;

/// On or off: `true` and `false`, or 1 and 0 as the kernel's files have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Switch(pub bool);

impl From<bool> for Switch {
    fn from(on: bool) -> Switch {
        Switch(on)
    }
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Switch, D::Error> {
        struct OnOrOff;

        impl Visitor<'_> for OnOrOff {
            type Value = Switch;

            fn expecting(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                text.write_str("true, false, 1 or 0")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<Switch, E> {
                Ok(Switch(on))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Switch, E> {
                match number {
                    0 | 1 => Ok(Switch(number == 1)),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }
        }

        from.deserialize_any(OnOrOff)
    }
}

/// A value as the kernel's file shows it.
trait AsSysctl {
    fn as_sysctl(&self) -> String;
}

impl AsSysctl for Switch {
    fn as_sysctl(&self) -> String {
        u32::from(self.0).to_string()
    }
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
        own { $($(#[$odoc:meta])* $own:ident: $okind:ty = $odefault:expr,)* }
        sync { $($(#[$sdoc:meta])* $sync:ident: $skind:ty = $default:expr,)* }
    ) => {
        /// `[ipvs]`. Re-read on SIGHUP: what the file changed since it was last read is set, everything else stays as
        /// operators set it meanwhile.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Ipvs {
            $($(#[$tdoc])* pub $timeout: u32,)*
            $($(#[$doc])* pub $name: $kind,)*
            $($(#[$odoc])* pub $own: $okind,)*
            $($(#[$sdoc])* pub $sync: $skind,)*
        }

        impl Default for Ipvs {
            fn default() -> Self {
                let settings = Settings::default();
                let sync = SyncSettings::default();
                Ipvs {
                    $($timeout: settings.$field,)*
                    $($name: settings.$name.into(),)*
                    $($own: $odefault,)*
                    $($sync: { let default: fn(SyncSettings) -> $skind = $default; default(sync) },)*
                }
            }
        }

        impl Ipvs {
            /// Names and values of the sysctls, as [`crate::director::Director::set_sysctl`] takes them.
            #[must_use]
            pub fn sysctls(&self) -> Vec<(&'static str, String)> {
                let mut all = vec![
                    $((stringify!($name), self.$name.as_sysctl()),)*
                    $((stringify!($own), self.$own.as_sysctl()),)*
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
        backup_only: Switch,
        /// Flows of a firewall-mark service without a server go on to their own destination.
        cache_bypass: Switch,
        /// When a SYN on an old connection makes a new one: 0 never, 1 if that is closed, 2 and 3 also if it is half
        /// closed and its replies are not seen.
        conn_reuse_mode: u32,
        /// Defence: drop random entries (0..=3).
        drop_entry: u8,
        /// Defence: drop packets (0..=3).
        drop_packet: u8,
        /// Connections of a deleted server end at once.
        expire_nodest_conn: Switch,
        /// Persistence templates of a quiesced server end at once.
        expire_quiescent_template: Switch,
        /// Port of the control connections that the FTP helper looks at; 0: none.
        ftp_port: u32,
        /// Seconds: life of an unused entry of `lblc`.
        lblc_expiration: u32,
        /// Seconds: life of an unused entry of `lblcr`.
        lblcr_expiration: u32,
        /// Tell a real server by ICMP that its connection is gone.
        nat_icmp_send: Switch,
        /// Path MTU discovery for tunnels.
        pmtu_disc: Switch,
        /// An ICMP error about a packet of an unknown flow is scheduled as that packet would be.
        schedule_icmp: Switch,
        /// Defence: a TCP connection is established by its server's answers alone (0..=3).
        secure_tcp: u8,
        /// SCTP connections may begin with any chunk.
        sloppy_sctp: Switch,
        /// TCP connections may begin with any packet.
        sloppy_tcp: Switch,
    }
    own {
        /// Counters and rates of the lists move.
        run_estimation: Switch = Switch(true),
        /// No effect.
        conntrack: Switch = Switch(false),
        /// No effect.
        debug_level: u32 = 0,
        /// No effect.
        ignore_tunneled: Switch = Switch(false),
        /// No effect.
        snat_reroute: Switch = Switch(true),
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
