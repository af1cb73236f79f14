//! Makes a valid [`Access`] from YAML or JSON.

use std::net::IpAddr;

use url::{Host, Url};

use super::document::{AccessFile, AccessSpec, IssuerFile, RuleFile, TokenFile};
use super::model::{Access, AccessRule, AccessToken, OidcIssuer};
use super::who::{WHO_EXPECTED, Who};
use crate::playbook::document::Kind;
use crate::playbook::names;
use crate::playbook::problem::{Problem, Problems, code, did_you_mean};
use crate::playbook::read::{Read, read_as};
use crate::playbook::text::{Limits, Text};
use crate::time::Timestamp;

/// What the identifier of an issuer may be, as human-readable text.
const ISSUER_EXPECTED: &str = "an https address without a query, or an http one of this machine (localhost, 127.0.0.1, [::1])";

/// What the sum of a token may be, as human-readable text.
const SUM_EXPECTED: &str = "64 lowercase hex digits, as `replibook token new NAME` prints them";

/// The longest identifier, audience, claim or client of an issuer, in bytes.
const MAX_TEXT: usize = 1_024;

/// Reads who may do what, and reports everything that is wrong with it at once.
///
/// # Errors
/// [`Problems`], each with path, line and column.
///
/// # Example
/// ```
/// use replibook_core::playbook::access::{Object, Verb, Who, parse_access};
///
/// let text = "
/// apiVersion: replicante.io/v1
/// kind: Access
/// metadata: { name: ops }
/// spec:
///   oidc: [{ name: id, issuer: 'https://id.example.com', audience: replibook, user: email, groups: groups }]
///   rules:
///     - { who: ['group:id/dba'], may: [view, start], playbooks: ['ops/*'] }
/// ";
/// let access = parse_access(text.as_bytes())?;
/// let rights = access.rights(|who| who.to_string() == "group:id/dba");
/// let run = Object::Run { playbook: "ops/restart", cluster: "mongo-eu" };
/// assert!(rights.may(Verb::Start, run) && !rights.may(Verb::Steer, run));
///
/// let problems = parse_access(text.replace("group:id", "group:di").as_bytes()).unwrap_err();
/// assert!(problems.to_string().starts_with("8:15: /spec/rules/0/who/0: there is no issuer \"di\""));
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn parse_access(text: &[u8]) -> Result<Access, Problems> {
    let text = Text::read(text, Limits::PLAYBOOK)?;
    let Read { file, mut problems, suspects } = read_as::<AccessFile>(&text, Kind::Access)?;
    let mut reader = Reader::default();
    let access = reader.access(file);
    problems.extend(reader.problems.into_iter().filter(|problem| !suspects.explain(problem)));
    text.check(problems)?;
    Ok(access)
}

