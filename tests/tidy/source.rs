//! The files of the project, and views of Rust code: without comments, without tests.

use std::fmt;
use std::path::Path;

use crate::root::root;

/// Folders with files that were written by tools.
const NOT_OURS: [&str; 3] = ["target", "node_modules", "replibook-data"];

/// Names and extensions of the files that are read as text. Others are left alone.
const TEXT: [&str; 15] = [
    "rs", "wit", "wat", "md", "toml", "yaml", "yml", "json", "err", "py", "js", "c", "h", "sh",
    "Makefile",
];

/// A breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file of the project.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the project, with slashes.
    pub(crate) path: String,
    /// The content of the file.
    pub(crate) text: String,
    /// Whether the whole file is only for tests.
    for_tests: bool,
}

/// Every text file of the project.
pub(crate) fn project() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(root(), "", &mut sources);
    mark_test_modules(&mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn walk(folder: &Path, prefix: &str, into: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let hidden = name.starts_with('.') && name != ".ci";
        if entry.file_type().unwrap().is_dir() {
            if !hidden && !NOT_OURS.contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), into);
            }
        } else if TEXT.contains(&name.rsplit('.').next().unwrap()) || prefix == ".ci/" {
            // One of the golden documents is deliberately not UTF-8.
            let bytes = std::fs::read(entry.path()).unwrap();
            into.push(Source::new(&path, &String::from_utf8_lossy(&bytes)));
        }
    }
}

/// Marks the files of modules that are declared for tests only: `#[cfg(test)] mod name;`.
fn mark_test_modules(sources: &mut [Source]) {
    let mut modules = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let code = source.code();
        for after in code.split("#[cfg(test)]").skip(1) {
            let item = after.split(';').next().unwrap().trim();
            if let Some((_, name)) = item.split_once("mod ").filter(|_| !item.contains('{')) {
                modules.push(format!("{}{}", source.module_folder(), name.trim()));
            }
        }
    }
    for source in sources {
        let is = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.for_tests |= modules.iter().any(is);
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let for_tests = path.starts_with("tests/")
            || ["/tests/", "/tests.rs", "_tests.rs"].iter().any(|part| path.contains(part));
        Self { path: path.to_owned(), text: text.to_owned(), for_tests }
    }

    /// The folder of the modules that this file declares, with a slash at its end.
    fn module_folder(&self) -> String {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let own = ["mod", "lib", "main"].contains(&name);
        if own { format!("{folder}/") } else { format!("{stem}/") }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is in one of these folders.
    pub(crate) fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// The Rust code, with comments and the insides of literals blanked. Lines stay where they are.
    pub(crate) fn code(&self) -> String {
        blank_comments_and_literals(&self.text)
    }

    /// [`code`](Self::code) without the parts that are only for tests.
    pub(crate) fn shipped(&self) -> String {
        if self.for_tests { String::new() } else { blank_test_items(&self.code()) }
    }
}

/// The numbers of all lines that have `token` in them as whole words.
pub(crate) fn lines_with(code: &str, token: &str) -> Vec<usize> {
    let numbered = code.lines().zip(1..);
    numbered.filter(|(line, _)| has_token(line, token)).map(|(_, number)| number).collect()
}

fn has_token(line: &str, token: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(token).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_word);
        let after = line[at + token.len()..].chars().next().is_some_and(is_word);
        !(before && token.starts_with(is_word) || after && token.ends_with(is_word))
    })
}

/// Every path that the code imports, in full (`use a::{b, c::d}` is `a::b` and `a::c::d`), with its line.
/// Paths that are used in the code without an import are not included.
pub(crate) fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let starts_item =
            code[..at].trim_end_matches(' ').ends_with(['\n', '{', '}', ';', ')', 'b']);
        if at == 0 || starts_item {
            let line = code[..at].matches('\n').count() + 1;
            let statement = code[at + 4..].split(';').next().unwrap();
            let flat: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            flatten("", &flat, &mut |path| found.push((line, path)));
        }
    }
    found
}

