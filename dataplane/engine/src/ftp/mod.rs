//! The FTP helper (spec `forwarding.md` §8): finds out from control connections through NAT which data connections will
//! come, and names the virtual address where servers name their own.
//!
//! * A control connection is one to port `ftp_port` of a NAT server. It is marked, goes the general way, and has an entry
//!   in [`Controls`]: what was asked, and how the stream of the server is shifted. Entries of connections stay as small
//!   as they are.
//! * What is announced is known to all workers ([`Expectations`]): the worker that owns a data connection takes it from
//!   there when its first packet comes.
//! * Only what a server sends is ever changed, so only that stream is shifted.

mod command;
mod expected;
mod named;
mod resume;
mod stream;

pub(crate) use expected::Expected;
pub use expected::{EXPECTED_MAX, Expectations};
pub(crate) use named::ControlId;
pub(crate) use resume::is_expected;

use crate::binding;
use crate::conn::{Address, Conn, Direction, Index, Tuple, flag};
use crate::connection_info::ControlKey;
use crate::counters::Counter;
use crate::dump::expected_info;
use crate::flow::Pass;
use crate::forward::nat;
use crate::packet::{IPV6_LEN, Packet, be16, be32};
use crate::state::{protocol, tcp};
use crate::tables::{Family, ForwardingMethod, ServerId};
use command::{Offer, Request, Text};
use hashbrown::HashMap;
use shunt_wire::{Frame, checksum};
use stream::Shift;

/// Control connections of a worker that can be helped at once. About 1 MiB.
const CONTROLS: usize = 16_384;

/// What is known of a control connection.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    /// What the client asked for, until the server has answered.
    asked: Option<Request>,
    /// The answer that was changed last, should it be sent again.
    answered: Option<(u32, Request)>,
    /// The server's stream.
    shift: Shift,
    /// Has the shift changed since a master was told of the connection?
    news: bool,
    /// It comes from elsewhere, and nothing is known of what the client asked there last.
    resumed: bool,
    /// Its place among those that have data connections, once it has one.
    id: Option<ControlId>,
    /// State and shift that all workers know of there.
    shared: Option<(u8, Shift)>,
}

/// The control connections of a worker.
#[derive(Debug)]
pub(crate) struct Controls(HashMap<(Family, Index), Control>);

impl Default for Controls {
    fn default() -> Self {
        Controls(HashMap::with_capacity(CONTROLS))
    }
}

/// What became of a packet of a control connection.
pub(crate) enum Helped {
    /// It goes on, perhaps with another length.
    On(Packet),
    /// It goes nowhere.
    Dropped(Counter),
}

/// What a packet without a connection is, while data connections are expected.
pub(crate) enum Coming {
    /// The first one of this connection.
    Expected(Index, Direction),
    /// The first one of a connection whose server is gone for now.
    TooEarly,
    /// Something else.
    Unexpected,
}