/// What is wrong with applying a document that says who may do what.
pub fn access_not_applied(text: &[u8]) -> Problems {
    let expected = "a playbook or a cluster; a server reads who may do what itself: replibook serve --access FILE";
    let message = "who may do what is a file of the server, and is not applied";
    Text::refused(text, Kind::Access, message, expected)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn bad(&mut self, path: &str, message: &str, found: &str, expected: &str) {
        let problem = Problem::new(code::BAD_VALUE, path, message);
        self.problems.push(problem.found(format!("{found:?}")).expected(expected));
    }

    /// Says that something is there twice. `value` is not shown: it may be long.
    fn twice(&mut self, path: &str, message: String) {
        self.problems.push(Problem::new(code::DUPLICATE, path, message));
    }

    fn access(&mut self, file: AccessFile) -> Access {
        let AccessSpec { tokens, oidc, rules } = file.spec;
        let tokens = self.tokens(tokens);
        let oidc = self.issuers(oidc);
        let rules = rules.into_iter().enumerate();
        let rules = rules
            .map(|(index, rule)| self.rule(&format!("/spec/rules/{index}"), rule, &tokens, &oidc));
        let rules = rules.collect();
        Access { name: file.metadata.name, tokens, oidc, rules }
    }

    fn tokens(&mut self, files: Vec<TokenFile>) -> Vec<AccessToken> {
        let mut tokens: Vec<AccessToken> = Vec::new();
        for (index, TokenFile { name, sha256, expires }) in files.into_iter().enumerate() {
            let path = format!("/spec/tokens/{index}");
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
                // Whoever put the token itself here must not find it in a log.
                let found = format!("{} characters", sha256.chars().count());
                let problem = Problem::new(
                    code::BAD_VALUE,
                    format!("{path}/sha256"),
                    "not the SHA-256 of a token",
                );
                self.problems.push(problem.found(found).expected(SUM_EXPECTED));
            }
            let expires = expires.parse::<Timestamp>().unwrap_or_else(|_| {
                let expected = "a moment as RFC 3339, for example 2027-06-01T00:00:00Z";
                self.bad(&format!("{path}/expires"), "not a moment", &expires, expected);
                Timestamp::MIN
            });
            if tokens.iter().any(|token| token.name == name) {
                self.twice(&format!("{path}/name"), format!("there is a token {name:?} already"));
            }
            if let Some(other) = tokens.iter().find(|token| token.sha256 == sha256) {
                let message = format!("this is the token {:?} too", other.name);
                self.twice(&format!("{path}/sha256"), message);
            }
            tokens.push(AccessToken { name, sha256, expires });
        }
        tokens
    }

    fn issuers(&mut self, files: Vec<IssuerFile>) -> Vec<OidcIssuer> {
        let mut issuers: Vec<OidcIssuer> = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let IssuerFile { name, issuer, audience, user, groups, client } = file;
            let path = format!("/spec/oidc/{index}");
            if !is_issuer(&issuer) {
                self.bad(&format!("{path}/issuer"), "not an issuer", &issuer, ISSUER_EXPECTED);
            }
            let texts = [("audience", Some(&audience)), ("user", Some(&user))];
            let texts = texts.into_iter().chain([("groups", groups.as_ref())]);
            for (key, text) in texts.chain([("client", client.as_ref())]) {
                if let Some(text) = text.filter(|text| !is_plain(text)) {
                    let expected = "at most 1024 bytes, without invisible characters";
                    self.bad(&format!("{path}/{key}"), "this value is not allowed", text, expected);
                }
            }
            if issuers.iter().any(|other| other.name == name) {
                self.twice(&format!("{path}/name"), format!("there is an issuer {name:?} already"));
            }
            if let Some(other) = issuers.iter().find(|other| other.issuer == issuer) {
                // One person would have two names.
                let message = format!("this is the issuer {:?} too", other.name);
                self.twice(&format!("{path}/issuer"), message);
            }
            issuers.push(OidcIssuer { name, issuer, audience, user, groups, client });
        }
        issuers
    }

    fn rule(
        &mut self,
        path: &str,
        file: RuleFile,
        tokens: &[AccessToken],
        issuers: &[OidcIssuer],
    ) -> AccessRule {
        let RuleFile { who, may, playbooks, clusters } = file;
        let mut about = Vec::new();
        for (index, text) in who.iter().enumerate() {
            let path = format!("{path}/who/{index}");
            let Some(who) = Who::parse(text) else {
                self.bad(&path, "this names nobody", text, WHO_EXPECTED);
                continue;
            };
            let (what, name, known): (_, _, Vec<&str>) = match &who {
                Who::User { issuer, .. } | Who::Group { issuer, .. } => {
                    ("issuer", issuer, issuers.iter().map(|one| one.name.as_str()).collect())
                }
                Who::Token(name) => {
                    ("token", name, tokens.iter().map(|one| one.name.as_str()).collect())
                }
            };
            if !known.contains(&name.as_str()) {
                let hint = did_you_mean(name, known.iter().copied());
                let hint = hint.map(|meant| format!(": did you mean {meant:?}?"));
                let message = format!("there is no {what} {name:?}{}", hint.unwrap_or_default());
                let list = if what == "token" { "tokens" } else { "oidc" };
                let problem = Problem::new(code::BAD_VALUE, path, message);
                self.problems.push(problem.expected(format!("a name in `{list}`")));
                continue;
            }
            about.push(who);
        }
        for (index, pattern) in playbooks.iter().flatten().enumerate() {
            if !names::is_playbook_pattern(pattern) {
                let (path, expected) =
                    (format!("{path}/playbooks/{index}"), names::PLAYBOOKS_EXPECTED);
                self.bad(&path, "not a valid pattern of playbooks", pattern, expected);
            }
        }
        for (index, pattern) in clusters.iter().flatten().enumerate() {
            if !names::is_cluster_pattern(pattern) {
                let (path, expected) =
                    (format!("{path}/clusters/{index}"), names::CLUSTERS_EXPECTED);
                self.bad(&path, "not a valid pattern of clusters", pattern, expected);
            }
        }
        AccessRule { who: about, may, playbooks, clusters }
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(crate::shown::is_unseen)
}

