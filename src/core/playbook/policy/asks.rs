//! What a playbook asks for its plugins, one grant at a time. It is the one place that takes [`Grants`] apart, so that a
//! new kind of grant can be forgotten nowhere.

use std::collections::BTreeMap;
use std::fmt;

use super::model::May;
use crate::playbook::grants::{Grants, HttpGrant};
use crate::playbook::model::PluginPin;
use crate::playbook::names::covers;
use crate::playbook::secrets::{SecretGrant, is_origin};

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To have agents run actions of these kinds: a pattern.
    Actions(String),
    /// To send HTTP requests.
    Http(HttpGrant),
    /// To wait for signals of these names: a pattern.
    Signals(String),
    /// To send a secret to some destinations.
    Secrets(SecretGrant),
}

impl Asked {
    /// The key of documents.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Actions(_) => "actions",
            Self::Http(_) => "http",
            Self::Signals(_) => "signals",
            Self::Secrets(_) => "secrets",
        }
    }

    /// Whether this gives all that the other one gives.
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Actions(one), Self::Actions(other))
            | (Self::Signals(one), Self::Signals(other)) => covers(one, other),
            (Self::Http(one), Self::Http(other)) => one.includes(other),
            (Self::Secrets(one), Self::Secrets(other)) => one.includes(other),
            (Self::Actions(_) | Self::Http(_) | Self::Signals(_) | Self::Secrets(_), _) => false,
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.key())?;
        match self {
            Self::Actions(pattern) | Self::Signals(pattern) => f.write_str(pattern),
            Self::Http(grant) => grant.fmt(f),
            Self::Secrets(grant) => write!(f, "{grant}"),
        }
    }
}

/// One grant that a playbook gives to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is granted.
    pub asked: Asked,
    /// Its index in the list of its kind.
    pub index: usize,
}

impl Ask {
    /// Whether a secret is asked for.
    pub(super) const fn is_secret(&self) -> bool {
        match self.asked {
            Asked::Secrets(_) => true,
            Asked::Actions(_) | Asked::Http(_) | Asked::Signals(_) => false,
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.fmt(f)
    }
}

/// Takes grants apart, kind by kind.
pub fn asks(grants: &Grants) -> Vec<Ask> {
    let Grants { actions, http, signals, secrets } = grants;
    let actions = actions.iter().cloned().map(Asked::Actions).enumerate();
    let http = http.iter().cloned().map(Asked::Http).enumerate();
    let signals = signals.iter().cloned().map(Asked::Signals).enumerate();
    let secrets = secrets.iter().cloned().map(Asked::Secrets).enumerate();
    let all = actions.chain(http).chain(signals).chain(secrets);
    all.map(|(index, asked)| Ask { asked, index }).collect()
}

impl May {
    /// Whether the policy gives what is asked for. Of HTTP requests it says to which origins they may go. A secret may go
    /// where it lets requests or actions of the plugin go.
    pub(super) fn gives(&self, ask: &Ask) -> bool {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|one| covers(one, text));
        match &ask.asked {
            Asked::Actions(pattern) => any(&self.actions, pattern),
            Asked::Http(grant) => self.http.iter().any(|pattern| pattern.fits(&grant.origin)),
            Asked::Signals(pattern) => any(&self.signals, pattern),
            Asked::Secrets(SecretGrant { name, to }) => {
                let reaches = |to: &String| match is_origin(to) {
                    true => self.http.iter().any(|pattern| pattern.fits(to)),
                    false => any(&self.actions, to),
                };
                any(&self.secrets, name) && to.iter().all(reaches)
            }
        }
    }

    /// What the policy gives of this kind, as human-readable text.
    pub(super) fn given(&self, asked: &Asked) -> String {
        let given: Vec<String> = match asked {
            Asked::Actions(_) => self.actions.clone(),
            Asked::Http(_) => self.http.iter().map(ToString::to_string).collect(),
            Asked::Signals(_) => self.signals.clone(),
            Asked::Secrets(_) if self.secrets.is_empty() => Vec::new(),
            Asked::Secrets(_) => {
                let http = self.http.iter().map(ToString::to_string);
                let to: Vec<String> = http.chain(self.actions.iter().cloned()).collect();
                let to = if to.is_empty() { "nowhere".to_owned() } else { to.join(", ") };
                return format!("{} to {to}", self.secrets.join(", "));
            }
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
///     let grants = Grants::of_actions(actions.iter().map(|&kind| kind.to_owned()).collect());
///     # let (name, version) = ("drain".to_owned(), "1.0.0".to_owned());
///     # let (source, digest) = ("file:drain.wasm".to_owned(), Digest::of(b"drain"));
///     # let (provenance, signers) = (None, Vec::new());
///     let kind = PluginKind::Step;
///     let pin = PluginPin { grants, kind, source, digest, name, version, provenance, signers };
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
        let is_in = |all: &[Ask], one: &Ask| all.iter().any(|it| it.asked == one.asked);
        let change = |ask: &Ask, is_new, grows| GrantChange {
            plugin: plugin.clone(),
            ask: ask.clone(),
            is_new,
            grows,
        };
        let gone = before.iter().filter(|ask| !is_in(&after, ask));
        changes.extend(gone.map(|ask| change(ask, false, false)));
        for ask in after.iter().filter(|ask| !is_in(&before, ask)) {
            let included = before.iter().any(|it| it.asked.includes(&ask.asked));
            changes.push(change(ask, true, !included));
        }
    }
    changes
}
