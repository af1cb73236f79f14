//! The rules for names, identifiers, addresses and origins. They are together because patterns of
//! schemas, checks and messages must say the same.

use url::{Host, Url};

use crate::ids::AgentId;
use crate::shown::is_unseen_in_name;

/// What a name looks like: a DNS label.
pub(super) const LABEL_PATTERN: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

/// [`LABEL_PATTERN`] as human-readable text.
pub(super) const LABEL_EXPECTED: &str =
    "lowercase letters, digits and dashes, at most 63, with no dash at either end";

/// What the name of a playbook looks like: a label, optionally with a label as prefix.
pub(super) const PLAYBOOK_NAME_PATTERN: &str =
    "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

/// [`PLAYBOOK_NAME_PATTERN`] as human-readable text.
pub(super) const PLAYBOOK_NAME_EXPECTED: &str = "lowercase letters, digits and dashes, at most 63, \
     with no dash at either end, perhaps after a prefix of that kind and a slash: team/name";

/// Whether `text` is a label, as [`LABEL_PATTERN`] says.
pub(super) fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = text.starts_with('-') || text.ends_with('-');
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !ends
}

/// What a pattern of names of playbooks may be, as human-readable text.
pub(super) const PLAYBOOKS_EXPECTED: &str =
    "the name of a playbook, or the beginning of one with a * at its end: lab/*";

/// Whether `text` can be the name of a playbook, or the beginning of one followed by `*`.
pub(super) fn is_playbook_pattern(text: &str) -> bool {
    let plain = text.strip_suffix('*').unwrap_or(text);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let parts: Vec<&str> = plain.split('/').collect();
    let is_whole = text == plain;
    let fits_part = |part: &&str| {
        part.len() <= 63
            && part.chars().all(fits)
            && !part.starts_with('-')
            && !(is_whole && (part.is_empty() || part.ends_with('-')))
    };
    // Only what is before the `*` may be unfinished.
    let first = parts.len() == 1 || !parts[0].is_empty() && !parts[0].ends_with('-');
    parts.len() <= 2 && first && parts.iter().all(fits_part)
}

/// What a pattern of names of clusters may be, as human-readable text.
pub(super) const CLUSTERS_EXPECTED: &str =
    "the name of a cluster, or the beginning of one with a * at its end: mongo-*";

/// Whether `text` can be the name of a cluster, or the beginning of one followed by `*`.
pub(super) fn is_cluster_pattern(text: &str) -> bool {
    !text.contains('/') && is_playbook_pattern(text)
}

/// The longest identifier of an agent and the longest kind of action, in characters. Both go into identifiers, log
/// lines and addresses of the API.
pub(super) const MAX_IDENTIFIER: usize = 256;

/// What an identifier of an agent or a kind of action may be, as human-readable text.
pub const IDENTIFIER_EXPECTED: &str = "1 to 256 visible characters, without white space";

/// The longest address of an agent, in bytes. Servers refuse longer ones.
const MAX_ADDRESS: usize = 2_048;

/// What the address of an agent may be, as human-readable text.
pub const ADDRESS_EXPECTED: &str =
    "http:// or https://, a host, perhaps a port and a path, and nothing else";

/// Whether `text` can be an identifier of an agent or a kind of action.
///
/// # Example
/// ```
/// use replibook_core::playbook::is_identifier;
///
/// assert!(is_identifier("node-1.eu/a"));
/// assert!(!is_identifier("node 1") && !is_identifier(""));
/// ```
pub fn is_identifier(text: &str) -> bool {
    let is_seen = !text.chars().any(is_unseen_in_name);
    is_seen && !text.is_empty() && text.chars().count() <= MAX_IDENTIFIER
}

/// What the identifier of an agent may be, as human-readable text.
pub(super) const AGENT_EXPECTED: &str = "1 to 256 visible characters, without white space, and not @run, which stands for the run itself";

/// Whether `text` can identify an agent: an identifier, but not what stands for the run itself.
pub fn is_agent_identifier(text: &str) -> bool {
    is_identifier(text) && text != AgentId::OF_RUN
}

