//! Numbers of `--stats` and `--rate` (spec `cli.md` §12.5).

use std::io::{self, Write};

/// Writes a number into a column of 9, the separating blank included: scaled down, or in full.
pub(super) fn write_number(value: u64, exact: bool, out: &mut dyn Write) -> io::Result<()> {
    const MILLION: u64 = 1_000_000;
    if exact {
        // Nine digits and more keep one blank before them.
        return write!(out, " {value:>8}");
    }
    let (divisor, unit) = match value {
        0..100_000_000 => return write!(out, "{value:>9}"),
        100_000_000..1_000_000_000 => (1_000, 'K'),
        1_000_000_000..100_000_000_000 => (MILLION, 'M'),
        100_000_000_000..100_000_000_000_000 => (1_000 * MILLION, 'G'),
        _ => (MILLION * MILLION, 'T'),
    };
    write!(out, "{:>8}{unit}", value / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: u64, exact: bool) -> String {
        let mut out = Vec::new();
        write_number(value, exact, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn scaled_and_exact() {
        for (value, scaled, exact) in [
            (0, "        0", "        0"),
            (99_999_999, " 99999999", " 99999999"),
            (100_000_000, "  100000K", " 100000000"),
            (999_999_999, "  999999K", " 999999999"),
            (1_000_000_000, "    1000M", " 1000000000"),
            (99_999_999_999, "   99999M", " 99999999999"),
            (100_000_000_000, "     100G", " 100000000000"),
            (100_000_000_000_000, "     100T", " 100000000000000"),
        ] {
            assert_eq!(text(value, false), scaled);
            assert_eq!(text(value, true), exact);
        }
    }
}
