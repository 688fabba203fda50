//! Large tables in huge pages.
//!
//! A look-up in a table of 64 MB misses the TLB nearly always if the table lies in pages of 4 KiB, and the walk through
//! the page tables costs as much as the cache miss that it comes before. With pages of 2 MiB the TLB covers the table.

use rustix::mm::{Advice, madvise};

/// Pages to which advice applies; asking about a larger unit than the system's is always right.
const PAGE: usize = 4096;
/// Tables below this size gain nothing.
const WORTH_IT: usize = 2 << 20;

/// A slice of `len` copies of `value`, in transparent huge pages if the system grants them (`always` or `madvise` in
/// `/sys/kernel/mm/transparent_hugepage/enabled`). All of its memory is taken now.
#[must_use]
pub fn filled<T: Clone>(len: usize, value: T) -> Box<[T]> {
    let mut memory = Vec::with_capacity(len);
    // Before the first touch: what has small pages already keeps them for long.
    advise(memory.spare_capacity_mut());
    memory.resize(len, value);
    memory.into_boxed_slice()
}

fn advise<T>(memory: &mut [T]) {
    let range = memory.as_mut_ptr_range();
    let start = range.start.addr().next_multiple_of(PAGE);
    let end = range.end.addr() / PAGE * PAGE;
    if end.saturating_sub(start) < WORTH_IT {
        return;
    }
    // SAFETY: the pages from `start` to `end` lie within `memory`, which we have borrowed mutably, and this advice
    // changes only what pages the memory is made of. If the system refuses, all is as it was.
    let _ = unsafe { madvise(range.start.with_addr(start).cast(), end - start, Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn any_size_is_filled() {
        for len in [0, 1, 1000, 3 << 20] {
            let memory = filled(len, 7u8);
            assert_eq!(memory.len(), len);
            assert!(memory.iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn alignment_is_kept() {
        #[derive(Clone)]
        #[repr(align(64))]
        struct Line([u8; 64]);
        let lines = filled(100_000, Line([1; 64]));
        assert_eq!(lines.as_ptr().addr() % 64, 0);
        assert_eq!(lines[99_999].0[63], 1);
    }
}
