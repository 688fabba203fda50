//! What is to become of a packet.

use crate::counters::Counter;
use crate::packet;
use crate::tables::{ServerId, Tables};
use shunt_wire::NicPortId;
use std::net::IpAddr;

/// The engine's decision on one packet. The worker carries it out and counts it. 8 bytes: it travels in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the frame, as it now is, from this NIC port.
    Transmit(NicPortId),
    /// Give the frame, unchanged, to the worker that owns its flow.
    HandOver(u8),
    /// Give the frame to the kernel twin of this NIC port.
    Punt(NicPortId),
    /// The frame is ready but for its link-layer addresses: its destination is routed, but the neighbour on the way is
    /// not resolved yet. The slow path holds it for a moment and asks the kernel.
    AwaitNeighbour(NeighbourOf),
    /// Free the frame and count it as `gathered`: it was a fragment, and its bytes are kept until its datagram is complete.
    Gathered,
    /// Free the frame and count this.
    Drop(Counter),
}

const _: () = assert!(size_of::<Verdict>() == 8);

/// Whose neighbour is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourOf {
    /// A real server's.
    Server(ServerId),
    /// That of the frame's own destination.
    Destination,
}

impl NeighbourOf {
    /// The destination whose route leads to the missing neighbour. `None` if the server has been forgotten since.
    #[must_use]
    pub fn address(self, tables: &Tables, frame: &[u8]) -> Option<IpAddr> {
        match self {
            NeighbourOf::Server(id) => tables.server(id).map(|server| server.daddr),
            NeighbourOf::Destination => packet::destination(frame),
        }
    }
}
