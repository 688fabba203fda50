//! SCTP as IPVS follows it (spec `connections.md` §5.3).

use super::Way;

/// Names of the states; the index is the state's number.
pub const NAMES: [&str; 14] = [
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK-SENT",
    "REJECTED",
    "CLOSED",
];

const I1: u8 = 1;
const IN: u8 = 2;
const CS: u8 = 3;
const CR: u8 = 4;
const CW: u8 = 5;
const CO: u8 = 6;
const CE: u8 = 7;
const ES: u8 = 8;
const SS: u8 = 9;
const SR: u8 = 10;
const SA: u8 = 11;
const RJ: u8 = 12;
const CL: u8 = 13;

/// Both sides are connected.
pub const ESTABLISHED: u8 = ES;
/// Closed.
pub const CLOSED: u8 = CL;
/// SHUTDOWN sent by the client's side.
pub const SHUTDOWN_SENT: u8 = SS;
/// SHUTDOWN received.
pub const SHUTDOWN_RECEIVED: u8 = SR;
/// SHUTDOWN acknowledged.
pub const SHUTDOWN_ACK_SENT: u8 = SA;

/// Has only one side been heard of?
#[must_use]
pub fn is_half_open(state: u8) -> bool {
    matches!(state, I1 | IN)
}

/// Timeouts in seconds, by state.
pub const TIMEOUTS_S: [u32; 14] = [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61];

/// What a packet means, from its first chunk: the row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    Data,
    Init,
    InitAck,
    CookieEcho,
    CookieAck,
    Shutdown,
    ShutdownAck,
    ShutdownComplete,
    Error,
    Abort,
}

impl Event {
    /// From the type of the first chunk, and that of the one behind it if it can be read (RFC 9260 §3.2).
    #[must_use]
    pub fn of(first: u8, second: Option<u8>) -> Event {
        const ABORT: u8 = 6;
        match first {
            1 => Event::Init,
            2 => Event::InitAck,
            ABORT => Event::Abort,
            7 => Event::Shutdown,
            8 => Event::ShutdownAck,
            9 => Event::Error,
            10 | 11 if second == Some(ABORT) => Event::Abort,
            10 => Event::CookieEcho,
            11 => Event::CookieAck,
            14 => Event::ShutdownComplete,
            _ => Event::Data,
        }
    }
}

/// Rows in the order of [`Event`]. Columns: the present state.
type Transitions = [[u8; 14]; 10];

#[rustfmt::skip]
const REQUEST: Transitions = [
    // DATA
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // INIT
    [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN],
    // INIT_ACK
    [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ECHO
    [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ACK
    [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL],
    // SHUTDOWN
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    // SHUTDOWN_ACK
    [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL],
    // SHUTDOWN_COMPLETE
    [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL],
    // ERROR
    [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL],
    // ABORT
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
];

#[rustfmt::skip]
const REPLY: Transitions = [
    // DATA
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // INIT
    [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW],
    // INIT_ACK
    [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ECHO
    [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ACK
    [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL],
    // SHUTDOWN
    [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL],
    // SHUTDOWN_ACK
    [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL],
    // SHUTDOWN_COMPLETE
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // ERROR
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // ABORT
    [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL],
];

#[rustfmt::skip]
const REQUEST_ONLY: Transitions = [
    // DATA
    [ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
    // INIT
    [I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN],
    // INIT_ACK
    [CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ECHO
    [ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL],
    // COOKIE_ACK
    [ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL],
    // SHUTDOWN
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL],
    // SHUTDOWN_ACK
    [CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL],
    // SHUTDOWN_COMPLETE
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL],
    // ERROR
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL],
    // ABORT
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL],
];

/// The state after a packet.
#[must_use]
pub fn next(state: u8, way: Way, event: Event) -> u8 {
    let table = match way {
        Way::Request => &REQUEST,
        Way::Reply => &REPLY,
        Way::RequestOnly => &REQUEST_ONLY,
    };
    table[event as usize].get(usize::from(state)).copied().unwrap_or(CL)
}

/// Does a connection in this state count as active?
#[must_use]
pub fn is_active(state: u8) -> bool {
    state == ES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_way_handshake_and_shutdown() {
        use Way::{Reply, Request};
        let mut state = 0;
        let mut step = |way, chunk| {
            state = next(state, way, Event::of(chunk, None));
            NAMES[usize::from(state)]
        };
        assert_eq!(step(Request, 1), "INIT1");
        assert_eq!(step(Reply, 2), "C-SENT");
        assert_eq!(step(Request, 10), "C-REPLIED");
        assert_eq!(step(Reply, 11), "ESTABLISHED");
        assert_eq!(step(Request, 0), "ESTABLISHED");
        assert_eq!(step(Request, 7), "S-RECEIVED");
        assert_eq!(Event::of(10, Some(6)), Event::Abort);
    }
}
