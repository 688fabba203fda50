//! Any text as a configuration file: taken or refused with a reason of one line or more, never a panic.

use shunt_control::config::Config;

#[test]
fn configuration() {
    // Bytes, and not a `String` of bolero's: so the files of `configs/` are inputs as they are.
    bolero::check!().for_each(|bytes: &[u8]| {
        match Config::parse("fuzz.toml", &String::from_utf8_lossy(bytes)) {
            Ok(config) => assert!(!config.summary().is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
