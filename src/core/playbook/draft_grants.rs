//! What a playbook grants to built-in steps: what is written down in their arguments. What only an expression says
//! has no value at import, and so could never be granted.

use serde_json::{Map, Value};

use super::draft::{ACTION, Drafter, PluginUse};
use super::grants::{Grants, HttpGrant};
use super::names;
use super::problem::code;

/// Built-in steps, apart from `action`, with the argument that says what they reach.
const REACHING: [(&str, &str, Reaches); 3] = [
    ("http", "url", Reaches::Origin),
    ("metric", "server", Reaches::Origin),
    ("wait-signal", "name", Reaches::Signal),
];

#[derive(Clone, Copy)]
enum Reaches {
    Origin,
    Signal,
}

impl Drafter {
    /// What the playbook grants to a step that is built in. A plugin of the playbook with the same name gets what
    /// its declaration grants instead.
    pub(super) fn builtin_grants(&mut self, used: &PluginUse, with: &Map<String, Value>) -> Grants {
        if used.name == ACTION {
            return self.action_grants(used, with);
        }
        let mut known = REACHING.into_iter().filter(|(name, ..)| *name == used.name);
        let Some((_, argument, reaches)) = known.next() else { return Grants::default() };
        let is_declared = self.declared.contains(&used.name);
        let Some(Value::String(text)) = with.get(argument).filter(|_| !is_declared) else {
            return Grants::default();
        };
        let path = used.argument_pointer(&format!("/{argument}"));
        match reaches {
            Reaches::Origin => self.origin_grants(&path, text),
            Reaches::Signal => self.signal_grants(&path, text),
        }
    }

    fn origin_grants(&mut self, path: &str, url: &str) -> Grants {
        // The path and the query may have expressions in them, which the origin ends before.
        let written = url.split("${{").next().unwrap_or_default();
        let is_whole = written.len() == url.len();
        let after_scheme = written.find("://").map_or(written.len(), |at| at + 3);
        let rest = written.get(after_scheme..).unwrap_or_default();
        let end = rest.find(['/', '?', '#']).map(|at| after_scheme + at);
        let origin = match (end, is_whole) {
            (Some(end), _) => written.get(..end),
            (None, true) => Some(written),
            (None, false) => None,
        };
        let Some(origin) = origin else {
            let message = "the origin of the URL has to be written down: an expression has no value at import, so \
                           nothing could be granted";
            self.add(code::NOT_GRANTED, path, message);
            return Grants::default();
        };
        match HttpGrant::to(origin) {
            Some(grant) => Grants { http: vec![grant], ..Grants::default() },
            None => {
                self.bad(path, "URL", url, names::ADDRESS_EXPECTED);
                Grants::default()
            }
        }
    }

    fn signal_grants(&mut self, path: &str, name: &str) -> Grants {
        if name.contains("${{") {
            let message = "the name of the signal has to be written down: an expression has no value at import, so \
                           nothing could be granted";
            self.add(code::NOT_GRANTED, path, message);
        } else if names::is_action_kind(name) {
            return Grants { signals: vec![name.to_owned()], ..Grants::default() };
        } else {
            self.bad(path, "name of a signal", name, names::IDENTIFIER_EXPECTED);
        }
        Grants::default()
    }

    /// What the playbook grants to `action`: the kind that is written down in its arguments.
    fn action_grants(&mut self, used: &PluginUse, with: &Map<String, Value>) -> Grants {
        let Some(Value::String(kind)) = with.get("kind") else { return Grants::default() };
        let path = used.argument_pointer("/kind");
        if kind.contains("${{") {
            let message = "the kind of the action has to be written down: an expression has no value \
                           at import, so nothing could be granted";
            self.add(code::NOT_GRANTED, &path, message);
        } else if names::is_action_kind(kind) {
            return Grants::of_actions(vec![kind.clone()]);
        } else {
            self.bad(&path, "kind of action", kind, names::IDENTIFIER_EXPECTED);
        }
        Grants::default()
    }
}
