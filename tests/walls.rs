//! The walls of the architecture (`docs/ARCHITECTURE.md`): which crate may see which, and what may stand in the sources.
//!
//! Dependencies are read from `cargo metadata`, sources as tokens, so that comments and strings do not count. A wall that
//! is in the way is moved here, with a reason, or not at all.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders whose code may be unsafe. Only `dataplane/dpdk` talks to `dpdk-sys`; `dataplane/hint` is prefetches, huge
/// pages and comparisons of eight at once.
const FENCE: [&str; 3] = ["dpdk-sys/", "dataplane/dpdk/", "dataplane/hint/"];

/// The pure core: functions of packets, tables and time.
const CORE: [&str; 2] = ["dataplane/engine/src/", "dataplane/wire/src/"];

/// Modules of `std` that the core must not name: the world is not its business.
const WORLDLY_MODULES: [&str; 5] = ["env", "fs", "os", "process", "thread"];

/// Names that the core must not use: clocks, logging, output.
const WORLDLY_NAMES: [&str; 9] =
    ["Instant", "SystemTime", "File", "tracing", "println", "eprintln", "print", "eprint", "dbg"];

/// Locks, which no packet of a known connection may meet.
const LOCKS: [&str; 4] = ["Mutex", "RwLock", "Condvar", "Barrier"];

/// Where the core may lock: what holds for all workers. Persistence templates, for which a *new* connection of a persistent
/// service pays; and data connections that FTP announced, with their control connections, for which FTP's commands pay, and
/// new connections while one is due.
const MAY_LOCK: [&str; 3] = [
    "dataplane/engine/src/persist/mod.rs",
    "dataplane/engine/src/ftp/expected.rs",
    "dataplane/engine/src/ftp/named.rs",
];

/// Left behind by unfinished work.
const UNFINISHED: [&str; 2] = ["todo", "unimplemented"];

/// Longest source file, lines. A file is one noun; a longer one is two.
const LINES_MAX: usize = 600;

/// A member of the workspace.
struct Member {
    /// Folder below the root, with a `/` at its end; empty for the root package.
    folder: String,
    /// Names of what it is built from, of all packages.
    dependencies: BTreeSet<String>,
    /// What its tests and examples need besides.
    dev_dependencies: BTreeSet<String>,
}

/// The workspace as cargo sees it.
fn members() -> BTreeMap<String, Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(|package| (text(&package["name"]), member(package))).collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn member(package: &serde_json::Value) -> Member {
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let folder =
        manifest.parent().and_then(|folder| folder.strip_prefix(ROOT).ok()).expect("a folder of ours");
    let folder = folder.join("").to_string_lossy().into_owned();
    let (mut dependencies, mut dev_dependencies) = (BTreeSet::new(), BTreeSet::new());
    for dependency in package["dependencies"].as_array().expect("dependencies") {
        let is_dev = dependency["kind"] == "dev";
        if is_dev { &mut dev_dependencies } else { &mut dependencies }.insert(text(&dependency["name"]));
    }
    Member { folder, dependencies, dev_dependencies }
}

/// Members of the workspace that `start` and its tests are built from, through any number of steps.
fn reach(members: &BTreeMap<String, Member>, start: &str) -> BTreeSet<String> {
    let first = &members[start];
    let mut found = BTreeSet::new();
    let mut ahead: Vec<_> = first.dependencies.iter().chain(&first.dev_dependencies).collect();
    while let Some(name) = ahead.pop() {
        if let Some(member) = members.get(name)
            && found.insert(name.clone())
        {
            ahead.extend(&member.dependencies);
        }
    }
    found
}

#[track_caller]
fn assert_unseen(members: &BTreeMap<String, Member>, from: &str, unseen: &[&str]) {
    let reached = reach(members, from);
    for name in unseen {
        assert!(members.contains_key(*name), "{name} has another name now: this wall checks nothing");
        assert!(!reached.contains(*name), "{from} must not depend on {name}, directly or not");
    }
}

/// The search for dependencies itself: it goes through more than one step.
#[test]
fn the_worker_sees_dpdk() {
    let members = members();
    assert!(!members["shunt-worker"].dependencies.contains("dpdk-sys"));
    assert!(reach(&members, "shunt-worker").contains("dpdk-sys"));
}

#[test]
fn control_does_not_see_dpdk() {
    assert_unseen(&members(), "shunt-control", &["dpdk-sys", "shunt-dpdk", "shunt-worker"]);
}

