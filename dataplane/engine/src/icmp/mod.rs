//! ICMP errors: those of others are translated, our own are made from the packet that caused them.

mod answer;
mod relay;
mod tunnelled;

pub use answer::{Answer, Budget};
pub(crate) use relay::Quoted;
pub(crate) use tunnelled::look_inside;
