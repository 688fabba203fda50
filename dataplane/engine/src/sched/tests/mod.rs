//! Tests over all schedulers.

mod director;
mod edits;
mod examples;
mod hashing;
mod localities;
mod properties;
mod recordings;
mod tournaments;
