//! What a playbook asks for its plugins, one grant at a time. It is the one place that takes [`Grants`] apart, so that a
//! new kind of grant can be forgotten nowhere.

use std::collections::BTreeMap;
use std::fmt;

use super::model::{May, covers};
use crate::playbook::model::{Grants, PluginPin};

/// The kinds of grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To have agents run actions of a kind.
    Actions,
    /// To send HTTP requests to an origin.
    Http,
}

impl Asked {
    /// The key of documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Http => "http",
        }
    }
}

/// One grant that a playbook gives to a plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The kind of grant.
    pub kind: Asked,
    /// What is granted: a pattern of kinds of action, or an origin.
    pub text: String,
    /// Its index in the list of its kind.
    pub index: usize,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.text)
    }
}

/// Takes grants apart, kind by kind.
pub fn asks(grants: &Grants) -> Vec<Ask> {
    let Grants { actions, http } = grants;
    let of = |kind, all: &[String]| {
        let all = all.iter().enumerate();
        all.map(|(index, text)| Ask { kind, text: text.clone(), index }).collect::<Vec<_>>()
    };
    let mut asks = of(Asked::Actions, actions);
    asks.extend(of(Asked::Http, http));
    asks
}

impl May {
    /// Whether the policy gives what is asked for.
    pub(super) fn gives(&self, ask: &Ask) -> bool {
        match ask.kind {
            Asked::Actions => self.actions.iter().any(|pattern| covers(pattern, &ask.text)),
            Asked::Http => self.http.iter().any(|pattern| pattern.fits(&ask.text)),
        }
    }

    /// What the policy gives of this kind, as human-readable text.
    pub(super) fn given(&self, kind: Asked) -> String {
        let given: Vec<String> = match kind {
            Asked::Actions => self.actions.clone(),
            Asked::Http => self.http.iter().map(ToString::to_string).collect(),
        };
        if given.is_empty() { "nothing of that kind".to_owned() } else { given.join(", ") }
    }
}

/// A grant that one version of a playbook gives and the other does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantChange {
    /// The name by which the playbook uses the plugin.
    pub plugin: String,
    /// The grant.
    pub ask: Ask,
    /// Whether the new version has it, rather than the old one.
    pub is_new: bool,
    /// Whether the plugin may do more because of it: it is new, and no grant of the old version includes it.
    pub grows: bool,
}

impl fmt::Display for GrantChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_new { '+' } else { '-' };
        write!(f, "{sign} {}: {}", self.plugin, self.ask)
    }
}

/// What changed in the grants from the plugins of one version of a playbook to those of another, by plugin.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
/// # use replibook_core::ids::Digest;
/// # use replibook_core::playbook::{Grants, PluginKind, PluginPin};
/// use replibook_core::playbook::policy::grants_changed;
///
/// let plugins = |actions: &[&str]| {
///     let actions = actions.iter().map(|&kind| kind.to_owned()).collect();
///     let grants = Grants { actions, ..Grants::default() };
///     # let (name, version) = ("drain".to_owned(), "1.0.0".to_owned());
///     # let (source, digest) = ("file:drain.wasm".to_owned(), Digest::of(b"drain"));
///     let pin = PluginPin { grants, kind: PluginKind::Step, source, digest, name, version };
///     BTreeMap::from([("drain".to_owned(), pin)])
/// };
/// let changes = grants_changed(&plugins(&["a/*"]), &plugins(&["a/x", "b/y"]));
/// let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
/// assert_eq!(shown, ["- drain: actions a/*", "+ drain: actions a/x", "+ drain: actions b/y"]);
/// let grows: Vec<bool> = changes.iter().map(|change| change.grows).collect();
/// assert_eq!(grows, [false, false, true], "a/x was granted before, as a part of a/*");
/// ```
pub fn grants_changed(
    old: &BTreeMap<String, PluginPin>,
    new: &BTreeMap<String, PluginPin>,
) -> Vec<GrantChange> {
    let of = |plugins: &BTreeMap<String, PluginPin>, name: &str| {
        plugins.get(name).map(|pin| asks(&pin.grants)).unwrap_or_default()
    };
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let mut changes = Vec::new();
    for plugin in names {
        let (before, after) = (of(old, plugin), of(new, plugin));
        let is_in = |all: &[Ask], one: &Ask| {
            all.iter().any(|it| (it.kind, &it.text) == (one.kind, &one.text))
        };
        let change = |ask: &Ask, is_new, grows| GrantChange {
            plugin: plugin.clone(),
            ask: ask.clone(),
            is_new,
            grows,
        };
        let gone = before.iter().filter(|ask| !is_in(&after, ask));
        changes.extend(gone.map(|ask| change(ask, false, false)));
        for ask in after.iter().filter(|ask| !is_in(&before, ask)) {
            let included = before.iter().any(|it| it.kind == ask.kind && includes(it, ask));
            changes.push(change(ask, true, !included));
        }
    }
    changes
}

/// Whether a grant gives all that another one of its kind gives.
fn includes(one: &Ask, other: &Ask) -> bool {
    match one.kind {
        Asked::Actions => covers(&one.text, &other.text),
        Asked::Http => one.text == other.text,
    }
}
