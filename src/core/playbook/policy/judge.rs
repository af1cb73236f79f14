//! Judges a plugin by a policy. A refusal says which rule refuses, what was found, and what was expected.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use super::asks::{Ask, asks};
use super::model::{Policy, Rule};
use super::origin::is_builtin;
use super::proof::Vouched;
use crate::ids::Digest;
use crate::playbook::grants::Grants;
use crate::playbook::names::covers;
use crate::playbook::problem::cut;

/// The longest part of a message that lists what a policy has, in characters: a few lines.
const MAX_LIST: usize = 400;

/// What is known about a plugin when it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Where it came from, as the server recorded it: `file:…`, `oci://…` or `builtin:NAME`.
    pub source: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// The names of the keys that have signed it. Each of the signatures was checked with the key that the policy has.
    pub signers: BTreeSet<String>,
    /// What was proved of it, by the certificates among those signatures.
    pub proofs: Vec<Vouched>,
}

impl Facts {
    /// What is known about a plugin that came with the program. Which of its versions a playbook pins is no matter of a
    /// policy.
    pub fn of_builtin(name: &str) -> Self {
        let (signers, proofs) = (BTreeSet::new(), Vec::new());
        Self { source: format!("builtin:{name}"), digest: Digest::of(b""), signers, proofs }
    }

    /// Whether the plugin came with the program.
    pub fn is_builtin(&self) -> bool {
        is_builtin(&self.source)
    }
}

/// What a plugin may reach: what both the playbook and the policy give.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// The grants that count.
    pub grants: Grants,
    /// The networks that are not public and that may be reached nevertheless.
    pub networks: Vec<IpNet>,
}

/// Why a policy refuses a plugin, or a grant of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused, by which rule of which policy.
    pub message: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// The grant that is refused. `None`: the plugin itself is.
    pub ask: Option<Ask>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, found, expected, ask: _ } = self;
        write!(f, "{message}; found {found}; expected {expected}")
    }
}

impl Policy {
    /// Whether the plugin may be imported at all. Nothing of it may run before that.
    ///
    /// # Errors
    /// [`Refusal`] if no rule matches the plugin, or if the first that does is not met.
    pub fn admit(&self, facts: &Facts) -> Result<(), Box<Refusal>> {
        self.rule_of(facts).map(drop)
    }

    /// Judges a plugin in a playbook that grants it something. A grant that the policy does not give is refused, and not
    /// silently dropped: the plugin would fail in the middle of a run.
    ///
    /// # Errors
    /// Every [`Refusal`]; at least one.
    pub fn judge(
        &self,
        facts: &Facts,
        playbook: &str,
        grants: &Grants,
    ) -> Result<Allowed, Vec<Refusal>> {
        // A plugin that came with the program is a part of it, and needs no rule. A secret needs one all the same: only
        // the policy can say for the operator where it may go.
        let Some((index, rule)) = self.rule_of(facts).map_err(|refusal| vec![*refusal])? else {
            let secrets = asks(grants).into_iter().filter(|ask| ask.is_secret());
            let refusals: Vec<Refusal> = secrets.map(|ask| self.no_secret(facts, ask)).collect();
            return match refusals.is_empty() {
                true => Ok(Allowed { grants: grants.clone(), networks: Vec::new() }),
                false => Err(refusals),
            };
        };
        let refusals = self.refused_by(index, rule, playbook, grants);
        match refusals.is_empty() {
            true => Ok(Allowed { grants: grants.clone(), networks: rule.may.networks.clone() }),
            false => Err(refusals),
        }
    }

    /// The networks that are not public, and that a plugin may reach in a playbook. A plugin that the policy refuses may
    /// reach none, also if it runs because it was started under another policy.
    pub fn networks(&self, facts: &Facts, playbook: &str) -> Vec<IpNet> {
        self.judge(facts, playbook, &Grants::default())
            .map_or_else(|_| Vec::new(), |allowed| allowed.networks)
    }

    /// Whether any plugin may reach a network that is not public.
    pub fn has_networks(&self) -> bool {
        self.plugins.iter().any(|rule| !rule.may.networks.is_empty())
    }

    /// What a rule does not give.
    fn refused_by(
        &self,
        index: usize,
        rule: &Rule,
        playbook: &str,
        grants: &Grants,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let fits =
            |patterns: &Vec<String>| patterns.iter().any(|pattern| covers(pattern, playbook));
        if let Some(patterns) = rule.playbooks.as_ref().filter(|patterns| !fits(patterns)) {
            refusals.push(Refusal {
                message: format!(
                    "{} does not let this playbook use the plugin",
                    self.named(index, rule)
                ),
                found: format!("playbook {playbook:?}"),
                expected: list(patterns),
                ask: None,
            });
        }
        let refused = asks(grants).into_iter().filter(|ask| !rule.may.gives(ask));
        refusals.extend(refused.map(|ask| Refusal {
            message: format!("{} does not give this grant", self.named(index, rule)),
            found: ask.to_string(),
            expected: cut(&rule.may.given(&ask.asked), MAX_LIST),
            ask: Some(ask),
        }));
        refusals
    }

    /// The rule that counts for a plugin, and is met. `None` for a plugin that came with the program and
    /// has no rule.
    pub(super) fn rule_of(&self, facts: &Facts) -> Result<Option<(usize, &Rule)>, Box<Refusal>> {
        let fits = |(_, rule): &(usize, &Rule)| rule.matches.fits(&facts.source, &facts.digest);
        let found = self.plugins.iter().enumerate().find(fits);
        let Some((index, rule)) = found else {
            return match is_builtin(&facts.source) {
                true => Ok(None),
                false => Err(Box::new(self.no_rule(facts))),
            };
        };
        let refused = |found, expected| {
            let message = format!("{} is not met", self.named(index, rule));
            Box::new(Refusal { message, found, expected, ask: None })
        };
        if !rule.signed_by.is_empty()
            && !rule.signed_by.iter().any(|name| facts.signers.contains(name))
        {
            let signers: Vec<String> = facts.signers.iter().cloned().collect();
            let found = match signers.is_empty() {
                true => "no signature of a key that the policy knows".to_owned(),
                false => format!("a signature of {}", list(&signers)),
            };
            return Err(refused(found, format!("one of {}", list(&rule.signed_by))));
        }
        if let Some(proved) = &rule.proved {
            self.check_proof((index, rule), proved, facts)?;
        }
        Ok(Some((index, rule)))
    }

    fn no_secret(&self, facts: &Facts, ask: Ask) -> Refusal {
        Refusal {
            message: format!("no rule of policy {:?} gives this grant", self.name),
            found: ask.to_string(),
            expected: format!("a rule that matches {} and gives the secret", facts.source),
            ask: Some(ask),
        }
    }

    fn no_rule(&self, facts: &Facts) -> Refusal {
        let all: Vec<String> = self.plugins.iter().map(|rule| rule.matches.to_string()).collect();
        let from = cut(&facts.source, MAX_LIST);
        Refusal {
            message: format!("no rule of policy {:?} is about this plugin", self.name),
            found: format!("a plugin that came from {from} ({})", facts.digest),
            expected: match all.is_empty() {
                true => "none, as there is no rule".to_owned(),
                false => list(&all),
            },
            ask: None,
        }
    }

    pub(super) fn named(&self, index: usize, rule: &Rule) -> String {
        format!("rule {} ({}) of policy {:?}", index + 1, rule.matches, self.name)
    }
}

pub(super) fn list(names: &[String]) -> String {
    cut(&names.join(", "), MAX_LIST)
}
