//! The fence: a safe interface to DPDK.
//!
//! All unsafe code that the packet path needs is here, behind an API that is entirely safe. What DPDK asks of its
//! callers becomes ownership:
//!
//! * [`Eal`] is initialised once per process; ports, pools and threads hold it, so it is cleaned up last.
//! * A [`NicPort`] is opened, asked what it can do, and started, which yields its queues. Each [`RxQueue`] and
//!   [`TxQueue`] can move to one thread and be used there only. The last of them to go stops and closes the port.
//! * An [`Mbuf`] frees itself. A frame that a NIC took for transmission is gone from its [`Burst`], so it cannot be
//!   freed twice.
//!
//! It deliberately has no flow API, no multi-process, no timers and no crypto.
#![deny(unsafe_op_in_unsafe_fn, clippy::multiple_unsafe_ops_per_block)]

mod burst;
mod eal;
mod error;
mod lcore;
mod mbuf;
mod mempool;
mod nic_port;
mod precheck;
mod queue;
mod rss;

pub use burst::Burst;
pub use eal::{Eal, EalConfig, IovaMode, LogLevel};
pub use error::DpdkError;
pub use lcore::{LcoreThread, spawn_pinned};
pub use mbuf::{HEADROOM, Mbuf};
pub use mempool::Mempool;
pub use nic_port::{Capabilities, NicPort, NicPortConfig, NicPortStats, RunningNicPort, Started};
pub use precheck::missing_here;
pub use queue::{RxQueue, TxQueue};
pub use rss::{RssKey, RssReport, RssSide};