fn flatten(prefix: &str, tree: &str, found: &mut impl FnMut(String)) {
    let (mut depth, mut start) = (0_i32, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(&tree[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((head, rest)) => {
                let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
                flatten(&format!("{prefix}{}", head.trim()), inside, found);
            }
            None => found(format!("{prefix}{part}")),
        }
    }
}

fn blank_comments_and_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (skip, keep) = next_piece(rest, out.chars().next_back());
        let (piece, after) = rest.split_at(skip);
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out
}

/// Length of the next piece of code, comment or literal, and whether it is code.
fn next_piece(rest: &str, before: Option<char>) -> (usize, bool) {
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let to = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), false)
    } else if rest.starts_with("/*") {
        (to("*/", 2), false)
    } else if let Some(hashes) = raw_string(rest).filter(|_| !in_word || before == Some('b')) {
        let end = format!("\"{}", "#".repeat(hashes));
        (to(&end, hashes + 2), false)
    } else if rest.starts_with('"') {
        (escaped(rest, '"'), false)
    } else if rest.starts_with("'\\") {
        (escaped(rest, '\''), false)
    } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        (rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at), false)
    } else {
        (first, true)
    }
}

/// The number of `#` of the raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let quoted = after.trim_start_matches('#');
    quoted.starts_with('"').then_some(after.len() - quoted.len())
}

/// Length of a literal between `quote`s in which a backslash takes the next character along.
fn escaped(rest: &str, quote: char) -> usize {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// Blanks each item that has the attribute `#[cfg(test)]`.
fn blank_test_items(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let mut depth = 0_i32;
        let mut end = out.len();
        for (offset, c) in out[at..].char_indices().skip("#[cfg(test)]".len()) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 && (c == '}' || c == ';') {
                end = at + offset + 1;
                break;
            }
        }
        let blank =
            out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect::<String>();
        out.replace_range(at..end, &blank);
    }
    out
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let text = "a // tokio\n/* rand\n */ b \"tok\\\"io\" c r#\"fs\"# 'x' '\\'' &'a str\n";
    let code = Source::new("a.rs", text).code();
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "&'a", "str"]);
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn items_for_tests_are_not_shipped() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)]\nuse d;\n";
    let shipped = Source::new("src/a.rs", text).shipped();
    assert_eq!(shipped.split_whitespace().collect::<String>(), "fna(){}fnc(){}");
    assert_eq!(Source::new("tests/a.rs", text).shipped(), "");
}

#[test]
fn modules_for_tests_are_not_shipped() {
    let folder = "mod b;\n#[cfg(test)]\nmod c;\n#[cfg(test)]\nmod d { mod b; }\n";
    let paths =
        ["src/a/mod.rs", "src/a/b.rs", "src/a/c.rs", "src/a/c/e.rs", "src/f.rs", "src/f/c.rs"];
    let mut sources: Vec<Source> = paths.iter().map(|path| Source::new(path, folder)).collect();
    mark_test_modules(&mut sources);
    let shipped: Vec<bool> = sources.iter().map(|source| !source.for_tests).collect();
    assert_eq!(shipped, [true, true, false, false, true, false]);
}

#[test]
fn imports_are_seen_in_full() {
    let code = "use std::{fs, time::{Duration, Instant as I}};\nfn because of() {}\npub use a;\n";
    let (lines, found): (Vec<usize>, Vec<String>) = imports(code).into_iter().unzip();
    assert_eq!(found, ["std::fs", "std::time::Duration", "std::time::Instant as I", "a"]);
    assert_eq!(lines, [1, 1, 1, 3]);
}

#[test]
fn tokens_are_whole_words() {
    assert!(has_token("x.await?", ".await") && has_token("a(rand::x)", "rand::"));
    assert!(!has_token("operand::x", "rand::") && !has_token("asynchronous", "async"));
}
