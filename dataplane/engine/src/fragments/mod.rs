//! Fragments of load-balanced packets (spec `connections.md` §12): gathered, decided on as one packet, and sent on cut
//! as they came.
//!
//! Ports stand in the first fragment only, the words of a TCP header may be spread over several, and SCTP's checksum is
//! one over all bytes. So the engine does what Linux does: it puts the datagram together, sends it through the very
//! same steps as any packet, and cuts it again. Nothing on the way needs to know of fragments.
//!
//! * [`Store`] copies the fragments' bytes and lets the frames go: a flood of fragments that never become whole cannot
//!   hold the NIC's buffers. Its memory is taken at start; when it is full, the oldest datagram goes.
//! * [`Whole`] is one frame, large enough for any datagram.
//! * `release` decides on complete datagrams and cuts them into fresh frames.
//! * [`Long`] holds packets that came in one piece and must leave in several.
//!
//! **Whose are they?** All fragments meet at the worker that the addresses alone name. It gathers; if the flow turns out
//! to be another worker's, that one gets the fragments as they came, and gathers what it was given. Fragments that were
//! handed over are always gathered on the spot, and only whole datagrams are handed over from there: two hops at most.

mod cells;
mod cut;
mod datagram;
mod long;
mod piece;
mod release;
mod store;
mod whole;

pub(crate) use long::Long;
pub(crate) use piece::is_atomic;
pub(crate) use store::Store;
pub(crate) use whole::Whole;
