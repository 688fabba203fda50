//! Memory for the bytes of fragments: chains of cells, taken at start.

/// No index.
pub(super) const NONE: u16 = u16::MAX;
/// Room for fragments: 4 MiB, the kernel's `ipfrag_high_thresh`.
const CELLS: usize = 2048;
/// Bytes of a cell: a whole frame of the usual MTU fits one.
pub(super) const CELL_LEN: usize = 2048;

const _: () = assert!(CELLS < NONE as usize);

/// A cell of a chain; in the first one of a fragment also what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// The next cell of the same fragment, or the next free one.
    pub(super) chain: u16,
    /// The first cell of the fragment with the next higher offset.
    pub(super) next: u16,
    pub(super) data_at: u16,
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) frame_len: u32,
}

/// A fragment, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) cell: u16,
    /// Place of its data in the datagram.
    pub(super) offset: usize,
    /// Length of its data.
    pub(super) len: usize,
    /// Where its data begin in the frame.
    pub(super) data_at: usize,
    /// Length of the frame.
    pub(super) frame_len: usize,
}

/// All cells.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) list: Box<[Cell]>,
    bytes: Box<[[u8; CELL_LEN]]>,
    free: u16,
    left: usize,
}

impl Cells {
    /// Takes all memory that they will ever use.
    pub(super) fn new() -> Cells {
        let cell = |index| Cell {
            chain: if index + 1 < CELLS { index as u16 + 1 } else { NONE },
            next: NONE,
            data_at: 0,
            offset: 0,
            len: 0,
            frame_len: 0,
        };
        Cells {
            list: (0..CELLS).map(cell).collect(),
            bytes: vec![[0; CELL_LEN]; CELLS].into_boxed_slice(),
            free: 0,
            left: CELLS,
        }
    }

    /// Is there room for so many bytes?
    pub(super) fn have_room_for(&self, len: usize) -> bool {
        self.left >= len.div_ceil(CELL_LEN)
    }

    /// The fragment whose first cell this is; `None` for no cell.
    pub(super) fn held(&self, at: u16) -> Option<Held> {
        let cell = self.list.get(usize::from(at))?;
        Some(Held {
            cell: at,
            offset: cell.offset as usize,
            len: cell.len as usize,
            data_at: usize::from(cell.data_at),
            frame_len: cell.frame_len as usize,
        })
    }

    /// The end of a fragment's data in its datagram.
    pub(super) fn end_of(&self, piece: u16) -> u32 {
        let cell = &self.list[usize::from(piece)];
        cell.offset + cell.len
    }

    /// Copies bytes of a fragment's frame, from `from` on, until `to` is full.
    pub(super) fn copy(&self, piece: &Held, from: usize, to: &mut [u8]) {
        let (mut cell, mut skip, mut done) = (piece.cell, from, 0);
        while done < to.len() && cell != NONE {
            let bytes = &self.bytes[usize::from(cell)];
            if skip < CELL_LEN {
                let count = (CELL_LEN - skip).min(to.len() - done);
                to[done..done + count].copy_from_slice(&bytes[skip..skip + count]);
                done += count;
            }
            skip = skip.saturating_sub(CELL_LEN);
            cell = self.list[usize::from(cell)].chain;
        }
    }

    /// The first of the cells that now hold these bytes.
    pub(super) fn fill_chain(&mut self, bytes: &[u8]) -> u16 {
        let first = self.free;
        let mut last = first;
        for part in bytes.chunks(CELL_LEN) {
            last = self.free;
            self.bytes[usize::from(last)][..part.len()].copy_from_slice(part);
            self.free = self.list[usize::from(last)].chain;
            self.left -= 1;
        }
        self.list[usize::from(last)].chain = NONE;
        first
    }

    /// Forgets the bytes of a fragment.
    pub(super) fn free_chain(&mut self, first: u16) {
        let mut cell = first;
        while cell != NONE {
            let next = std::mem::replace(&mut self.list[usize::from(cell)].chain, self.free);
            self.free = cell;
            self.left += 1;
            cell = next;
        }
    }
}
