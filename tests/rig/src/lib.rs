//! What the end-to-end tests and the demonstration need besides shunt itself: HTTP and UDP clients that count what
//! they lose, a UDP echo, a tunnel end for real servers, a body that can be checked, and [`lab::Lab`], a network of
//! namespaces with a real shuntd in the middle. It shares no code with shunt: it must not make the same mistakes.
#![forbid(unsafe_code)]

pub mod body;
pub mod decap;
pub mod http;
pub mod kernel;
pub mod lab;
pub mod ledger;
pub mod namespace;
pub mod pieces;
pub mod tally;
pub mod transcript;
pub mod udp;
