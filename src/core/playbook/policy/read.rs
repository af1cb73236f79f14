//! Makes a valid [`Policy`] from YAML or JSON.

use std::collections::BTreeMap;

use super::document::{MayFile, PolicyFile, ProvedFile, RuleFile};
use super::keys::{KEY_EXPECTED, PublicKey};
use super::model::{May, Policy, Proved, Rule};
use super::networks::{NETWORK_EXPECTED, read_network};
use super::origin::Match;
use super::web::{OriginPattern, PATTERN_EXPECTED};
use crate::playbook::document::Kind;
use crate::playbook::names;
use crate::playbook::problem::{Problem, Problems, code, did_you_mean};
use crate::playbook::read::{Read, read_as};
use crate::playbook::spans::push_segment;
use crate::playbook::text::{Limits, Text};

/// What a pattern of secrets or signals may be, as human-readable text.
const NAME_EXPECTED: &str = "a name without white space, perhaps with a * at its end";

/// Reads a policy and reports everything that is wrong with it at once.
///
/// # Errors
/// [`Problems`], each with path, line and column.
///
/// # Example
/// ```
/// use replibook_core::playbook::policy::parse_policy;
///
/// let text = "
/// apiVersion: replicante.io/v1
/// kind: Policy
/// metadata: { name: house-rules }
/// spec:
///   keys: { ops: RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3 }
///   plugins:
///     - match: oci://registry.example.com/ops/*
///       signed_by: [ops]
///       may: { actions: ['mongodb.replicante.io/*'], networks: [10.1.0.0/16] }
/// ";
/// let policy = parse_policy(text.as_bytes())?;
/// assert_eq!(policy.plugins[0].may.networks[0].to_string(), "10.1.0.0/16");
///
/// let problems = parse_policy(text.replace("[ops]", "[obs]").as_bytes()).unwrap_err();
/// assert!(problems.to_string().starts_with("9:19: /spec/plugins/0/signed_by/0: there is no key \"obs\""));
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn parse_policy(text: &[u8]) -> Result<Policy, Problems> {
    let text = Text::read(text, Limits::PLAYBOOK)?;
    let Read { file, mut problems, suspects } = read_as::<PolicyFile>(&text, Kind::Policy)?;
    let mut reader = Reader::default();
    let policy = reader.policy(file);
    problems.extend(reader.problems.into_iter().filter(|problem| !suspects.explain(problem)));
    text.check(problems)?;
    Ok(policy)
}

