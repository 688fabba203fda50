//! SipHash-1-3 of one 32-bit word (Aumasson, Bernstein 2012), as the kernel's `hsiphash` computes it on 64-bit machines.

/// The low 32 bits of the hash of `word` (taken as four little-endian bytes), both halves of the key being `key`.
pub fn siphash13(word: u32, key: u64) -> u32 {
    let mut v = [
        0x736f_6d65_7073_6575 ^ key,
        0x646f_7261_6e64_6f6d ^ key,
        0x6c79_6765_6e65_7261 ^ key,
        0x7465_6462_7974_6573 ^ key,
    ];
    // The one and last block: the four bytes, and their number in the highest byte.
    let block = 4 << 56 | u64::from(word);
    v[3] ^= block;
    round(&mut v);
    v[0] ^= block;
    v[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut v);
    }
    (v[0] ^ v[1] ^ v[2] ^ v[3]) as u32
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        // spec `scheduling.md` §11
        assert_eq!(siphash13(0, 2_654_435_761), 0x1d5a_77c2);
        assert_eq!(siphash13(1, 2_654_435_761), 0x16ec_66b2);
        assert_eq!(siphash13(0xc0a8_0001, 2_654_435_761), 0x8334_668e);
        assert_eq!(siphash13(0, 2_654_446_892), 0xf882_433f);
    }
}
