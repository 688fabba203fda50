//! Comparing eight numbers at once.

/// Which of the lanes are equal to `value`: bit 0 stands for the first lane. Without a branch, so that a caller whose
/// data cannot be predicted pays no misprediction.
///
/// On x86_64 these are four instructions of SSE2, which every such processor has; compilers do not find them.
#[inline(always)]
#[must_use]
pub fn equal_lanes(lanes: &[u16; 8], value: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of every x86_64 target.
        unsafe { with_sse2(lanes, value) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        lanes.iter().enumerate().fold(0, |bits, (lane, &other)| bits | u32::from(other == value) << lane)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn with_sse2(lanes: &[u16; 8], value: u16) -> u32 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    // SAFETY: the reference is to 16 bytes, and this load asks for no alignment.
    let lanes = unsafe { _mm_loadu_si128(core::ptr::from_ref(lanes).cast()) };
    let equal = _mm_cmpeq_epi16(lanes, _mm_set1_epi16(value as i16));
    _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
}

/// The same for numbers of 32 bits.
#[inline(always)]
#[must_use]
pub fn equal_wide_lanes(lanes: &[u32; 8], value: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of every x86_64 target.
        unsafe { wide_with_sse2(lanes, value) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        lanes.iter().enumerate().fold(0, |bits, (lane, &other)| bits | u32::from(other == value) << lane)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn wide_with_sse2(lanes: &[u32; 8], value: u32) -> u32 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
        _mm_set1_epi32, _mm_setzero_si128,
    };
    let (low, high) = lanes.split_at(4);
    // SAFETY: the reference is to 16 bytes, and this load asks for no alignment.
    let low = unsafe { _mm_loadu_si128(low.as_ptr().cast()) };
    // SAFETY: as above.
    let high = unsafe { _mm_loadu_si128(high.as_ptr().cast()) };
    let value = _mm_set1_epi32(value as i32);
    let equal = _mm_packs_epi32(_mm_cmpeq_epi32(low, value), _mm_cmpeq_epi32(high, value));
    _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
}

#[cfg(test)]
mod tests {
    use super::{equal_lanes, equal_wide_lanes};

    #[test]
    fn every_wide_lane_counts_once() {
        let lanes = [7, 0, 7, u32::MAX, 1 << 31, 0xffff, 0x0007_0007, 7];
        for value in [0, 7, 0xffff, 0x0007_0000, 0x0007_0007, 1 << 31, u32::MAX] {
            let expected = (0..8).filter(|&lane| lanes[lane] == value).map(|lane| 1 << lane).sum();
            assert_eq!(equal_wide_lanes(&lanes, value), expected, "{value:#x}");
        }
    }

    #[test]
    fn every_lane_counts_once() {
        let lanes = [7, 0, 7, 0xffff, 0x8000, 0x7fff, 1, 7];
        for value in [0, 1, 7, 8, 0x7fff, 0x8000, 0xffff] {
            let expected = (0..8).filter(|&lane| lanes[lane] == value).map(|lane| 1 << lane).sum();
            assert_eq!(equal_lanes(&lanes, value), expected, "{value:#x}");
        }
    }
}
