//! Settings that an operator may change while packets flow, named as the kernel's sysctls (spec `connections.md` §14).

/// Values of `net.ipv4.vs.*` that the engine obeys, and the timeouts of `ipvsadm --set`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Settings {
    /// Timeout of an established TCP connection, seconds.
    pub timeout_tcp_s: u32,
    /// Timeout of a TCP connection in FIN_WAIT, seconds.
    pub timeout_tcp_fin_s: u32,
    /// Timeout of a UDP flow, seconds.
    pub timeout_udp_s: u32,
    pub am_droprate: u32,
    pub drop_entry: u8,
    pub drop_packet: u8,
    pub secure_tcp: u8,
    pub cache_bypass: bool,
    pub expire_nodest_conn: bool,
    pub expire_quiescent_template: bool,
    pub sloppy_tcp: bool,
    pub sloppy_sctp: bool,
    pub nat_icmp_send: bool,
    pub pmtu_disc: bool,
    pub conn_reuse_mode: u32,
    pub schedule_icmp: bool,
    pub backup_only: bool,
    /// Free entries of the connection tables, in pages of 4 KiB, below which the automatic defences begin.
    pub amemthresh: u32,
    /// TCP port of the control connections that the FTP helper looks at, host order; 0: none.
    pub ftp_port: u32,
    /// What a synchronisation master announces.
    pub sync: SyncRules,
    /// Seconds.
    pub lblc_expiration: u32,
    /// Seconds.
    pub lblcr_expiration: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            timeout_tcp_s: 900,
            timeout_tcp_fin_s: 120,
            timeout_udp_s: 300,
            am_droprate: 10,
            drop_entry: 0,
            drop_packet: 0,
            secure_tcp: 0,
            cache_bypass: false,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            sloppy_sctp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            conn_reuse_mode: 1,
            schedule_icmp: false,
            backup_only: false,
            amemthresh: 1024,
            ftp_port: 21,
            sync: SyncRules::default(),
            lblc_expiration: 86_400,
            lblcr_expiration: 86_400,
        }
    }
}

/// When connections are announced to peers (spec `sync.md` §4): the sysctls `sync_*` that the packet path obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRules {
    /// Does a master run here?
    pub master: bool,
    /// Does a backup run here?
    pub backup: bool,
    /// Version of the messages, 0 or 1.
    pub version: u8,
    /// `sync_threshold`: which packet of each period is announced.
    pub threshold: u32,
    /// The second number of `sync_threshold`: packets; 0 = once.
    pub period: u32,
    /// Seconds; 0 = off.
    pub refresh_period_s: u32,
    /// Repetitions within a refresh period, 0..=3.
    pub retries: u8,
    /// Of persistent services, announce templates only.
    pub persist_mode: bool,
}

impl Default for SyncRules {
    fn default() -> Self {
        SyncRules {
            master: false,
            backup: false,
            version: 1,
            threshold: 3,
            period: 50,
            refresh_period_s: 0,
            retries: 0,
            persist_mode: false,
        }
    }
}
