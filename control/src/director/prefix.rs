//! Prefixes as people write them: `10.0.0.0/24`, or an address, which is a prefix of its whole length.

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// The prefix that a word stands for.
pub(super) fn parse(word: &str) -> Option<IpNet> {
    word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from))
}

/// For a key of the configuration.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
    let word = String::deserialize(from)?;
    parse(&word)
        .ok_or_else(|| Error::custom(format!("`{word}': write a prefix like \"10.0.0.0/24\", or an address")))
}

/// For one that may be left out.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpNet>, D::Error> {
    deserialize(from).map(Some)
}
