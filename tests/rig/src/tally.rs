//! Counts by name: answers per server, failures per reason.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Counts by name, listed in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts one more of `name`.
    pub fn count(&mut self, name: impl Into<String>) {
        self.add(name, 1);
    }

    /// Counts `more` of `name`.
    pub fn add(&mut self, name: impl Into<String>, more: u64) {
        *self.0.entry(name.into()).or_default() += more;
    }

    /// The count of `name`, 0 if it never came up.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The sum over all names.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many names came up.
    pub fn names(&self) -> usize {
        self.0.len()
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: Tally) {
        for (name, count) in other.0 {
            self.add(name, count);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (index, (name, count)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{name} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_merge_and_print_by_name() {
        let mut one = Tally::default();
        assert_eq!(one.to_string(), "none");
        one.count("s2");
        one.add("s1", 3);
        let mut two = Tally::default();
        two.count("s2");
        one.merge(two);
        assert_eq!((one.of("s2"), one.of("s9"), one.total(), one.names()), (2, 0, 5, 2));
        assert_eq!(one.to_string(), "s1 3, s2 2");
    }
}
