//! TCP as IPVS follows it (spec `connections.md` §5.1): the state of the pair as seen from the middle, good enough to
//! choose a timeout and to count active connections.

use super::Way;

/// Names of the states, as listings print them; the index is the state's number.
pub const NAMES: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];

const ES: u8 = 1;
const SS: u8 = 2;
const SR: u8 = 3;
const FW: u8 = 4;
const TW: u8 = 5;
const CL: u8 = 6;
const CW: u8 = 7;
const LA: u8 = 8;
const LI: u8 = 9;
const SA: u8 = 10;

/// Both sides are connected.
pub const ESTABLISHED: u8 = ES;
/// One side has closed.
pub const FIN_WAIT: u8 = FW;
/// Both sides have closed.
pub const TIME_WAIT: u8 = TW;
/// Reset.
pub const CLOSE: u8 = CL;
/// Announced by FTP, and not seen yet.
pub const LISTEN: u8 = LI;
/// The client has closed, the server not yet.
pub const CLOSE_WAIT: u8 = CW;

/// Bits of the TCP flags byte (RFC 9293 §3.1).
pub mod bits {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// Timeouts in seconds, by state. ESTABLISHED and FIN_WAIT are settings.
pub const TIMEOUTS_S: [u32; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];

/// Rows: SYN, FIN, ACK, RST. Columns: the present state.
type Transitions = [[u8; 11]; 4];

#[rustfmt::skip]
const REQUEST: Transitions = [
    // SYN
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    // FIN
    [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
    // ACK
    [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    // RST
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
];

#[rustfmt::skip]
const REPLY: Transitions = [
    // SYN
    [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
    // FIN
    [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
    // ACK
    [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
    // RST
    [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
];

#[rustfmt::skip]
const REQUEST_ONLY: Transitions = [
    // SYN
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
    // FIN
    [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
    // ACK
    [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    // RST
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
];

#[rustfmt::skip]
const SECURE_REQUEST: Transitions = [
    // SYN
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA],
    // FIN
    [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA],
    // ACK
    [ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA],
    // RST
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
];

#[rustfmt::skip]
const SECURE_REPLY: Transitions = [
    // SYN
    [SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA],
    // FIN
    [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
    // ACK
    [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
    // RST
    [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
];

#[rustfmt::skip]
const SECURE_REQUEST_ONLY: Transitions = [
    // SYN
    [SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA],
    // FIN
    [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
    // ACK
    [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
    // RST
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
];

/// The state after a packet with these TCP flags.
#[inline(always)]
#[must_use]
pub fn next(state: u8, way: Way, flags: u8, secure: bool) -> u8 {
    // The first that applies: RST, SYN, FIN, ACK (spec §5.1); none of them closes.
    let row = if flags & bits::RST != 0 {
        3
    } else if flags & bits::SYN != 0 {
        0
    } else if flags & bits::FIN != 0 {
        1
    } else if flags & bits::ACK != 0 {
        2
    } else {
        return CLOSE;
    };
    let table = match (way, secure) {
        (Way::Request, false) => &REQUEST,
        (Way::Reply, false) => &REPLY,
        (Way::RequestOnly, false) => &REQUEST_ONLY,
        (Way::Request, true) => &SECURE_REQUEST,
        (Way::Reply, true) => &SECURE_REPLY,
        (Way::RequestOnly, true) => &SECURE_REQUEST_ONLY,
    };
    table[row].get(usize::from(state)).copied().unwrap_or(CLOSE)
}

/// The state of a connection that begins with a SYN and nothing else: [`next`] in fewer steps.
#[inline(always)]
#[must_use]
pub fn first(way: Way, secure: bool) -> u8 {
    next(0, way, bits::SYN, secure)
}

/// Does a connection in this state count as active?
#[inline]
#[must_use]
pub fn is_active(state: u8) -> bool {
    matches!(state, ES | SS | SR | SA)
}

/// Has only one side been heard of? Those states a flood of SYNs leaves behind.
#[must_use]
pub fn is_half_open(state: u8) -> bool {
    matches!(state, SR | SA)
}

/// May a connection in this state make room for another when the table is full? Half-open and closed ones may.
#[must_use]
pub fn is_expendable(state: u8) -> bool {
    !matches!(state, ES | FW | CW | LI)
}

#[cfg(test)]
mod tests {
    use super::bits::{ACK, FIN, RST, SYN};
    use super::*;

    fn life(steps: &[(Way, u8)]) -> Vec<&'static str> {
        let mut state = 0;
        steps
            .iter()
            .map(|&(way, flags)| {
                state = next(state, way, flags, false);
                NAMES[usize::from(state)]
            })
            .collect()
    }

    /// The places in which the secure tables differ from the normal ones, as spec §5.1 lists them in words, and no other.
    #[test]
    fn secure_tables_differ_where_they_should() {
        let mut expected = Vec::new();
        // Whoever sends: a half-open connection stays half-open until the server has spoken.
        expected.extend([
            (Way::Request, SYN, SA, SA),
            (Way::Request, FIN, SA, SA),
            (Way::Request, ACK, SA, SA),
        ]);
        expected.extend([(Way::Request, RST, SA, CL), (Way::Request, ACK, SR, SR)]);
        expected.extend([(Way::Reply, SYN, SR, SA), (Way::Reply, SYN, SA, SA)]);
        expected.extend([0, FW, TW, CL, CW, LA, LI, SA].map(|state| (Way::RequestOnly, SYN, state, SA)));
        for way in [Way::Request, Way::Reply, Way::RequestOnly] {
            for flags in 0..=u8::MAX {
                for state in 0..11 {
                    let signal = [RST, SYN, FIN, ACK].into_iter().find(|bit| flags & bit != 0);
                    let differs =
                        expected.iter().find(|case| (case.0, Some(case.1), case.2) == (way, signal, state));
                    let normal = next(state, way, flags, false);
                    let secure = differs.map_or(normal, |case| case.3);
                    assert_eq!(next(state, way, flags, true), secure, "{way:?} {flags:#x} in {state}");
                    assert!(differs.is_none_or(|case| case.3 != normal), "no difference: {differs:?}");
                    assert!(signal.is_some() || normal == CL, "no flag that counts closes");
                }
            }
        }
    }

    /// The typical lives of spec §5.1.
    #[test]
    fn typical_lives() {
        use Way::{Reply, Request, RequestOnly};
        let client_closes = [
            (Request, SYN),
            (Reply, SYN | ACK),
            (Request, ACK),
            (Request, FIN | ACK),
            (Reply, ACK),
            (Reply, FIN | ACK),
            (Request, ACK),
        ];
        assert_eq!(
            life(&client_closes),
            ["SYN_RECV", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "CLOSE_WAIT", "TIME_WAIT", "TIME_WAIT"]
        );
        let direct = [(RequestOnly, SYN), (RequestOnly, ACK), (RequestOnly, FIN | ACK), (RequestOnly, ACK)];
        assert_eq!(life(&direct), ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT"]);
        assert_eq!(life(&[(Request, ACK), (Reply, RST)]), ["ESTABLISHED", "CLOSE"]);
        assert_eq!(life(&[(Request, SYN), (Request, RST)]), ["SYN_RECV", "SYN_RECV"]);
        assert_eq!(life(&[(Request, 0)]), ["CLOSE"]);
    }
}
