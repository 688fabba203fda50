//! ICMP errors: those of others are translated, our own are made from the packet that caused them.

mod answer;
mod relay;
mod tunnelled;
mod tunnelled_v6;

pub use answer::{Answer, Budget};
pub(crate) use relay::{Quoted, marked};
pub(crate) use tunnelled::look_inside;
pub(crate) use tunnelled_v6::look_inside_v6;
