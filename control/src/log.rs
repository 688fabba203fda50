//! The log: lines on stderr, which the journal collects. Never on the packet path.

use crate::config::LogLevel;
use std::io::{self, IsTerminal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// The running log.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<LevelFilter, Registry>,
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

impl Log {
    /// Starts the log of this process. A second call has no effect.
    #[must_use]
    pub fn start(level: LogLevel) -> Log {
        let (layer, handle) = reload::Layer::new(filter(level));
        let lines =
            fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(layer);
        // The journal has a clock of its own.
        let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
            registry.with(lines.without_time()).try_init()
        } else {
            registry.with(lines).try_init()
        };
        Log { filter: handle }
    }

    /// Changes what is logged from now on.
    pub fn set_level(&self, level: LogLevel) {
        let _ = self.filter.reload(filter(level));
    }
}
