//! The manual pages and shell completions in `docs/` are made of the definitions that the programs use. This test holds
//! them to that, and writes them anew:
//!
//! ```text
//! SHUNT_WRITE=1 cargo test --test manual
//! ```

#[path = "../../src/arguments.rs"]
mod arguments;
mod configuration;
mod pages;

use clap_complete::Shell;
use std::path::Path;

/// Every file below `docs/`, and what stands in it.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("man/shuntadm.8".to_owned(), pages::shuntadm_page()),
        ("man/shuntd.8".to_owned(), pages::shuntd_page()),
        ("man/shuntd.toml.5".to_owned(), configuration::page()),
    ];
    for (name, command) in [("shuntadm", pages::shuntadm()), ("shuntd", pages::shuntd())] {
        for (shell, file) in [
            (Shell::Bash, format!("completions/bash/{name}")),
            (Shell::Zsh, format!("completions/zsh/_{name}")),
            (Shell::Fish, format!("completions/fish/{name}.fish")),
        ] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), name, &mut text);
            files.push((file, text));
        }
    }
    files
}

#[test]
fn manual_pages_and_completions_are_current() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut stale = Vec::new();
    for (name, text) in files() {
        let path = docs.join(&name);
        if std::env::var_os("SHUNT_WRITE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            std::fs::write(&path, &text).expect("it can be written");
        } else if std::fs::read(&path).ok().as_ref() != Some(&text) {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "not current: {stale:?}; run SHUNT_WRITE=1 cargo test --test manual");
}