impl<A: Address> Pass<'_, A> {
    /// A new connection: is it one that needs help?
    #[inline]
    pub(crate) fn adopt(&mut self, index: Index) {
        let conn = self.table.get(index);
        let ftp_port = self.tables.settings().ftp_port;
        if u32::from(conn.vport) == ftp_port && conn.protocol == protocol::TCP && ftp_port != 0 {
            self.adopt_control(index);
        }
    }

    #[cold]
    #[inline(never)]
    fn adopt_control(&mut self, index: Index) {
        let controls = &mut self.core.ftp.0;
        let nat = self.table.get(index).method() == ForwardingMethod::Nat;
        if nat && controls.len() < CONTROLS {
            controls.insert((A::FAMILY, index), Control::default());
            self.table.get_mut(index).flags |= flag::HELPED;
        }
    }

    /// A control connection is gone.
    #[cold]
    #[inline(never)]
    pub(crate) fn forget_control(&mut self, index: Index) {
        if let Some(Control { id: Some(id), .. }) = self.core.ftp.0.remove(&(A::FAMILY, index)) {
            self.core.expectations.controls().end(id);
        }
    }

    /// Does this control connection have data connections, or expect one?
    #[cold]
    pub(crate) fn controls_others(&self, index: Index) -> bool {
        let control = self.core.ftp.0.get(&(A::FAMILY, index));
        control
            .and_then(|control| control.id)
            .is_some_and(|id| self.core.expectations.controls().is_named(id))
    }

    /// The entry of a data connection that was announced and whose first packet this is.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_expected(&mut self, packet: &Packet) -> Coming {
        let Some((expected, direction)) = self.core.expectations.take(A::FAMILY, &packet.tuple()) else {
            return Coming::Unexpected;
        };
        if expected.cport == 0 && self.waits_for(expected.server) {
            self.core.expectations.expect(expected);
            return Coming::TooEarly;
        }
        let mut conn: Conn<A> = expected.conn();
        if conn.cport == 0 {
            conn.cport = packet.sport;
            conn.flags &= !flag::NO_CPORT;
        }
        let index = self.table.insert(conn, self.now);
        match index {
            Some(index) => Coming::Expected(index, direction),
            None => {
                self.disappoint(&expected);
                Coming::Unexpected
            }
        }
    }

    /// Is this server gone, and may come back? As long as it does not, clients come in vain, and who comes is not noted.
    fn waits_for(&self, id: ServerId) -> bool {
        let is_available = self.tables.server(id).is_some_and(|server| server.available);
        id != ServerId::NONE && !is_available && !self.tables.settings().expire_nodest_conn
    }

    /// An announced connection did not come, or found no room: it counts no more.
    fn disappoint(&mut self, expected: &Expected) {
        self.core.disappoint(self.tables, expected);
    }

    /// Looks at a packet of the client on its control connection.
    #[cold]
    #[inline(never)]
    pub(crate) fn help_request<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Helped {
        if nat::l4_checksum(frame.bytes(), packet, protocol::TCP) != 0 {
            return Helped::Dropped(Counter::BadChecksum);
        }
        let key = (A::FAMILY, index);
        let conn = self.table.get(index);
        let Some(control) = self.core.ftp.0.get_mut(&key) else { return Helped::On(*packet) };
        let end = usize::from(packet.l3) + usize::from(packet.ip_len);
        if conn.state == tcp::ESTABLISHED
            && let Some(payload) = payload(packet, frame.bytes())
        {
            control.resumed = false;
            match command::request(payload, A::FAMILY == Family::V6) {
                Some(Request::Active(address, cport)) => {
                    control.asked = None;
                    if let Some(address) = A::from_ip(address) {
                        let ends =
                            (conn.vport.wrapping_sub(1), conn.daddr.bits(), conn.dport.wrapping_sub(1));
                        self.expect(index, (address.bits(), cport), ends);
                    }
                }
                Some(passive) => control.asked = Some(passive),
                None => {}
            }
        }
        if let Some(control) = self.core.ftp.0.get(&key)
            && !control.shift.is_none()
        {
            control.shift.shift_acknowledgments(&mut frame.bytes_mut()[usize::from(packet.l4)..end]);
            renew_checksum(packet, frame.bytes_mut());
        }
        self.share(index);
        Helped::On(*packet)
    }

    /// Looks at a packet of the server on its control connection.
    #[cold]
    #[inline(never)]
    pub(crate) fn help_reply<F: Frame>(&mut self, index: Index, packet: &Packet, frame: &mut F) -> Helped {
        if nat::l4_checksum(frame.bytes(), packet, protocol::TCP) != 0 {
            return Helped::Dropped(Counter::BadChecksum);
        }
        let Some(&control) = self.core.ftp.0.get(&(A::FAMILY, index)) else { return Helped::On(*packet) };
        let l4 = usize::from(packet.l4);
        let sequence = be32(frame.bytes(), l4 + 4);
        // Once more what was changed before, if it is sent again.
        let asked = match control.answered {
            Some((answered, asked)) if answered == sequence => Some(asked),
            _ => control.asked,
        };
        let mut packet = *packet;
        if (asked.is_some() || control.resumed)
            && self.table.get(index).state == tcp::ESTABLISHED
            && let Some(payload) = payload(&packet, frame.bytes())
            && let Some(asked) = asked.or_else(|| command::answered(payload))
            && let Some(offer) = command::offer(payload, asked, A::FAMILY == Family::V6)
        {
            let payload_at = usize::from(packet.l3) + usize::from(packet.ip_len) - payload.len();
            let mut text = Text::default();
            if let Some(vport) = self.accept_offer(index, &offer) {
                command::write_offer(asked, self.table.get(index).vaddr.ip(), vport, &mut text);
                let Some(grown) = replace(&mut packet, frame, payload_at, &offer, text.as_bytes()) else {
                    return Helped::Dropped(Counter::NoBuffer);
                };
                if let Some(control) = self.core.ftp.0.get_mut(&(A::FAMILY, index)) {
                    control.asked = None;
                    control.answered = Some((sequence, asked));
                    let before = control.shift;
                    control.shift.grow(sequence, grown);
                    control.news |= control.shift != before;
                }
            }
        }
        if let Some(control) = self.core.ftp.0.get(&(A::FAMILY, index))
            && !control.shift.is_none()
        {
            let end = usize::from(packet.l3) + usize::from(packet.ip_len);
            control.shift.shift_sequence(&mut frame.bytes_mut()[l4..end]);
            renew_checksum(&packet, frame.bytes_mut());
        }
        Helped::On(packet)
    }

    /// A server listens: the client will come to the same port of the virtual address.
    fn accept_offer(&mut self, index: Index, offer: &Offer) -> Option<u16> {
        let conn = self.table.get(index);
        let daddr = match offer.address {
            Some(address) => A::from_ip(address)?.bits(),
            None => conn.daddr.bits(),
        };
        let client = (conn.caddr.bits(), 0);
        self.expect(index, client, (offer.dport, daddr, offer.dport));
        Some(offer.dport)
    }

    /// A client listens again where a data connection came to that is not forgotten yet: its entry waits for the next one.
    /// An entry of another worker is not known here; there, the next connection finds it as it is.
    fn listen_again(&mut self, index: Index, (caddr, cport): (u128, u16), vport: u16) -> bool {
        let (src, dst) = (A::from_bits(caddr), self.table.get(index).vaddr);
        let tuple = Tuple { src, dst, sport: cport, dport: vport, protocol: protocol::TCP };
        let Some((data, Direction::Request)) = self.table.lookup(&tuple).filter(|_| cport != 0) else {
            return false;
        };
        self.table.get_mut(data).state = tcp::LISTEN;
        let timeout_ms = self.core.timeouts.of(protocol::TCP, tcp::LISTEN);
        self.table.touch(data, timeout_ms, self.now);
        true
    }

    /// Announces a data connection of this control connection: the client's end (port 0: not known), and virtual port,
    /// server address and port.
    fn expect(&mut self, index: Index, client: (u128, u16), ends: (u16, u128, u16)) {
        if self.listen_again(index, client, ends.0) {
            return;
        }
        let conn = self.table.get(index);
        let Some(control) = self.core.ftp.0.get_mut(&(A::FAMILY, index)) else { return };
        control.id = control.id.or_else(|| self.core.expectations.controls().begin(ControlKey::of(conn)));
        let expected = Expected {
            family: A::FAMILY,
            caddr: client.0,
            cport: client.1,
            vaddr: conn.vaddr.bits(),
            vport: ends.0,
            daddr: ends.1,
            dport: ends.2,
            server: conn.server,
            fwmark: conn.fwmark,
            control: control.id,
            timeout_ms: self.core.timeouts.of(protocol::TCP, tcp::LISTEN),
            since: self.now,
        };
        if let Some(server) = self.tables.server(conn.server) {
            binding::bind(self.core, server, &expected.conn::<A>());
        }
        if let Some(id) = expected.control {
            self.core.expectations.controls().join(id);
        }
        let gone = self.core.expectations.expect(expected);
        if let Some(gone) = gone {
            self.disappoint(&gone);
        }
        self.announce_expected(expected_info(&expected, self.tables, self.now), expected.control);
    }
}

