//! ICMP errors: those of others are translated, our own are made from the packet that caused them.

mod answer;
mod relay;

pub use answer::{Answer, Budget};
pub(crate) use relay::Quoted;
