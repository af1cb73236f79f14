//! Which secrets the expressions of a playbook name. They have to be in the arguments of a step that may send them
//! somewhere: anywhere else a secret would be of no use.

use super::draft::{ACTION, Drafter, PluginUse};
use super::expr::Expr;
use super::grants::Grants;
use super::problem::{Problem, code, did_you_mean};
use super::secrets::{MAX_SECRETS, SecretGrant};
use super::template::Template;

/// Arguments of built-in steps that become part of a URL. Servers and proxies write URLs to their logs.
const IN_URLS: [(&str, &[&str]); 2] = [("http", &["/url"]), ("metric", &["/server", "/query"])];

/// The most secrets of one playbook. Everything that a run is told is searched for all of them.
const MAX_NAMED: usize = 64;

impl Drafter {
    /// Reports an expression that names a secret where there can be none.
    pub(super) fn no_secrets(&mut self, path: &str, expr: &Expr) {
        if let Some(name) = expr.secrets().first() {
            let message = "a secret can only be in the arguments of a step";
            let problem = Problem::new(code::BAD_EXPRESSION, path, message);
            self.problems.push(problem.found(format!("secret({name:?})")));
        }
    }

    /// Checks the secrets in the arguments of a step. A plugin of the playbook needs a grant of each. A built-in step is
    /// granted what its arguments say: to send the secrets that they name to where it sends anything.
    pub(super) fn with_secrets(
        &mut self,
        used: &PluginUse,
        grants: Grants,
        with: &Template,
    ) -> Grants {
        let mut named: Vec<(String, String)> = Vec::new();
        for placed in with.expressions() {
            let path = used.argument_pointer(&placed.pointer);
            self.not_in_url(used, &path, &placed.pointer, placed.value);
            let names = placed.value.secrets().iter();
            named.extend(names.map(|name| (path.clone(), name.clone())));
        }
        if named.is_empty() {
            return grants;
        }
        if self.declared.contains(&used.name) && used.name != ACTION {
            self.only_granted(used, &named);
            return grants;
        }
        let to: Vec<String> = grants
            .http
            .iter()
            .map(|grant| grant.origin.clone())
            .chain(grants.actions.iter().cloned())
            .collect();
        if to.is_empty() {
            // The arguments that say where it sends something may be wrong: then that was reported.
            let sends = used.name == ACTION || IN_URLS.iter().any(|(name, _)| *name == used.name);
            if let Some((path, _)) = named.first().filter(|_| !sends) {
                let message = format!("the step {:?} sends no secrets anywhere", used.name);
                self.add(code::NOT_GRANTED, path, &message);
            }
            return grants;
        }
        let mut secrets: Vec<SecretGrant> = Vec::new();
        for (path, name) in named {
            if secrets.iter().any(|grant| grant.name == name) {
                continue;
            }
            if secrets.len() == MAX_SECRETS {
                let message =
                    format!("a step has more than {MAX_SECRETS} secrets in its arguments");
                self.add(code::BAD_VALUE, &path, &message);
                break;
            }
            self.count(&path, &name);
            secrets.push(SecretGrant { name, to: to.clone() });
        }
        Grants { secrets, ..grants }
    }

    /// Counts a secret, and reports the first that is one too many.
    pub(super) fn count(&mut self, path: &str, name: &str) {
        if self.secrets.insert(name.to_owned()) && self.secrets.len() == MAX_NAMED + 1 {
            let message = format!("the playbook names more than {MAX_NAMED} secrets");
            self.add(code::BAD_VALUE, path, &message);
        }
    }

    /// Reports secrets that the playbook does not grant to a plugin that it declares.
    fn only_granted(&mut self, used: &PluginUse, named: &[(String, String)]) {
        // A plugin whose source can't be read has no entry.
        let Some(granted) = self.granted.get(&used.name) else { return };
        let granted: Vec<String> = granted.iter().map(|grant| grant.name.clone()).collect();
        for (path, name) in named.iter().filter(|(_, name)| !granted.contains(name)) {
            let hint = did_you_mean(name, granted.iter().map(String::as_str));
            let hint = hint.map(|meant| format!(": did you mean {meant:?}?")).unwrap_or_default();
            let message = format!(
                "the playbook does not grant the secret {name:?} to the plugin {:?}{hint}",
                used.name
            );
            let expected = match granted.is_empty() {
                true => "an entry in `grants.secrets` of the plugin".to_owned(),
                false => format!("one of {}", granted.join(", ")),
            };
            let problem = Problem::new(code::NOT_GRANTED, path.clone(), message);
            self.problems.push(problem.expected(expected));
        }
    }

    fn not_in_url(&mut self, used: &PluginUse, path: &str, within: &str, expr: &Expr) {
        let is_declared = self.declared.contains(&used.name);
        let in_url = IN_URLS
            .iter()
            .any(|(name, arguments)| *name == used.name && arguments.contains(&within));
        if in_url && !is_declared && !expr.secrets().is_empty() {
            let message =
                "a secret can't be in a URL, which servers and proxies write to their logs";
            let problem = Problem::new(code::NOT_GRANTED, path, message);
            self.problems.push(problem.expected("a header or the body"));
        }
    }
}
