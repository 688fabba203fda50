//! Counters of one worker. One list makes the enum, the names and the help texts.

use crate::board::bump;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a counter means for the balance of a worker:
/// the sum of the sources equals the sum of the sinks once a burst is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Packets that came to the worker.
    Source,
    /// Packets that left it.
    Sink,
    /// Packets that left it because something was wrong: also a sink.
    Drop,
    /// Not a place of packets.
    Note,
    /// Not a place of packets, and not a sum either: how things are now.
    Gauge,
    /// The largest value met: over several workers the largest counts, not the sum.
    Peak,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $text:literal $flow:ident $help:literal;)*) => {
        /// Names of the counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// All of them, in the order of display.
            pub const ALL: &'static [Counter] = &[$(Counter::$name,)*];

            /// Name for operators and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$name => $text,)* }
            }

            /// What it counts.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$name => $help,)* }
            }

            /// Its side of the balance.
            #[must_use]
            pub const fn flow(self) -> Flow {
                match self { $(Counter::$name => Flow::$flow,)* }
            }
        }
    };
}

counters! {
    Received "received" Source "packets from the rx queues of NIC ports";
    HandedIn "handed_in" Source "packets taken over from other workers";
    Injected "injected" Source "packets of the kernel twins, to be sent";
    Released "released" Source "fragments put aside before: sent on, or dropped with their datagram";
    Transmitted "transmitted" Sink "packets that NIC ports took for transmission";
    HandedOver "handed_over" Sink "packets given to the worker that owns their flow or a tx queue";
    Punted "punted" Sink "packets given to the kernel twin";
    Gathered "gathered" Sink "fragments put aside until their datagram is complete";
    PathMtu "path_mtu" Sink "reports that a tunnel packet of ours was too long, taken note of";
    Malformed "malformed" Drop "truncated or contradictory headers";
    BadChecksum "bad_checksum" Drop "wrong IPv4 header or ICMP checksum";
    NoRealServer "no_real_server" Drop "no real server could be chosen";
    NoCallId "no_call_id" Drop "no Call-ID in a datagram for a service with persistence engine sip";
    NoConnection "no_connection" Drop "packet of a real server without a connection (nat_icmp_send)";
    ServerGone "server_gone" Drop "the connection's real server was deleted";
    ConnTableFull "conn_table_full" Drop "no room for a new connection";
    TemplatesFull "templates_full" Drop "no room for a new persistence template";
    TtlExceeded "ttl_exceeded" Drop "TTL or hop limit was 1";
    TooBig "too_big" Drop "larger than the path MTU and not to be fragmented";
    NoRoute "no_route" Drop "no route to the real server or client";
    NoNeighbour "no_neighbour" Drop "link-layer address not resolved in time";
    Headroom "headroom" Drop "no room for the tunnel header";
    Fragment "fragment" Drop "duplicate or overlapping fragment, or contradictory ones";
    FragmentTimeout "fragment_timeout" Drop "fragment whose datagram did not become complete in time";
    FragmentsFull "fragments_full" Drop "fragment that had to make room for others";
    NoBuffer "no_buffer" Drop "no packet buffer for a fragment";
    DropPacket "drop_packet" Drop "dropped by the drop_packet defence";
    TxRingFull "tx_ring_full" Drop "the NIC port did not take the packet";
    HandOverFull "hand_over_full" Drop "the ring to another worker was full";
    PuntFull "punt_full" Drop "the ring to the kernel twin was full";
    NoTwin "no_twin" Drop "not load-balanced, and there is no kernel twin";
    NewConnections "new_connections" Note "connections created";
    ExpiredConnections "expired_connections" Note "connections that timed out";
    Untracked "untracked" Note "packets forwarded without a connection, because the table was full";
    Announced "announced" Note "words to the synchronisation master: connections, uses of templates";
    AnnouncementLost "announcement_lost" Note "words to the synchronisation master for which the ring was full";
    Answered "answered" Note "packets turned into an ICMP error and sent back";
    Bursts "bursts" Note "bursts that held packets";
    Polls "polls" Note "rounds of the poll loop";
    BurstsOf1 "bursts_of_1" Note "bursts of 1 packet";
    BurstsOf2 "bursts_of_2_to_3" Note "bursts of 2 or 3 packets";
    BurstsOf4 "bursts_of_4_to_7" Note "bursts of 4 to 7 packets";
    BurstsOf8 "bursts_of_8_to_15" Note "bursts of 8 to 15 packets";
    BurstsOf16 "bursts_of_16_to_31" Note "bursts of 16 to 31 packets";
    BurstsOf32 "bursts_of_32" Note "full bursts: more may have been waiting";
    BusyNs "busy_ns" Note "nanoseconds in rounds that found something to do";
    IdleNs "idle_ns" Note "nanoseconds in rounds that found nothing, and asleep";
    ConnectionsIpv4 "connections_ipv4" Gauge "IPv4 connections in the table";
    ConnectionsIpv6 "connections_ipv6" Gauge "IPv6 connections in the table";
    ConnectionsIpv4Max "connections_ipv4_max" Gauge "IPv4 connections for which the table has room";
    ConnectionsIpv6Max "connections_ipv6_max" Gauge "IPv6 connections for which the table has room";
    Templates "templates" Gauge "persistence templates in the parts that the worker looks after, as of its last look";
    TemplatesMax "templates_max" Gauge "persistence templates for which those have room";
    LongRounds "long_rounds" Note "rounds of more than 100 us, but for those in which the kernel took the core away";
    PreemptedRounds "preempted_rounds" Note "rounds of more than 100 us in which the kernel took the core away";
    LongestRound "longest_round_us" Peak "longest round, preempted ones left out, in microseconds";
}

