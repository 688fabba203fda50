//! The persistence engine `sip` (spec `connections.md` §4.6): dialogs, by their Call-ID, keep their real server.

use crate::admit::Choice;
use crate::binding;
use crate::conn::{Address, Index};
use crate::flow::Pass;
use crate::packet::Packet;
use crate::persist::{Made, New, NewConnection, TemplateKey};
use crate::state::protocol;
use crate::tables::{Persistence, Server, Service, ServiceKey};
use crate::verdict::Verdict;
use shunt_wire::Frame;

/// Longest Call-ID, bytes: that of the kernel's `IP_VS_PEDATA_MAXLEN`.
pub(crate) const CALL_ID_MAX: usize = 255;

/// The value of the Call-ID header of a SIP message (RFC 3261 §20.8), 1 to 255 bytes.
pub(crate) fn call_id(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let text = &rest[end..];
        // CR LF is one end of a line.
        rest = &text[if text.starts_with(b"\r\n") { 2 } else { 1 }..];
        if let Some(value) = header(rest) {
            let len = call_id_len(value);
            let ended = matches!(value.get(len), Some(b'\r' | b'\n'));
            return ((1..=CALL_ID_MAX).contains(&len) && ended).then(|| &value[..len]);
        }
    }
}

/// What follows the name of the header, if this line has it.
fn header(line: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"call-id";
    let after = match line.get(..NAME.len()) {
        Some(name) if name.eq_ignore_ascii_case(NAME) => &line[NAME.len()..],
        // The compact form.
        _ if matches!(line.first(), Some(b'i' | b'I')) => &line[1..],
        _ => return None,
    };
    let blank = |bytes: &[u8]| bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let after = after[blank(after)..].strip_prefix(b":")?;
    Some(&after[blank(after)..])
}

/// `word [ "@" word ]`; 0 if it is not that.
fn call_id_len(value: &[u8]) -> usize {
    let word = |bytes: &[u8]| bytes.iter().take_while(|byte| is_word(**byte)).count();
    let local = word(value);
    if local == 0 || value.get(local) != Some(&b'@') {
        return local;
    }
    match word(&value[local + 1..]) {
        0 => 0,
        host => local + 1 + host,
    }
}

/// RFC 3261 §25.1.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte)
}

/// The payload of a datagram.
pub(crate) fn payload<'a>(packet: &Packet, bytes: &'a [u8]) -> &'a [u8] {
    const UDP_LEN: usize = 8;
    let end = usize::from(packet.l3) + usize::from(packet.ip_len);
    bytes.get(usize::from(packet.l4) + UDP_LEN..end).unwrap_or_default()
}

impl<A: Address> Pass<'_, A> {
    /// A server of a SIP service sends to a client that it has no connection with: makes the connection, so that the
    /// packet leaves from the virtual address. `None`: it is none of that kind.
    #[cold]
    #[inline(never)]
    pub(crate) fn admit_outgoing<F: Frame>(&mut self, packet: &Packet, frame: &mut F) -> Option<Verdict> {
        let tables = self.tables;
        let server = tables.nat_server(packet.src_ip(), packet.sport, packet.protocol)?;
        let service = tables.service(server.service).filter(|service| service.sip)?;
        let persistence = service.persistence?;
        let ServiceKey::Address { vaddr, vport, .. } = service.key else { return None };
        if vport == 0 || server.dport == 0 || packet.protocol != protocol::UDP {
            return None;
        }
        // Only what would make a connection is looked at; the rest goes its usual way.
        call_id(payload(packet, frame.bytes()))?;
        let mtu =
            if self.origin.is_kernel() { u16::MAX } else { tables.routes().lookup(packet.dst_ip()).mtu() };
        if let Some(verdict) = self.refuse_to_forward(mtu, packet, frame) {
            return Some(verdict);
        }
        let index =
            self.enrol_outgoing(service, persistence, server, (A::from_ip(vaddr)?, vport), packet, frame)?;
        let verdict = self.reply(index, packet, frame);
        if service.flags.one_packet {
            self.discard(index);
        }
        Some(verdict)
    }

    fn enrol_outgoing<F: Frame>(
        &mut self,
        service: &Service,
        persistence: Persistence,
        server: &Server,
        (vaddr, vport): (A, u16),
        packet: &Packet,
        frame: &F,
    ) -> Option<Index> {
        let call_id = call_id(payload(packet, frame.bytes()))?;
        let connection =
            NewConnection { protocol: packet.protocol, caddr: packet.dst_ip(), vaddr: vaddr.ip(), vport };
        let templates = &self.core.templates;
        let (key, own_port) = TemplateKey::new(service, persistence, &connection);
        let key = key.with_call_id(templates.digest(call_id));
        // Looks for one that leads to this server first.
        let new = New { key, server, own_port, timeout_s: persistence.timeout_s, call_id };
        let handle = match templates.create(&new, self.now, |id| id == server.id)? {
            Made::New(handle) => {
                binding::count_template(&self.core.boards, server.id, 1);
                handle
            }
            Made::Joined(handle, _) => handle,
        };
        let request =
            Packet { src: packet.dst, dst: vaddr.bits(), sport: packet.dport, dport: vport, ..*packet };
        debug_assert_eq!(request.tuple::<A>().dst, vaddr);
        let choice = Choice { server, control: Some(handle), dport: packet.sport };
        let index = self.enrol(&choice, 0, &request);
        if index.is_none() {
            self.release_control(handle.0);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(message: &str) -> Option<&str> {
        call_id(message.as_bytes()).map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn call_ids() {
        let message =
            |line: &str| format!("INVITE sip:u@d SIP/2.0\r\nVia: x\r\n{line}\r\nCSeq: 1 INVITE\r\n\r\n");
        for (line, value) in [
            ("Call-ID: aaa@x", Some("aaa@x")),
            ("CALL-id :\t a-b.c!%*_+`'~()<>:\\\"/[]?{}", Some("a-b.c!%*_+`'~()<>:\\\"/[]?{}")),
            ("i:1", Some("1")),
            ("I : 1@2", Some("1@2")),
            ("Call-ID: ", None),
            ("Call-ID: a@", None),
            ("Call-ID: a@b@c", None),
            ("Call-ID: a b", None),
            ("Call-IDs: a", None),
            ("X-Call-ID: a", None),
            ("", None),
        ] {
            assert_eq!(found(&message(line)), value, "{line}");
        }
        assert_eq!(found("Call-ID: first-line\r\n"), None);
        assert_eq!(found("A\nCall-ID: a\n"), Some("a"));
        assert_eq!(found("A\nCall-ID: a"), None, "no end of the line");
        assert_eq!((found(""), found("\r"), found("\r\n\r\n")), (None, None, None));
        let long = |len| message(&format!("i: {}", "x".repeat(len)));
        assert!(found(&long(255)).is_some() && found(&long(256)).is_none());
    }
}
