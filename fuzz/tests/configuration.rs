//! Any text as a configuration file: taken or refused with a reason of one line or more, never a panic.

use shunt_control::config::Config;

#[test]
fn configuration() {
    bolero::check!().with_type::<String>().for_each(|text| match Config::parse("fuzz.toml", text) {
        Ok(config) => assert!(!config.summary().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}
