//! Cutting a packet into fragments (RFC 791 §3.2, RFC 8200 §4.5).

use super::piece::{FRAGMENT_HEADER, FRAGMENT_HEADER_LEN};
use crate::packet::{IPV4_LEN, IPV6_LEN};
use crate::tables::Family;
use shunt_wire::{Frame, checksum};

/// How a packet is to be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) family: Family,
    /// Offset of the IP header.
    pub(super) l3: usize,
    /// Where what is cut begins: behind the headers that every fragment repeats.
    pub(super) data_at: usize,
    /// IPv6: where the next header field lies that is to name the fragment header.
    pub(super) named_at: usize,
    /// Identification of the fragments.
    pub(super) id: u32,
    /// IPv4: DF in every fragment.
    pub(super) dont_fragment: bool,
}

impl Cut {
    /// Cuts behind the first IP header, whatever follows. IPv4 packets keep their identification; `id` is for IPv6.
    pub(super) fn outer(bytes: &[u8], l3: usize, id: u32) -> Cut {
        let is_v4 = bytes[l3] >> 4 == 4;
        let (family, header_len) = match is_v4 {
            true => (Family::V4, usize::from(bytes[l3] & 0x0f) * 4),
            false => (Family::V6, IPV6_LEN),
        };
        let dont_fragment = is_v4 && bytes[l3 + 6] & 0x40 != 0;
        let id = if is_v4 { u16::from_be_bytes([bytes[l3 + 4], bytes[l3 + 5]]).into() } else { id };
        Cut { family, l3, data_at: l3 + header_len, named_at: l3 + 6, id, dont_fragment }
    }

    /// Bytes of data in each fragment but the last, if none is to be longer than `limit`; a multiple of 8.
    pub(super) fn step(&self, limit: usize) -> usize {
        (limit.saturating_sub(self.data_at - self.l3 + self.added()) & !7).max(8)
    }

    /// Length of the header that every fragment has in addition.
    fn added(&self) -> usize {
        match self.family {
            Family::V4 => 0,
            Family::V6 => FRAGMENT_HEADER_LEN,
        }
    }

    /// Writes the fragment with the data at `offset` into an empty frame. False if that has no room.
    pub(super) fn write<F: Frame>(&self, whole: &[u8], offset: usize, len: usize, frame: &mut F) -> bool {
        let headers = self.data_at + self.added();
        let data = &whole[self.data_at + offset..][..len];
        let more = self.data_at + offset + len < whole.len();
        if !frame.append(headers + len) {
            return false;
        }
        let bytes = frame.bytes_mut();
        bytes[..self.data_at].copy_from_slice(&whole[..self.data_at]);
        bytes[headers..].copy_from_slice(data);
        match self.family {
            Family::V4 => self.finish_v4(offset, more, &mut bytes[self.l3..]),
            Family::V6 => self.finish_v6(offset, more, bytes),
        }
        true
    }

    fn finish_v4(&self, offset: usize, more: bool, packet: &mut [u8]) {
        let header_len = self.data_at - self.l3;
        let total = packet.len() as u16;
        let header = &mut packet[..header_len];
        let flags =
            u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | (offset / 8) as u16 & 0x1fff;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[4..6].copy_from_slice(&(self.id as u16).to_be_bytes());
        header[6..8].copy_from_slice(&flags.to_be_bytes());
        header[10..12].fill(0);
        if offset > 0 {
            blank_first_only(&mut header[IPV4_LEN..]);
        }
        let sum = checksum::checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn finish_v6(&self, offset: usize, more: bool, bytes: &mut [u8]) {
        let next_header = std::mem::replace(&mut bytes[self.named_at], FRAGMENT_HEADER);
        let payload_len = (bytes.len() - self.l3 - IPV6_LEN) as u16;
        bytes[self.l3 + 4..self.l3 + 6].copy_from_slice(&payload_len.to_be_bytes());
        let header = &mut bytes[self.data_at..self.data_at + FRAGMENT_HEADER_LEN];
        header[..2].copy_from_slice(&[next_header, 0]);
        header[2..4].copy_from_slice(&(offset as u16 & !7 | u16::from(more)).to_be_bytes());
        header[4..8].copy_from_slice(&self.id.to_be_bytes());
    }
}

/// Options without the "copied" bit stand in the first fragment only; in the others, no-operations take their place.
fn blank_first_only(options: &mut [u8]) {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while at < options.len() && options[at] != END {
        let len = match options[at] {
            NOTHING => 1,
            _ => options.get(at + 1).map_or(0, |&len| usize::from(len)),
        };
        if len == 0 || at + len > options.len() {
            return;
        }
        if options[at] & COPIED == 0 {
            options[at..at + len].fill(NOTHING);
        }
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_copied_options_go_into_later_fragments() {
        // Record route (7) is not copied, loose source route (0x83) is.
        let mut options = [7, 3, 4, 0x83, 3, 4, 1, 0];
        blank_first_only(&mut options);
        assert_eq!(options, [1, 1, 1, 0x83, 3, 4, 1, 0]);
        let mut broken = [7, 0, 9, 9];
        blank_first_only(&mut broken);
        assert_eq!(broken, [7, 0, 9, 9]);
        let mut broken = [7, 40, 9, 9];
        blank_first_only(&mut broken);
        assert_eq!(broken, [7, 40, 9, 9]);
    }
}
