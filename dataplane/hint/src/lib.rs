//! What the engine wants of the machine beyond the language: prefetches, huge pages, eight comparisons at once.
//!
//! All of it is safe to call: it takes references instead of pointers, never faults, and never changes what a program
//! computes. So the engine can stay at `forbid(unsafe_code)`. Each part goes when the standard library has it.
#![deny(unsafe_op_in_unsafe_fn, clippy::multiple_unsafe_ops_per_block)]

mod huge;
mod lanes;

pub use huge::filled;
pub use lanes::{equal_lanes, equal_wide_lanes};

/// Brings the cache line in which `value` begins into all cache levels. One line: 64 bytes on x86. A value that is
/// larger, or that is not aligned to a line, needs a hint per line.
///
/// On processors other than x86_64 it does nothing.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: `value` is a reference, so the address is valid; the instruction would not fault if it were not. SSE,
        // which it belongs to, is part of every x86_64 target.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast::<i8>()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The same for an element of a slice. Beyond its end it may ask for any memory, and nothing else happens: so no check is
/// needed, nor made.
#[inline(always)]
pub fn prefetch_nth<T>(values: &[T], nth: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let place = values.as_ptr().wrapping_add(nth);
        // SAFETY: the instruction faults at no address. SSE, which it belongs to, is part of every x86_64 target.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast::<i8>()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, nth);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_values_alone() {
        let lines = vec![[7u8; 64]; 1024];
        lines.iter().for_each(prefetch);
        [0, 1023, 1024, usize::MAX].iter().for_each(|&nth| prefetch_nth(&lines, nth));
        assert!(lines.as_flattened().iter().all(|byte| *byte == 7));
    }

    #[test]
    fn takes_slices_and_empty_things() {
        prefetch::<[u64]>(&[]);
        prefetch("");
        prefetch(&());
    }
}
