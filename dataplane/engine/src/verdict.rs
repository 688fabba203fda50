//! What is to become of a packet.

use crate::counters::Counter;
use shunt_wire::NicPortId;
use std::net::IpAddr;

/// The engine's decision on one packet. The worker carries it out and counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the frame, as it now is, from this NIC port.
    Transmit(NicPortId),
    /// Give the frame, unchanged, to the worker that owns its flow.
    HandOver(u8),
    /// Give the frame to the kernel twin of this NIC port.
    Punt(NicPortId),
    /// The frame is ready but for its link-layer addresses: `neighbour_of` is routed, but the neighbour on the way is
    /// not resolved yet. The slow path holds it for a moment and asks the kernel.
    AwaitNeighbour {
        /// Destination whose route leads to the missing neighbour.
        neighbour_of: IpAddr,
    },
    /// Free the frame and count it as `gathered`: it was a fragment, and its bytes are kept until its datagram is complete.
    Gathered,
    /// Free the frame and count this.
    Drop(Counter),
}
