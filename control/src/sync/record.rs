//! What both versions have in common: which flags and states a receiver takes, and shifts of sequence numbers.

use shunt_engine::{SequenceShift, flag};

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Lengths do not fit: the rest of the datagram is lost.
    Broken,
    /// The record alone makes no sense here.
    Unusable,
}

/// Flags that say that shifts of sequence numbers follow.
pub(super) const SEQUENCE: u32 = flag::SEQUENCE as u32;
/// Bytes of the shifts of both directions.
pub(super) const SEQUENCE_LEN: usize = 24;

const TEMPLATE: u32 = flag::TEMPLATE as u32;
const NO_CPORT: u32 = flag::NO_CPORT as u32;
const ONE_PACKET: u32 = flag::ONE_PACKET as u32;
const SYNC: u32 = flag::SYNC as u32;
/// Flags that a receiver keeps (spec `sync.md` §5).
const KEPT: u32 =
    (flag::METHOD | flag::NO_OUTPUT | flag::INACTIVE | flag::SEQUENCE | flag::NO_CPORT | flag::TEMPLATE)
        as u32;

const _: () = assert!(KEPT == 0x1f87);

/// The flags that a receiver keeps of these.
pub(super) fn check(flags: u32, protocol: u8, state: u16) -> Result<u32, Fault> {
    let contradictory = flags & TEMPLATE != 0 && flags & NO_CPORT != 0;
    if flags & ONE_PACKET != 0 || contradictory {
        return Err(Fault::Unusable);
    }
    if !is_state(flags, protocol, state) {
        return Err(Fault::Unusable);
    }
    Ok(flags & KEPT | SYNC)
}

/// Can a connection or template be in this state? The engine takes it for granted.
pub(crate) fn is_state(flags: u32, protocol: u8, state: u16) -> bool {
    state < if is_template(flags) { 2 } else { states_of(protocol) }
}

/// How many states a protocol has; 0 if it is not balanced.
fn states_of(protocol: u8) -> u16 {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ESP: u8 = 50;
    const AH: u8 = 51;
    const SCTP: u8 = 132;
    match protocol {
        TCP => 11,
        SCTP => 14,
        UDP | ESP | AH => 1,
        _ => 0,
    }
}

pub(super) fn is_template(flags: u32) -> bool {
    flags & TEMPLATE != 0
}

/// The shifts of the client's and the server's direction, as six words.
pub(super) fn sequence_to(shifts: &[SequenceShift; 2], word: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let words = |shift: &SequenceShift| [shift.init_seq, shift.delta, shift.previous_delta];
    shifts.iter().flat_map(words).flat_map(word).collect()
}

/// The same, read. `bytes` are [`SEQUENCE_LEN`].
pub(super) fn sequence_from(bytes: &[u8], word: fn([u8; 4]) -> u32) -> [SequenceShift; 2] {
    let mut words = bytes.chunks_exact(4).map(|bytes| word([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let mut next = || words.next().unwrap_or_default();
    [(); 2].map(|()| SequenceShift { init_seq: next(), delta: next(), previous_delta: next() })
}
