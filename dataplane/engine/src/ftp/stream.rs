//! A byte stream whose length changed on its way: sequence numbers behind the change are shifted (spec `forwarding.md`
//! §8.3), and the other side's acknowledgements shifted back, selective ones (RFC 2018) too.

use crate::connection_info::SequenceShift;
use crate::state::tcp;

/// The shift of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    /// The segment that changed last: what lies behind it is shifted by `now`, the rest by `before`.
    from: u32,
    now: i32,
    before: i32,
}

/// Is `one` later in the stream than `other`?
fn after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) as i32 > 0
}

impl From<SequenceShift> for Shift {
    fn from(told: SequenceShift) -> Shift {
        let SequenceShift { init_seq, delta, previous_delta } = told;
        Shift { from: init_seq, now: delta as i32, before: previous_delta as i32 }
    }
}

impl From<Shift> for SequenceShift {
    fn from(shift: Shift) -> SequenceShift {
        SequenceShift { init_seq: shift.from, delta: shift.now as u32, previous_delta: shift.before as u32 }
    }
}

impl Shift {
    /// Does it change anything?
    pub(super) fn is_none(&self) -> bool {
        self.now == 0 && self.before == 0
    }

    /// The segment at `sequence` (as its sender counts) grew by so many bytes. A segment that is sent again changes nothing.
    pub(super) fn grow(&mut self, sequence: u32, by: i32) {
        if by != 0 && (self.is_none() || after(sequence, self.from)) {
            *self = Shift { from: sequence, before: self.now, now: self.now.wrapping_add(by) };
        }
    }

    /// A sequence number of the sender, as the receiver is to see it.
    pub(super) fn sequence(&self, sequence: u32) -> u32 {
        let by = if after(sequence, self.from) { self.now } else { self.before };
        sequence.wrapping_add_signed(by)
    }

    /// An acknowledgement of the receiver, as the sender is to see it.
    pub(super) fn acknowledgment(&self, acknowledgment: u32) -> u32 {
        let seen = acknowledgment.wrapping_sub(self.before as u32);
        let by = if after(seen, self.from) { self.now } else { self.before };
        acknowledgment.wrapping_sub(by as u32)
    }

    /// Shifts the sequence number of a segment of the sender.
    pub(super) fn shift_sequence(&self, segment: &mut [u8]) {
        rewrite(segment, 4, |sequence| self.sequence(sequence));
    }

    /// Shifts back what a segment of the receiver acknowledges.
    pub(super) fn shift_acknowledgments(&self, segment: &mut [u8]) {
        // Without its flag the number is none, as in most resets.
        if segment[13] & tcp::bits::ACK == 0 {
            return;
        }
        rewrite(segment, 8, |acknowledgment| self.acknowledgment(acknowledgment));
        const SELECTIVE: u8 = 5;
        let end = (usize::from(segment[12] >> 4) * 4).min(segment.len());
        let mut at = 20;
        while at + 1 < end {
            let (kind, len) = (segment[at], usize::from(segment[at + 1]));
            match kind {
                0 => return,
                1 => at += 1,
                _ if len < 2 || at + len > end => return,
                SELECTIVE => {
                    for edge in (at + 2..at + len - 3).step_by(4) {
                        rewrite(segment, edge, |edge| self.acknowledgment(edge));
                    }
                    at += len;
                }
                _ => at += len,
            }
        }
    }
}

fn rewrite(segment: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(word) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *word = change(u32::from_be_bytes(*word)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_behind_a_change_are_shifted_there_and_back() {
        let mut shift = Shift::default();
        assert!(shift.is_none());
        assert_eq!((shift.sequence(77), shift.acknowledgment(77)), (77, 77));
        // A segment of 47 bytes at 5012 became one of 48.
        shift.grow(5012, 1);
        assert_eq!((shift.sequence(5012), shift.sequence(5059)), (5012, 5060));
        assert_eq!((shift.acknowledgment(5012), shift.acknowledgment(5060)), (5012, 5059));
        // Sent again.
        shift.grow(5012, 1);
        assert_eq!(shift.sequence(5059), 5060);
        shift.grow(6000, -3);
        assert_eq!((shift.sequence(6000), shift.sequence(6050)), (6001, 6048));
        assert_eq!((shift.acknowledgment(6001), shift.acknowledgment(6048)), (6000, 6050));
        // Numbers wrap around.
        let mut shift = Shift::default();
        shift.grow(u32::MAX - 5, 2);
        assert_eq!((shift.sequence(3), shift.acknowledgment(5)), (5, 3));
    }

    #[test]
    fn selective_acknowledgments_too() {
        let mut shift = Shift::default();
        shift.grow(1000, 5);
        let mut segment = [0u8; 20 + 20];
        (segment[12], segment[13]) = (0xa0, tcp::bits::ACK);
        segment[8..12].copy_from_slice(&1000u32.to_be_bytes());
        segment[20..24].copy_from_slice(&[1, 1, 5, 18]);
        segment[24..28].copy_from_slice(&2005u32.to_be_bytes());
        segment[28..32].copy_from_slice(&2105u32.to_be_bytes());
        segment[32..36].copy_from_slice(&3005u32.to_be_bytes());
        segment[36..40].copy_from_slice(&3105u32.to_be_bytes());
        shift.shift_acknowledgments(&mut segment);
        let word = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        assert_eq!([8, 24, 28, 32, 36].map(word), [1000, 2000, 2100, 3000, 3100]);
        let mut reset = [0u8; 20];
        (reset[12], reset[13]) = (0x50, tcp::bits::RST);
        shift.shift_acknowledgments(&mut reset);
        assert_eq!(reset[8..12], [0; 4], "no acknowledgement");
        for broken in [0u8, 1, 2, 3, 30] {
            let mut segment = [5u8; 28];
            (segment[12], segment[13]) = (0xf0, tcp::bits::ACK);
            segment[21] = broken;
            shift.shift_acknowledgments(&mut segment);
        }
    }
}
