//! A body of any size whose every byte depends on where it stands, so that a swapped, lost, doubled or damaged
//! segment changes the checksum.

use sha2::{Digest, Sha256};
use std::io::{self, Write};

const CHUNK_LEN: usize = 64 * 1024;

/// Writes `len` bytes made from `seed`, and returns their SHA-256 in hexadecimal.
///
/// # Errors
/// What `out` says.
pub fn write_body(out: &mut impl Write, len: u64, seed: u64) -> io::Result<String> {
    let mut state = seed | 1;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_LEN];
    let mut left = len;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            word.copy_from_slice(&next_word(&mut state).to_le_bytes());
        }
        let now = usize::try_from(left).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
        digest.update(&chunk[..now]);
        out.write_all(&chunk[..now])?;
        left -= now as u64;
    }
    Ok(hexadecimal(digest))
}

/// The digest as people write it.
pub fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// xorshift64* (Vigna 2014): fast, and no two chunks alike.
fn next_word(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_length_asked_for_and_its_checksum() {
        for len in [0, 1, 65_535, 65_536, 200_001] {
            let mut body = Vec::new();
            let checksum = write_body(&mut body, len, 7).unwrap();
            assert_eq!(body.len() as u64, len);
            let mut digest = Sha256::new();
            digest.update(&body);
            assert_eq!(checksum, hexadecimal(digest));
        }
    }

    #[test]
    fn another_seed_makes_another_body() {
        let checksum = |seed| write_body(&mut io::sink(), 1000, seed).unwrap();
        assert_eq!(checksum(3), checksum(3));
        assert_ne!(checksum(3), checksum(5));
    }
}