/// Whether `text` can be the identifier of an issuer. It is compared as it is, so it is not brought into a normal form.
fn is_issuer(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => return false,
    };
    let is_plain = is_plain(text) && !text.contains(['?', '#', '@', ' ', '\\']);
    is_plain && (url.scheme() == "https" || url.scheme() == "http" && is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_over_tls_or_on_this_machine() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/realms/a/",
            "http://localhost:8080",
            "http://127.0.0.1:1/x",
            "http://[::1]:1",
        ] {
            assert!(is_issuer(good), "{good}");
        }
        for bad in [
            "",
            "id.example.com",
            "http://id.example.com",
            "https://id.example.com?x",
            "https://id.example.com#x",
            "https://u@id.example.com",
            "https://",
            "ftp://id.example.com",
            "http://localhost.example.com",
        ] {
            assert!(!is_issuer(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_in_place_of_its_sum_is_not_repeated() {
        let token = "rpb_0123456789abcdef";
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec: {{ tokens: [{{ name: ci, sha256: \
             {token}, expires: 2027-01-01T00:00:00Z }}] }}\n"
        );
        let problems = parse_access(text.as_bytes()).unwrap_err().to_string();
        assert!(
            problems.contains("found 20 characters") && !problems.contains(token),
            "{problems}"
        );
    }

    #[test]
    fn each_list_has_a_longest_length() {
        use super::super::{MAX_ISSUERS, MAX_PATTERNS, MAX_RULES, MAX_TOKENS, MAX_WHO};
        let list = |length: usize, item: &dyn Fn(usize) -> String| {
            (0..length).map(item).collect::<Vec<_>>().join(", ")
        };
        let token = |n: usize| {
            format!("{{ name: t{n}, sha256: \"{n:0>64}\", expires: 2099-01-01T00:00:00Z }}")
        };
        let issuer = |n: usize| {
            format!("{{ name: i{n}, issuer: \"https://i{n}.example\", audience: a, user: sub }}")
        };
        let named = |n: usize| format!("\"token:t{n}\"");
        let one = "who: [\"token:t0\"], may: [view]";
        let spec = |tokens: &str, issuers: &str, rules: &str| {
            format!("{{ tokens: [{tokens}], oidc: [{issuers}], rules: [{rules}] }}")
        };
        let patterns = |key: &str, length: usize| {
            let rule = format!("{{ {one}, {key}: [{}] }}", list(length, &|n| format!("a{n}")));
            spec(&token(0), "", &rule)
        };
        type Made<'m> = &'m dyn Fn(usize) -> String;
        let cases: [(&str, usize, Made<'_>); 6] = [
            ("tokens", MAX_TOKENS, &|length| spec(&list(length, &token), "", "")),
            ("oidc", MAX_ISSUERS, &|length| spec("", &list(length, &issuer), "")),
            ("rules", MAX_RULES, &|length| {
                spec(&token(0), "", &list(length, &|_| format!("{{ {one} }}")))
            }),
            ("rules/0/who", MAX_WHO, &|length| {
                let who = list(length, &|_| named(0));
                spec(&token(0), "", &format!("{{ who: [{who}], may: [view] }}"))
            }),
            ("rules/0/playbooks", MAX_PATTERNS, &|length| patterns("playbooks", length)),
            ("rules/0/clusters", MAX_PATTERNS, &|length| patterns("clusters", length)),
        ];
        for (path, most, made) in cases {
            let read = |length: usize| {
                let text = format!(
                    "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec: {}\n",
                    made(length)
                );
                parse_access(text.as_bytes())
            };
            read(most).unwrap_or_else(|problems| panic!("{path}: {problems}"));
            let problems = read(most + 1).unwrap_err().to_string();
            let expected = format!("expected at most {most} item(s)");
            assert!(
                problems.contains(&format!("/spec/{path}: ")) && problems.contains(&expected),
                "{path}: {problems}"
            );
        }
    }
}