#[test]
fn the_data_plane_does_not_see_control() {
    let members = members();
    let below = |member: &Member| member.folder.starts_with("dataplane/") || member.folder == "dpdk-sys/";
    let dataplane: Vec<_> =
        members.iter().filter(|(_, member)| below(member)).map(|(name, _)| name).collect();
    assert!(dataplane.len() >= 7, "the data plane lies elsewhere now: {dataplane:?}");
    for name in dataplane {
        assert_unseen(&members, name, &["shunt-control"]);
    }
}

#[test]
fn the_core_does_not_see_dpdk() {
    let members = members();
    for name in ["shunt-wire", "shunt-engine", "shunt-publish", "shunt-hint"] {
        assert_unseen(&members, name, &["dpdk-sys", "shunt-dpdk", "shunt-worker"]);
    }
}

#[test]
fn only_the_fence_calls_dpdk() {
    for (name, member) in members() {
        let calls = member.dependencies.contains("dpdk-sys") || member.dev_dependencies.contains("dpdk-sys");
        assert!(!calls || name == "shunt-dpdk", "{name} must use shunt-dpdk, not dpdk-sys");
    }
}

#[test]
fn the_core_needs_no_runtime() {
    let members = members();
    for name in ["shunt-wire", "shunt-engine", "shunt-publish", "shunt-hint"] {
        for unwanted in ["tokio", "mio", "tracing", "log", "libc", "rustix", "nix"] {
            // Huge pages are asked of the kernel, once per table.
            let allowed = name == "shunt-hint" && unwanted == "rustix";
            let found = members[name].dependencies.contains(unwanted);
            assert!(allowed || !found, "{name} must not depend on {unwanted}");
        }
    }
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for (name, member) in members() {
        let manifest = fs::read_to_string(Path::new(ROOT).join(member.folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not inherit [workspace.lints]");
    }
}

/// A source file.
struct Source {
    /// Below the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// Is all of it test code: an integration test, or a module of unit tests with its own file?
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// Is it the root of a library or program?
    fn is_crate_root(&self) -> bool {
        let parts: Vec<_> = self.path.rsplit('/').collect();
        matches!(parts[..], ["lib.rs" | "main.rs", "src", ..] | [_, "bin", "src", ..])
    }

    fn tokens(&self) -> Vec<Token> {
        let stream: TokenStream = self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        tokens
    }
}

/// All Rust sources of the workspace.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(".rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    assert!(sources.len() > 50, "the sources lie elsewhere now");
    sources
}

/// A name, sign or bracket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Lays token trees out in a row, without items that are compiled for tests only.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if is_sign(&tree, '#') {
            let inner = trees.next_if(|next| is_sign(next, '!')).is_some();
            if trees.peek().is_some_and(is_cfg_test) {
                // An inner attribute rules the rest of the file or module; an outer one the next item.
                trees.by_ref().find(|tree| !inner && ends_item(tree));
                continue;
            }
        }
        let line = tree.span().start().line;
        let mut push = |text: String| tokens.push(Token { text, line });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned());
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line });
            }
            // Text in quotes is not code.
            TokenTree::Literal(_) => push("\"\"".to_owned()),
            TokenTree::Ident(_) | TokenTree::Punct(_) => push(tree.to_string()),
        }
    }
}

