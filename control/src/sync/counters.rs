//! What the daemons have done, for operators.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($field:ident $help:literal,)*) => {
        /// Counters of both daemons, since shuntd was started.
        #[derive(Debug, Default)]
        pub struct SyncCounters {
            $(#[doc = $help] pub $field: AtomicU64,)*
        }

        impl SyncCounters {
            /// Name, value and meaning of each.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($field), self.$field.load(Relaxed), $help),)*]
            }
        }
    };
}

counters! {
    sync_sent_messages "datagrams sent",
    sync_sent_records "connections and templates in them",
    sync_discarded_messages "datagrams thrown away: more than sync_qlen_max waited, or the master was stopped",
    sync_send_errors "datagrams that the kernel refused to send",
    sync_received_messages "datagrams taken",
    sync_received_records "connections and templates in them",
    sync_malformed "datagrams refused: too short, or not as long as they say",
    sync_foreign "datagrams of another syncid",
    sync_broken "datagrams of which only the beginning was understood",
    sync_unusable "records refused: unknown protocols or options, states out of range",
    sync_created "entries made",
    sync_updated "entries changed",
    sync_ignored "records that changed nothing",
    sync_no_room "records for which the connection table had no room",
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
