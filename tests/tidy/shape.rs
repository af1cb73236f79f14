//! Rules about the shape of files.

use crate::source::{Finding, Source};

/// The most lines that a file may have, its tests included: nobody reads a longer one from top to bottom.
const MAX_LINES: usize = 500;

/// Kinds of file that people write by hand and read as a whole.
const COUNTED: [&str; 6] = [".rs", ".wit", ".py", ".js", ".c", ".wat"];

/// What a statement of a `mod.rs` may begin with.
const MOD_STATEMENTS: [&str; 7] = [
    "mod ",
    "pub mod ",
    "pub(crate) mod ",
    "use ",
    "pub use ",
    "pub(crate) use ",
    "pub(super) use ",
];

/// No file is longer than [`MAX_LINES`].
pub(crate) fn lengths(sources: &[Source]) -> Vec<Finding> {
    let counted = sources.iter().filter(|s| COUNTED.iter().any(|end| s.path.ends_with(end)));
    let long = counted.filter_map(|source| {
        let lines = source.text.lines().count();
        let what = || format!("found {lines} lines, expected at most {MAX_LINES}");
        (lines > MAX_LINES).then(|| source.finding(lines, what()))
    });
    long.collect()
}

/// A `mod.rs` in `src/` holds documentation, `mod` and `use`, and nothing else.
pub(crate) fn mod_files(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_mod = |s: &&Source| s.is_in(&["src/"]) && s.path.ends_with("/mod.rs");
    for source in sources.iter().filter(is_mod) {
        if !source.text.starts_with("//!") {
            findings.push(source.finding(1, "expected documentation of the module"));
        }
        let code = source.code();
        let mut line = 1;
        for statement in code.split(';') {
            let bare = without_attributes(statement.trim());
            let fine = bare.is_empty() || MOD_STATEMENTS.iter().any(|s| bare.starts_with(s));
            if !fine || (bare.contains('{') && !bare.contains("use ")) {
                let leading = statement.len() - statement.trim_start().len();
                let at = line + statement[..leading].matches('\n').count();
                let found = bare.lines().next().unwrap_or_default();
                let expected = "expected only documentation, `mod` and `use`";
                findings.push(source.finding(at, format!("found `{found}`, {expected}")));
            }
            line += statement.matches('\n').count();
        }
    }
    findings
}

fn without_attributes(statement: &str) -> &str {
    let mut rest = statement;
    while let Some(after) = rest.strip_prefix("#[").or_else(|| rest.strip_prefix("#![")) {
        rest = after.split_once(']').map_or("", |(_, rest)| rest).trim_start();
    }
    rest
}

#[test]
fn a_long_file_is_found() {
    let fine = Source::new("src/a.rs", &"x\n".repeat(MAX_LINES));
    let long = Source::new("src/b.rs", &"x\n".repeat(MAX_LINES + 1));
    let data = Source::new("tests/c.json", &"x\n".repeat(MAX_LINES + 1));
    let found: Vec<String> = lengths(&[fine, long, data]).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["src/b.rs:501: found 501 lines, expected at most 500"]);
}

#[test]
fn code_in_a_mod_file_is_found() {
    let good = "//! A.\n\nmod a;\n#[cfg(unix)]\nmod b;\n\npub use a::{B, C};\n";
    assert_eq!(mod_files(&[Source::new("src/a/mod.rs", good)]), []);
    for bad in [
        "//! A.\nmod a;\nfn b() {}\n",
        "//! A.\n#[cfg(test)]\nmod tests { fn a() {} }\n",
        "//! A.\nconst A: u8 = 1;\n",
        "mod a;\n",
    ] {
        assert_eq!(mod_files(&[Source::new("src/a/mod.rs", bad)]).len(), 1, "{bad}");
    }
    let found = mod_files(&[Source::new("src/a/mod.rs", "//! A.\nmod a;\n\nfn b() {}\n")]);
    let expected =
        "src/a/mod.rs:4: found `fn b() {}`, expected only documentation, `mod` and `use`";
    assert_eq!(found[0].to_string(), expected);
}
