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
    pub ignore_tunneled: bool,
    pub backup_only: bool,
    /// TCP port of the control connections that the FTP helper looks at, host order; 0: none.
    pub ftp_port: u32,
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
            ignore_tunneled: false,
            backup_only: false,
            ftp_port: 21,
            lblc_expiration: 86_400,
            lblcr_expiration: 86_400,
        }
    }
}
