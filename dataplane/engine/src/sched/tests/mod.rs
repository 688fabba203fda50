//! Tests over all schedulers.

mod director;
mod recordings;