/// Whether `text` can be a kind of action. A `*` is refused: in a grant it would stand for many kinds.
pub(super) fn is_action_kind(text: &str) -> bool {
    is_identifier(text) && !text.contains('*')
}

/// Whether `text` can be a pattern of kinds of action: a kind, the beginning of one followed by `*`, or `*` alone.
pub(super) fn is_action_pattern(text: &str) -> bool {
    text == "*" || is_action_kind(text.strip_suffix('*').unwrap_or(text))
}

/// Reads the base URL of an agent's API. All spellings of one address give the same text: that of the HTTP client
/// (host in lower case, IPv4 and IPv6 in their short forms, no default port, no `.` or `..` in the path), without
/// a dot at the end of the host and without a slash at the end of the path.
///
/// # Example
/// ```
/// use replibook_core::playbook::parse_address;
///
/// let address = parse_address("https://Node-1.example.com:443/agent/");
/// assert_eq!(address.as_deref(), Some("https://node-1.example.com/agent"));
/// assert_eq!(parse_address("node-1:8000"), None);
/// assert_eq!(parse_address("http://user@node-1"), None);
/// ```
pub fn parse_address(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let fits = |b: u8| b.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&b);
    if text.len() > MAX_ADDRESS || !rest.bytes().all(fits) {
        return None;
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after)
        }
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let port_fits = match port.strip_prefix(':') {
        Some(number) => number.parse::<u16>().is_ok_and(|n| n > 0 && !number.starts_with('+')),
        None => port.is_empty(),
    };
    if host.is_empty() || !port_fits {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let host = match url.host()? {
        // A name that ends with the dot of the root is the same name.
        Host::Domain(name) => name.strip_suffix('.').unwrap_or(name).to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => format!("[{address}]"),
        },
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    (!host.is_empty()).then(|| format!("{}://{host}{port}{path}", url.scheme()))
}

/// What the origin of an HTTP server may be, as human-readable text.
pub(super) const ORIGIN_EXPECTED: &str = "http:// or https://, a host, and perhaps a port";

/// Reads the origin of an HTTP server: an address without a path.
pub(super) fn parse_origin(text: &str) -> Option<String> {
    let origin = parse_address(text)?;
    let fits = origin.split_once("//").is_some_and(|(_, host)| !host.contains(['/', '*']));
    fits.then_some(origin)
}

/// What the name of credentials looks like: that of a folder which is not hidden.
pub(super) const CREDENTIALS_PATTERN: &str = "^[A-Za-z0-9][-._A-Za-z0-9]{0,62}$";

/// [`CREDENTIALS_PATTERN`] as human-readable text.
pub(super) const CREDENTIALS_EXPECTED: &str = "the name of a folder: letters, digits, dots, dashes and underscores, at most 63, a letter or digit first";

