//! What the fuzz targets share. The targets are the tests of this crate: `cargo test` replays their committed corpora and
//! tries some random inputs; `scripts/fuzz TARGET SECONDS` lets libFuzzer search.
#![forbid(unsafe_code)]

// Unused here, but under a fuzzer no test program of this crate links without it.
#[cfg(test)]
use bolero as _;

pub mod director;
pub mod records;
pub mod simulation;
pub mod traffic;
