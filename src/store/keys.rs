//! Keys: how they sort, and how the cursors of lists are read. All back ends use the same, so that their lists
//! agree.

use semver::Version;

use super::contract::{MAX_PAGE, Result};
use super::documents::Page;
use super::error::StoreError;
use replibook_core::run::{Digest, RunId};

/// How many documents a page has at most, if `limit` are asked for.
pub(super) fn page_limit(limit: u32) -> u32 {
    limit.min(MAX_PAGE)
}

/// The cursor in a list of playbooks: `name@version`.
pub(super) fn playbook_cursor(page: &Page) -> Result<Option<(&str, Version)>> {
    let expected = "NAME@VERSION with a semantic version";
    cursor(page, expected, |text| {
        let (name, version) = text.rsplit_once('@')?;
        Some((name, Version::parse(version).ok()?))
    })
}

/// The cursor in a list of runs: the identifier of a run.
pub(super) fn run_cursor(page: &Page) -> Result<Option<RunId>> {
    cursor(page, "the identifier of a run, a UUID", |text| text.parse().ok())
}

/// The cursor in a list of plugins: a digest.
pub(super) fn plugin_cursor(page: &Page) -> Result<Option<Digest>> {
    let expected = "the digest of a plugin: \"sha256:\" and 64 lowercase hex digits";
    cursor(page, expected, |text| text.parse().ok())
}

fn cursor<'a, T>(
    page: &'a Page,
    expected: &'static str,
    read: impl Fn(&'a str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(text) = &page.after else { return Ok(None) };
    match read(text) {
        Some(key) => Ok(Some(key)),
        None => Err(StoreError::BadCursor { found: text.clone(), expected }),
    }
}

/// Ends an identifier within a version. Sorts before every character that an identifier may contain.
const END: char = '!';
/// Stands for "no further identifier". Sorts before [`NUMBER`] and [`WORD`].
const NONE: char = ' ';
/// Precedes an identifier that consists of digits.
const NUMBER: char = '0';
/// Precedes any other identifier. Sorts after [`NUMBER`].
const WORD: char = '1';
/// Stands for "no pre-release". Sorts after all others, because a release follows its pre-releases.
const RELEASE: char = '~';

/// A text that sorts, byte by byte, like the version, so that databases can order by it. Different versions have
/// different texts.
pub(super) fn version_key(version: &Version) -> String {
    let Version { major, minor, patch, pre, build } = version;
    let mut key = format!("{major:020}{minor:020}{patch:020}");
    if pre.is_empty() {
        key.push(RELEASE);
    } else {
        identifiers(&mut key, pre.as_str());
    }
    identifiers(&mut key, build.as_str());
    key
}

fn identifiers(key: &mut String, text: &str) {
    for identifier in text.split('.').filter(|identifier| !identifier.is_empty()) {
        if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            // Numbers may have any length and, in build metadata, leading zeros. They sort by value, then by
            // length.
            let digits = identifier.trim_start_matches('0');
            key.push(NUMBER);
            key.push_str(&format!("{:010}{digits}{:010}", digits.len(), identifier.len()));
        } else {
            key.push(WORD);
            key.push_str(identifier);
        }
        key.push(END);
    }
    key.push(NONE);
}

/// The version with this key. None if the text is not the key of a version.
pub(super) fn version_of_key(key: &str) -> Option<Version> {
    let (core, rest) = (key.get(..60)?, key.get(60..)?);
    let number = |from: usize| core.get(from..from + 20)?.parse().ok();
    let mut version = Version::new(number(0)?, number(20)?, number(40)?);
    let mut rest = rest;
    match rest.strip_prefix(RELEASE) {
        Some(build) => rest = build,
        None => version.pre = take_identifiers(&mut rest)?.parse().ok()?,
    }
    version.build = take_identifiers(&mut rest)?.parse().ok()?;
    rest.is_empty().then_some(version)
}

fn take_identifiers(key: &mut &str) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        if let Some(rest) = key.strip_prefix(NONE) {
            *key = rest;
            return Some(found.join("."));
        }
        let (identifier, rest) = key.split_once(END)?;
        *key = rest;
        if let Some(word) = identifier.strip_prefix(WORD) {
            found.push(word.to_owned());
            continue;
        }
        let number = identifier.strip_prefix(NUMBER)?;
        let digits = number.get(10..number.len().checked_sub(10)?)?;
        let length: usize = number.get(number.len() - 10..)?.parse().ok()?;
        found.push(format!("{}{digits}", "0".repeat(length.checked_sub(digits.len())?)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        let number = prop_oneof![0..3_u64, 8..12_u64, Just(u64::MAX)];
        let identifier = prop_oneof!["[0-9a-b-]{1,3}", "(0|[1-9][0-9]{0,2})"];
        let list = prop::collection::vec(identifier, 0..3);
        (number.clone(), number.clone(), number, list.clone(), list).prop_map(
            |(major, minor, patch, pre, build)| {
                let mut version = Version::new(major, minor, patch);
                version.pre = pre.join(".").parse().unwrap_or_default();
                version.build = build.join(".").parse().unwrap_or_default();
                version
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn keys_sort_as_versions_do(a in version(), b in version()) {
            prop_assert_eq!(a.cmp(&b), version_key(&a).cmp(&version_key(&b)), "{} {}", a, b);
            prop_assert_eq!(version_of_key(&version_key(&a)), Some(a));
        }

        #[test]
        fn any_text_is_looked_at_as_a_key_without_a_panic(text in "([0-9]{60})?[0-9~ !aé.]{0,40}") {
            drop(version_of_key(&text));
        }
    }

    #[test]
    fn cursors_that_are_none_are_refused_with_what_is_expected() {
        let page = |text: &str| Page { after: Some(text.to_owned()), limit: 1 };
        let at = page("team/restart@1.2.3-rc.1");
        let (name, version) = playbook_cursor(&at).unwrap().unwrap();
        assert_eq!((name, version.to_string().as_str()), ("team/restart", "1.2.3-rc.1"));
        assert!(playbook_cursor(&Page::default()).unwrap().is_none());
        for error in [
            playbook_cursor(&page("restart")).unwrap_err().to_string(),
            playbook_cursor(&page("restart@one")).unwrap_err().to_string(),
            run_cursor(&page("7")).unwrap_err().to_string(),
            plugin_cursor(&page("sha256:0")).unwrap_err().to_string(),
        ] {
            assert!(error.contains("expected "), "{error}");
        }
    }
}