/// What is wrong with applying a document that is a policy.
pub fn not_applied(text: &[u8]) -> Problems {
    let expected =
        "a playbook or a cluster; a server reads its policy itself: replibook serve --policy FILE";
    let message = "a policy is a file of the server, and is not applied";
    Text::refused(text, Kind::Policy, message, expected)
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

    fn policy(&mut self, file: PolicyFile) -> Policy {
        let names: Vec<String> = file.spec.keys.keys().cloned().collect();
        let keys = self.keys(file.spec.keys);
        let rules = file.spec.plugins.into_iter().enumerate();
        let rules: Vec<(usize, Rule)> = rules
            .filter_map(|(index, rule)| {
                Some((index, self.rule(&format!("/spec/plugins/{index}"), rule, &names)?))
            })
            .collect();
        for (at, (index, rule)) in rules.iter().enumerate() {
            let earlier =
                rules[..at].iter().find(|(_, earlier)| earlier.matches.includes(&rule.matches));
            if let Some((number, earlier)) = earlier {
                let message = format!(
                    "this rule is never reached: rule {} ({}) matches first",
                    number + 1,
                    earlier.matches
                );
                self.problems.push(Problem::new(
                    code::DUPLICATE,
                    format!("/spec/plugins/{index}/match"),
                    message,
                ));
            }
        }
        let plugins = rules.into_iter().map(|(_, rule)| rule).collect();
        Policy { name: file.metadata.name, keys, plugins }
    }

    fn keys(&mut self, file: BTreeMap<String, String>) -> BTreeMap<String, PublicKey> {
        let mut keys: BTreeMap<String, PublicKey> = BTreeMap::new();
        for (name, text) in file {
            let mut path = "/spec/keys".to_owned();
            push_segment(&mut path, &name);
            let Some(key) = PublicKey::parse(&text) else {
                self.bad(&path, "not a valid key", &text, KEY_EXPECTED);
                continue;
            };
            if let Some((other, _)) = keys.iter().find(|(_, known)| known.as_str() == key.as_str())
            {
                let message = format!("this is the key {other:?} too");
                self.problems.push(Problem::new(code::DUPLICATE, path, message));
                continue;
            }
            keys.insert(name, key);
        }
        keys
    }

    /// Reads a rule; `None` if its match can't be read.
    fn rule(&mut self, path: &str, file: RuleFile, keys: &[String]) -> Option<Rule> {
        let RuleFile { matches, signed_by, may, playbooks, proved } = file;
        let signed_by = signed_by.unwrap_or_default();
        for (index, name) in signed_by.iter().enumerate() {
            if !keys.contains(name) {
                let hint = did_you_mean(name, keys.iter().map(String::as_str));
                let hint =
                    hint.map(|meant| format!(": did you mean {meant:?}?")).unwrap_or_default();
                let message = format!("there is no key {name:?}{hint}");
                self.problems.push(
                    Problem::new(code::BAD_VALUE, format!("{path}/signed_by/{index}"), message)
                        .expected("a name in `keys`"),
                );
            }
        }
        for (index, pattern) in playbooks.iter().flatten().enumerate() {
            if !names::is_playbook_pattern(pattern) {
                let path = format!("{path}/playbooks/{index}");
                let expected = names::PLAYBOOKS_EXPECTED;
                self.bad(&path, "not a valid pattern of playbooks", pattern, expected);
            }
        }
        let may = self.may(&format!("{path}/may"), may);
        let proved = proved.map(|ProvedFile { seeds, properties }| Proved {
            seeds,
            properties: properties.unwrap_or_default(),
        });
        match Match::parse(&matches) {
            Ok(matches @ Match::Builtin(_)) if !signed_by.is_empty() || proved.is_some() => {
                let key = if signed_by.is_empty() { "proved" } else { "signed_by" };
                let message =
                    format!("{matches} can't have `{key}`: such a plugin is a part of the program");
                let problem = Problem::new(code::BAD_VALUE, format!("{path}/{key}"), message);
                self.problems.push(problem.expected("`may` and `playbooks` only"));
                None
            }
            Ok(matches) => Some(Rule { matches, signed_by, may, playbooks, proved }),
            Err(error) => {
                self.bad(&format!("{path}/match"), error.message, &matches, error.expected);
                None
            }
        }
    }

    fn may(&mut self, path: &str, file: MayFile) -> May {
        let MayFile { actions, http, secrets, signals, networks } = file;
        for (index, pattern) in actions.iter().enumerate() {
            if !names::is_action_pattern(pattern) {
                let expected = "a kind of action, perhaps with a * at its end";
                self.bad(
                    &format!("{path}/actions/{index}"),
                    "not a valid grant",
                    pattern,
                    expected,
                );
            }
        }
        for (key, patterns) in [("secrets", &secrets), ("signals", &signals)] {
            for (index, pattern) in patterns.iter().enumerate() {
                if !names::is_action_pattern(pattern) {
                    self.bad(
                        &format!("{path}/{key}/{index}"),
                        "not a valid name",
                        pattern,
                        NAME_EXPECTED,
                    );
                }
            }
        }
        let mut origins = Vec::new();
        for (index, text) in http.iter().enumerate() {
            match OriginPattern::parse(text) {
                Some(pattern) => origins.push(pattern),
                None => self.bad(
                    &format!("{path}/http/{index}"),
                    "not a valid origin",
                    text,
                    PATTERN_EXPECTED,
                ),
            }
        }
        let mut reached = Vec::new();
        for (index, text) in networks.iter().enumerate() {
            match read_network(text) {
                Ok(network) => reached.push(network),
                Err(error) => {
                    let message = match error.expected.as_str() {
                        NETWORK_EXPECTED => "not a valid network",
                        _ => "not written as a network is",
                    };
                    self.bad(&format!("{path}/networks/{index}"), message, text, &error.expected);
                }
            }
        }
        May { actions, http: origins, secrets, signals, networks: reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_plugins_of_the_program_asks_for_no_signature() {
        let policy = |rule: &str| {
            let text = format!(
                "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: x }}\nspec:\n  keys: {{ ops: \
                 RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3 }}\n  plugins: [{rule}]\n"
            );
            parse_policy(text.as_bytes())
        };
        let problems = policy("{ match: 'builtin:*', signed_by: [ops] }").unwrap_err().to_string();
        assert!(problems.contains("/spec/plugins/0/signed_by: builtin:* can't have"), "{problems}");
        let problems = policy("{ match: 'builtin:http', proved: { seeds: 9 } }").unwrap_err();
        assert!(problems.to_string().contains("/spec/plugins/0/proved: "), "{problems}");
        policy("{ match: 'builtin:http', playbooks: ['lab/*'] }").unwrap();
    }
}
