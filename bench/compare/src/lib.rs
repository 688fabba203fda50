//! What the generator and the one who drives it share: the orders that pass between them, and the flows that both know.
#![forbid(unsafe_code)]

pub mod flows;
pub mod orders;
pub mod stream;
