//! The files of servers by which engines go, and which of them are not the same on all engines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire_engines::{EngineState, EngineView};
use crate::run::Digest;

/// How many contents of a file, and how many engines with each of them, are named.
const NAMED: usize = 10;

/// A file that is not the same on all engines that share the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDiffers {
    /// What the file is: `policy`, `access`, `credentials` or `secrets`.
    pub file: String,
    /// How many different contents there are.
    pub distinct: usize,
    /// The contents, the one that most engines have first; at most ten.
    pub contents: Vec<FileContent>,
}

/// A content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileContent {
    /// Digest of the content; null for engines without such a file.
    pub digest: Option<Digest>,
    /// How many engines go by it.
    pub count: usize,
    /// The names of these engines, at most ten.
    pub engines: Vec<String>,
}

impl FileDiffers {
    /// The files that are not the same on these engines. Those that are silent are gone, and those that say nothing of a file
    /// are of a version that does not know it: neither counts.
    pub fn among(engines: &[EngineView]) -> Vec<Self> {
        let there = || engines.iter().filter(|engine| engine.state != EngineState::Silent);
        let files: BTreeSet<&String> = there().flat_map(|engine| engine.files.keys()).collect();
        let each = files.into_iter().filter_map(|file| {
            let mut found: BTreeMap<&Option<Digest>, Vec<&str>> = BTreeMap::new();
            for engine in there() {
                if let Some(digest) = engine.files.get(file) {
                    found.entry(digest).or_default().push(&engine.name);
                }
            }
            let distinct = found.len();
            let differs = || Self { file: file.clone(), distinct, contents: contents(found) };
            (distinct > 1).then(differs)
        });
        each.collect()
    }
}

fn contents(found: BTreeMap<&Option<Digest>, Vec<&str>>) -> Vec<FileContent> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, engines)| Reverse(engines.len()));
    let each = found.into_iter().take(NAMED).map(|(digest, mut engines)| {
        engines.sort_unstable();
        let named = engines.iter().take(NAMED).map(|name| (*name).to_owned());
        FileContent { digest: digest.clone(), count: engines.len(), engines: named.collect() }
    });
    each.collect()
}

impl fmt::Display for FileDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engines do not have the same {}: ", self.file)?;
        for (index, FileContent { digest, count, engines }) in self.contents.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let digest = digest.as_ref().map(|digest| format!("sha256:{}…", digest.short()));
            let digest = digest.unwrap_or_else(|| "none".to_owned());
            write!(f, "{separator}{digest} on {}", engines.join(", "))?;
            if let Some(more) = count.checked_sub(engines.len()).filter(|more| *more > 0) {
                write!(f, " and {more} more")?;
            }
        }
        match self.distinct.saturating_sub(self.contents.len()) {
            0 => Ok(()),
            others => write!(f, "; and {others} other contents"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::samples::report;
    use crate::run::Timestamp;
    use crate::store::{Engine, POLICY_FILE};

    /// An engine that goes by this policy; with `None` it says nothing of it.
    fn engine(name: &str, policy: Option<Option<&str>>) -> EngineView {
        let mut report = report(name, 0, 1);
        if let Some(policy) = policy {
            let digest = policy.map(|text| Digest::of(text.as_bytes()));
            report.files.insert(POLICY_FILE.to_owned(), digest);
        }
        let seen = Timestamp::default();
        super::super::engines::view(Engine { report, seen, draining: None }, seen)
    }

    #[test]
    fn files_differ_where_engines_that_are_there_say_so() {
        let (one, other) = (Some(Some("one")), Some(Some("other")));
        for same in [
            vec![],
            vec![engine("a", one), engine("b", one), engine("c", None)],
            vec![engine("a", Some(None)), engine("b", Some(None))],
            vec![engine("a", one), EngineView { state: EngineState::Silent, ..engine("b", other) }],
        ] {
            assert_eq!(FileDiffers::among(&same), []);
        }
        let engines =
            [engine("c", one), engine("a", other), engine("b", one), engine("d", Some(None))];
        let [differs] = FileDiffers::among(&engines).try_into().unwrap();
        let short = |text: &str| Digest::of(text.as_bytes()).short().to_owned();
        let (one, other) = (short("one"), short("other"));
        let said = differs.to_string();
        assert!(said.starts_with("engines do not have the same policy: "), "{said}");
        assert!(said.contains(&format!("same policy: sha256:{one}… on b, c; ")), "{said}");
        assert!(said.contains(&format!("sha256:{other}… on a")), "{said}");
        assert!(said.contains("none on d"), "{said}");
        assert!(!said.contains("other contents"), "{said}");
        assert_eq!((differs.distinct, differs.contents[0].count), (3, 2));
    }

    #[test]
    fn of_many_engines_some_are_named() {
        let mut engines: Vec<_> =
            (0..25).map(|n| engine(&format!("e{n:02}"), Some(Some("most")))).collect();
        for n in 0..25 {
            let text = format!("own {n}");
            engines.push(engine("own", Some(Some(text.as_str()))));
        }
        let [differs] = FileDiffers::among(&engines).try_into().unwrap();
        assert_eq!((differs.distinct, differs.contents.len()), (26, NAMED));
        let most = &differs.contents[0];
        assert_eq!((most.count, most.engines.len()), (25, NAMED));
        let said = differs.to_string();
        assert!(said.contains("e09 and 15 more; "), "{said}");
        assert!(said.ends_with(" on own; and 16 other contents"), "{said}");
    }
}