impl crate::engine::Core {
    /// An announced connection did not come: it counts no more.
    pub(crate) fn disappoint(&mut self, tables: &crate::tables::Tables, expected: &Expected) {
        binding::unbind(self, tables, &expected.conn::<u128>());
        if let Some(id) = expected.control {
            self.expectations.controls().leave(id);
        }
    }
}

/// The payload of a TCP segment, if there is any.
fn payload<'a>(packet: &Packet, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (l4, end) = (usize::from(packet.l4), usize::from(packet.l3) + usize::from(packet.ip_len));
    let header_len = usize::from(bytes[l4 + 12] >> 4) * 4;
    bytes.get(l4 + header_len..end).filter(|payload| header_len >= 20 && !payload.is_empty())
}

/// Replaces the text of an offer. Returns by how much the packet grew; `None` if the frame has no room, or no packet may be
/// as long.
fn replace<F: Frame>(
    packet: &mut Packet,
    frame: &mut F,
    payload_at: usize,
    offer: &Offer,
    text: &[u8],
) -> Option<i32> {
    let (from, to) = (payload_at + offer.text.start, payload_at + offer.text.end);
    let len = frame.bytes().len();
    let new_len = len + text.len() - offer.text.len();
    let ip_len = usize::from(packet.ip_len) + text.len() - offer.text.len();
    let ip_len = u16::try_from(ip_len).ok()?;
    if new_len > len && !frame.append(new_len - len) {
        return None;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(to..len, from + text.len());
    bytes[from..from + text.len()].copy_from_slice(text);
    frame.truncate(new_len);
    let grown = new_len as i32 - len as i32;
    packet.ip_len = ip_len;
    write_length(packet, frame.bytes_mut());
    renew_checksum(packet, frame.bytes_mut());
    Some(grown)
}

fn write_length(packet: &Packet, bytes: &mut [u8]) {
    let l3 = usize::from(packet.l3);
    match packet.family {
        Family::V4 => {
            bytes[l3 + 2..l3 + 4].copy_from_slice(&packet.ip_len.to_be_bytes());
            bytes[l3 + 10..l3 + 12].fill(0);
            let sum = checksum::checksum(&bytes[l3..usize::from(packet.l4)]);
            bytes[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
        }
        Family::V6 => {
            let payload_len = packet.ip_len - IPV6_LEN as u16;
            bytes[l3 + 4..l3 + 6].copy_from_slice(&payload_len.to_be_bytes());
        }
    }
}

/// The TCP checksum, from scratch: it was right before.
fn renew_checksum(packet: &Packet, bytes: &mut [u8]) {
    let place = usize::from(packet.l4) + 16;
    bytes[place..place + 2].fill(0);
    let sum = nat::l4_checksum(bytes, packet, protocol::TCP);
    bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    debug_assert_eq!(be16(bytes, place), Some(sum));
}
