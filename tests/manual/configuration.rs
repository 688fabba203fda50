//! shuntd.toml(5), from the commented configuration that a test of control keeps complete.

use std::fmt::Write;

const REFERENCE: &str = include_str!("../../configs/reference.toml");

pub fn page() -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH shuntd.toml 5 \"\" \"shunt {version}\" shunt\n.SH NAME\nshuntd.toml \\- the configuration of shuntd\n\
         .SH DESCRIPTION\n"
    );
    let mut comment: Vec<&str> = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if line.starts_with('[') {
            let _ = writeln!(page, ".SH {}", quoted(line));
            paragraph(&mut page, &mut comment);
        } else if line.contains(" = ") {
            let _ = writeln!(page, ".TP\n\\fB{}\\fR", quoted(line));
            paragraph(&mut page, &mut comment);
        } else if !comment.is_empty() {
            paragraph(&mut page, &mut comment);
            page += ".PP\n";
        }
    }
    page += ".SH SEE ALSO\n.BR shuntd (8),\n.BR shuntadm (8)\n";
    page.into_bytes()
}

/// Writes the gathered comment: running text, but lines that are set in are examples.
fn paragraph(page: &mut String, comment: &mut Vec<&str>) {
    for line in comment.drain(..) {
        match line.strip_prefix("  ") {
            _ if line.is_empty() => *page += ".PP\n",
            Some(example) => {
                let _ = writeln!(page, ".br\n{}\n.br", quoted(example.trim_start()));
            }
            None => {
                let _ = writeln!(page, "{}", quoted(line));
            }
        }
    }
}

/// So that troff takes it for text.
pub fn quoted(line: &str) -> String {
    let mut text = String::new();
    for character in line.chars() {
        match character {
            '\\' => text += "\\e",
            '-' => text += "\\-",
            ascii if ascii.is_ascii() => text.push(ascii),
            other => {
                let _ = write!(text, "\\[u{:04X}]", u32::from(other));
            }
        }
    }
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
