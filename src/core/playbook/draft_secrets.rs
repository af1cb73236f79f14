//! Which secrets the expressions of a playbook name. They have to be in the arguments of a step that may send them
//! somewhere: anywhere else a secret would be of no use.

use std::collections::BTreeSet;

use super::draft::{ACTION, Drafter, PluginUse};
use super::expr::Expr;
use super::grants::Grants;
use super::problem::{Problem, code, did_you_mean};
use super::secrets::{MAX_SECRETS, SecretGrant, is_secret_name};
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
        let granted = self.granted.get(&used.name).map(Vec::as_slice).unwrap_or_default();
        // What is wrong with a grant was reported, and is no name to choose from.
        let valid = granted.iter().filter(|grant| is_secret_name(&grant.name));
        let granted: BTreeSet<String> = valid.map(|grant| grant.name.clone()).collect();
        for (path, name) in named.iter().filter(|(_, name)| !granted.contains(name)) {
            let hint = did_you_mean(name, granted.iter().map(String::as_str));
            let hint = hint.map(|meant| format!(": did you mean {meant:?}?")).unwrap_or_default();
            let message = format!(
                "the playbook does not grant the secret {name:?} to the plugin {:?}{hint}",
                used.name
            );
            let expected = match granted.is_empty() {
                true => "an entry in `grants.secrets` of the plugin".to_owned(),
                false => {
                    let names: Vec<&str> = granted.iter().map(String::as_str).collect();
                    format!("one of {}", names.join(", "))
                }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::playbook::parse_playbook;
    use crate::playbook::secrets::MAX_DESTINATIONS;

    /// What is wrong with a playbook of these plugins and steps.
    fn problems(plugins: &Value, steps: &[Value]) -> Vec<String> {
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": "many", "version": "1.0.0"},
            "spec": {
                "plugins": plugins,
                "stages": [{"name": "all", "strategy": {"use": "all-at-once"}, "steps": steps}],
            },
        });
        let document = parse_playbook(text.to_string().as_bytes()).unwrap();
        let problems = document.check().err().map(|problems| problems.0).unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect()
    }

    /// A plugin that is granted these secrets, each to `to` destinations.
    fn granted(secrets: std::ops::Range<usize>, to: usize) -> Value {
        let to: Vec<String> = (0..to).map(|n| format!("https://s{n}.example.com")).collect();
        let secrets: Vec<Value> =
            secrets.map(|n| json!({"name": format!("s{n}"), "to": to})).collect();
        json!({"source": "file:own.wasm", "grants": {"secrets": secrets}})
    }

    /// A built-in step with these secrets in its arguments.
    fn naming(name: usize, secrets: std::ops::Range<usize>) -> Value {
        let all: Vec<String> = secrets.map(|n| format!("${{{{ secret('s{n}') }}}}")).collect();
        let with = json!({"url": "https://s0.example.com/", "body": all});
        json!({"name": format!("tell-{name}"), "use": "http", "with": with})
    }

    #[test]
    fn a_plugin_is_granted_so_many_secrets_to_so_many_destinations() {
        let own = |plugin: Value| {
            let uses = json!({"name": "own", "use": "own"});
            problems(&json!({ "own": plugin }), &[uses])
        };
        assert_eq!(own(granted(0..MAX_SECRETS, MAX_DESTINATIONS)), Vec::<String>::new());
        let secrets = own(granted(0..MAX_SECRETS + 1, 1));
        assert!(secrets.len() == 1 && secrets[0].contains("/grants/secrets"), "{secrets:?}");
        let to = own(granted(0..1, MAX_DESTINATIONS + 1));
        assert!(to.len() == 1 && to[0].contains("/grants/secrets/0/to"), "{to:?}");
    }

    #[test]
    fn a_built_in_step_and_a_playbook_have_so_many_secrets() {
        let none = json!({});
        assert_eq!(problems(&none, &[naming(0, 0..MAX_SECRETS)]), Vec::<String>::new());
        let step = problems(&none, &[naming(0, 0..MAX_SECRETS + 1)]);
        let says = format!("a step has more than {MAX_SECRETS} secrets in its arguments");
        assert!(step.len() == 1 && step[0].contains(&says), "{step:?}");
        let steps = |most: usize| {
            let first = |n: usize| n * MAX_SECRETS;
            let step = |n: usize| naming(n, first(n)..most.min(first(n + 1)));
            (0..most.div_ceil(MAX_SECRETS)).map(step).collect::<Vec<_>>()
        };
        assert_eq!(problems(&none, &steps(MAX_NAMED)), Vec::<String>::new());
        let all = problems(&none, &steps(MAX_NAMED + 1));
        let says = format!("the playbook names more than {MAX_NAMED} secrets");
        assert!(all.len() == 1 && all[0].contains(&says), "{all:?}");
        // Those that are granted count, too.
        let plugins = json!({"own": granted(100..101, 1)});
        let all = problems(&plugins, &steps(MAX_NAMED));
        assert!(all.len() == 1 && all[0].contains(&says), "{all:?}");
    }
}