fn is_sign(tree: &TokenTree, sign: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn ends_item(tree: &TokenTree) -> bool {
    is_sign(tree, ';') || matches!(tree, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Is this the bracketed part of `#[cfg(test)]` or `#[cfg(all(test, …))]`?
fn is_cfg_test(tree: &TokenTree) -> bool {
    let text: String = tree.to_string().split_whitespace().collect();
    text.starts_with("[cfg(test") || text.starts_with("[cfg(all(test")
}

/// The first steps of all paths below `std`, also those in braces: `std::{fs, thread}` gives `fs` and `thread`.
fn std_modules(tokens: &[Token]) -> Vec<&Token> {
    let mut modules = Vec::new();
    for start in 0..tokens.len() {
        let is = |step: usize, text: &str| tokens.get(start + step).is_some_and(|token| token.text == text);
        if !(is(0, "std") && is(1, ":") && is(2, ":")) {
            continue;
        }
        let Some(first) = tokens.get(start + 3) else { continue };
        if first.text != "{" {
            modules.push(first);
            continue;
        }
        let mut depth = 0;
        for pair in tokens[start + 3..].windows(2) {
            depth += i32::from(pair[0].text == "{") - i32::from(pair[0].text == "}");
            if depth == 0 {
                break;
            }
            if depth == 1 && (pair[0].text == "{" || pair[0].text == ",") {
                modules.push(&pair[1]);
            }
        }
    }
    modules
}

/// `path:line: name` for each of `names` that the code of this source uses.
fn uses(source: &Source, names: &[&str]) -> Vec<String> {
    let tokens = source.tokens();
    let found = tokens.iter().filter(|token| names.contains(&token.text.as_str()));
    found.map(|token| format!("{}:{}: {}", source.path, token.line, token.text)).collect()
}

#[track_caller]
fn assert_none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

#[test]
fn unsafe_code_stands_behind_the_fence() {
    let outside: Vec<_> = sources().into_iter().filter(|source| !source.is_in(&FENCE)).collect();
    let findings = outside.iter().flat_map(|source| uses(source, &["unsafe"])).collect();
    assert_none(findings, "unsafe code belongs into dpdk-sys, dataplane/dpdk or dataplane/hint");
    let open = |source: &&Source| source.is_crate_root() && !source.text.contains("#![forbid(unsafe_code)]");
    let findings = outside.iter().filter(open).map(|source| source.path.clone()).collect();
    assert_none(findings, "these crates must begin with #![forbid(unsafe_code)]");
}

#[test]
fn the_core_does_not_touch_the_world() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_in(&CORE) && !source.is_test()) {
        findings.extend(uses(source, &WORLDLY_NAMES));
        let tokens = source.tokens();
        let worldly =
            std_modules(&tokens).into_iter().filter(|token| WORLDLY_MODULES.contains(&token.text.as_str()));
        findings.extend(worldly.map(|token| format!("{}:{}: std::{}", source.path, token.line, token.text)));
    }
    assert_none(findings, "engine and wire read no clock, open no file, start no thread and log nothing");
}

#[test]
fn the_core_locks_in_known_places_only() {
    let locked = |source: &&Source| source.is_in(&CORE) && !source.is_test() && !source.is_in(&MAY_LOCK);
    let findings = sources().iter().filter(locked).flat_map(|source| uses(source, &LOCKS)).collect();
    assert_none(findings, "no lock on the packet path");
}

#[test]
fn nothing_is_unfinished() {
    let findings = sources().iter().flat_map(|source| uses(source, &UNFINISHED)).collect();
    assert_none(findings, "unfinished");
}

#[test]
fn files_are_short() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    };
    assert_none(sources().iter().filter_map(long).collect(), "more than one noun in a file");
}

#[test]
fn files_say_what_they_are() {
    let silent = |source: &&Source| !source.is_test() && !source.text.starts_with("//!");
    let findings = sources().iter().filter(silent).map(|source| source.path.clone()).collect();
    assert_none(findings, "a file begins with what it is, in a //! comment");
}

/// The scanner itself: it sees what counts, and nothing else.
#[test]
fn the_scanner_sees_code_only() {
    let source = |text: &str| Source { path: "x.rs".into(), text: text.into() };
    let quiet = source(
        r##"
        #![forbid(unsafe_code)]
        //! Mutex, unsafe, println!
        /// Instant
        fn f() -> &'static str { /* unsafe */ r#"unsafe { println!() }"# }
        #[cfg(test)]
        mod tests { use std::time::Instant; fn g() { println!() } }
        #[cfg(all(test, not(loom)))]
        use std::sync::Mutex;
        #[cfg(test)]
        fn h() -> [u8; 2] { unsafe { x() } }
        "##,
    );
    let names = ["unsafe", "println", "Instant", "Mutex"];
    assert_eq!(uses(&quiet, &names), Vec::<String>::new());
    let loud = source(
        "#[inline]\nfn f() {\n    println!();\n    unsafe { g() }\n}\n#[cfg(not(test))]\nuse a::Mutex;\n",
    );
    assert_eq!(uses(&loud, &names), ["x.rs:3: println", "x.rs:4: unsafe", "x.rs:7: Mutex"]);
    let paths = source("use std::{fs, io::{self, Read}, thread};\nfn f() { std::env::var(\"fs\") }");
    let tokens = paths.tokens();
    let modules: Vec<_> = std_modules(&tokens).into_iter().map(|token| token.text.as_str()).collect();
    assert_eq!(modules, ["fs", "io", "thread", "env"]);
}