/// Whether `pattern` stands for everything that `text` stands for. A `*` at the end stands for any rest.
pub(super) fn covers(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain_base_urls() {
        let same = ["http://10.0.0.11:8000", "https://a.example/agents/1", "http://[::1]:81"];
        for good in same {
            assert_eq!(parse_address(good).as_deref(), Some(good));
        }
        assert_eq!(parse_address("http://a/b//").as_deref(), Some("http://a/b"));
        let bad = ["", "a:80", "ftp://a", "http://", "http:///x", "http://a:0", "http://a:99999"];
        let worse =
            ["http://u@a", "http://a?x", "http://a#x", "http://a b", "http://[x]", "http://a:+1"];
        for bad in bad.into_iter().chain(worse).chain(["http://[::1]80", "http://a:1:2"]) {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
        assert_eq!(parse_address(&format!("http://a/{}", "x".repeat(MAX_ADDRESS))), None);
    }

    #[test]
    fn all_spellings_of_an_address_are_one() {
        let table: [(&str, &[&str]); 7] = [
            (
                "http://a.example",
                &[
                    "http://A.Example",
                    "http://a.example:80",
                    "http://a.example.",
                    "http://a.example:0080/",
                    "http://a.example.:80//",
                    "http://%61.example",
                ],
            ),
            ("https://a.example", &["https://a.example:443", "https://A.EXAMPLE.:443/"]),
            ("http://a.example:443", &["http://a.example:0443"]),
            (
                "http://127.0.0.1",
                &[
                    "http://127.1",
                    "http://0177.0.0.1",
                    "http://0x7f.1",
                    "http://2130706433",
                    "http://127.0.0.01",
                    "http://127.0.0.1.",
                    "http://[::ffff:127.0.0.1]",
                    "http://[::ffff:7f00:1]:80",
                ],
            ),
            (
                "http://[::1]:8000",
                &[
                    "http://[::0001]:8000",
                    "http://[0:0::1]:08000/",
                    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:8000",
                ],
            ),
            ("http://[fe80::a]", &["http://[FE80::A]:80"]),
            ("http://a/b/c", &["http://a/b/./c", "http://a/x/../b/c/", "http://a:80/b/c/."]),
        ];
        for (normal, spellings) in table {
            for spelling in spellings.iter().chain([&normal]) {
                assert_eq!(parse_address(spelling).as_deref(), Some(normal), "{spelling}");
            }
        }
        // Addresses are different if their paths differ in case, or if one is http and the other is https.
        for other in ["http://a/B/c", "https://a/b/c", "http://a:81/b/c", "http://a/b//c"] {
            assert_ne!(parse_address(other).as_deref(), Some("http://a/b/c"), "{other}");
        }
        for bad in ["http://.", "http://256.0.0.1", "http://1.2.3.4.5", "http://a.1", "http://0x"] {
            let read = parse_address(bad);
            let again = read.as_deref().map(parse_address);
            assert!(again.is_none_or(|again| again == read), "{bad}: {read:?}");
        }
    }

    #[test]
    fn an_identifier_is_seen_whole() {
        for good in ["node-1", "nœud/1", "日本-1", "é", &"x".repeat(MAX_IDENTIFIER)] {
            assert!(is_identifier(good), "{good}");
        }
        let unseen = ["a\u{202e}b", "a\u{200b}", "\u{feff}a", "a\u{9b}1", "a\x1b[2J", "a\u{2028}b"];
        assert!(!is_identifier("node\u{2800}1"), "a blank that is no white space");
        for bad in unseen.into_iter().chain(["", "a b", &"x".repeat(MAX_IDENTIFIER + 1)]) {
            assert!(!is_identifier(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_star_stands_only_at_the_end_of_a_pattern() {
        assert!(is_action_pattern("*") && is_action_pattern("mongodb.replicante.io/*"));
        assert!(is_action_pattern("a.example/x"));
        for bad in ["", "a*b", "**", "a b", &"x".repeat(MAX_IDENTIFIER + 1)] {
            assert!(!is_action_pattern(bad), "{bad}");
        }
        assert!(!is_action_kind("a/*"));
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(
            parse_origin("https://Hooks.example:8443/").unwrap(),
            "https://hooks.example:8443"
        );
        for bad in ["https://a/b", "https://*", "a.example", "ftp://a", "https://u@a"] {
            assert_eq!(parse_origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pattern_of_playbooks_is_a_name_or_its_beginning() {
        for good in ["*", "lab/*", "lab-*", "l*", "lab", "lab/drain", "lab/dr*", "lab/a-*"] {
            assert!(is_playbook_pattern(good), "{good}");
            assert_eq!(is_cluster_pattern(good), !good.contains('/'), "{good}");
        }
        for bad in [
            "", "/", "lab/", "/a", "/*", "a/b/*", "A*", "*a", "a*b", "lab-", "-a", "a b", "-*",
            "a-/*", "**",
        ] {
            assert!(!is_playbook_pattern(bad) && !is_cluster_pattern(bad), "{bad}");
        }
        for (text, is) in [("a", true), ("a-1", true), ("", false), ("-a", false), ("a/b", false)] {
            assert_eq!(is_label(text), is, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_stands_for_and_nothing_more() {
        for (pattern, text) in
            [("*", ""), ("*", "*"), ("a/*", "a/b"), ("a/*", "a/b*"), ("a/*", "a/*"), ("a", "a")]
        {
            assert!(covers(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "a*"), ("a/b", "a/*"), ("a/*", "*"), ("a/*", "a"), ("a", "A")]
        {
            assert!(!covers(pattern, text), "{pattern} {text}");
        }
    }
}
