//! What there is to say of the command line, from the tables that answer it: for manual pages and completions.

pub use crate::ipvsadm::manual::{OptionText, options, usage};

/// A command that ipvsadm does not have.
#[derive(Clone, Copy, Debug)]
pub struct CommandText {
    /// Its name.
    pub name: &'static str,
    /// What follows it, as usage shows it.
    pub arguments: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All commands that ipvsadm does not have.
#[must_use]
pub fn commands() -> Vec<CommandText> {
    crate::commands::texts().map(|(name, arguments, help)| CommandText { name, arguments, help }).collect()
}