/// Number of counters.
pub const COUNTERS: usize = Counter::ALL.len();

/// The counters of one worker: written by it alone, read by everyone.
#[derive(Clone, Debug)]
pub struct WorkerCounters {
    cells: Arc<[AtomicU64; COUNTERS]>,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        WorkerCounters { cells: Arc::new([const { AtomicU64::new(0) }; COUNTERS]) }
    }
}

impl WorkerCounters {
    /// Adds `by`. Only the owning worker may call it.
    #[inline]
    pub fn add(&self, counter: Counter, by: u64) {
        bump(&self.cells[counter as usize], by);
    }

    /// States how much there is of what a gauge tells. Only the owning worker may call it.
    #[inline]
    pub fn set(&self, gauge: Counter, value: u64) {
        self.cells[gauge as usize].store(value, Relaxed);
    }

    /// Raises a [`Flow::Peak`] to `value`, if it is lower. Only the owning worker may call it.
    pub fn raise(&self, counter: Counter, value: u64) {
        let cell = &self.cells[counter as usize];
        if cell.load(Relaxed) < value {
            cell.store(value, Relaxed);
        }
    }

    /// Reads a counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.cells[counter as usize].load(Relaxed)
    }

    /// Sources minus sinks: 0 whenever the worker is between two bursts.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        Counter::ALL.iter().fold(0, |sum: i64, &counter| {
            let value = self.get(counter) as i64;
            match counter.flow() {
                Flow::Source => sum.wrapping_add(value),
                Flow::Sink | Flow::Drop => sum.wrapping_sub(value),
                Flow::Note | Flow::Peak | Flow::Gauge => sum,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balance_is_sources_less_sinks() {
        let counters = WorkerCounters::default();
        counters.add(Counter::Received, 5);
        counters.add(Counter::Transmitted, 3);
        counters.add(Counter::TxRingFull, 1);
        counters.add(Counter::NewConnections, 9);
        assert_eq!(counters.imbalance(), 1);
        counters.add(Counter::Punted, 1);
        assert_eq!(counters.imbalance(), 0);
    }
}
