//! What counts for a node: what `all` says, then each of its groups in turn, then the node itself. What comes later counts
//! over what comes before; attributes and actions are put together key by key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::document::{CarrierFile, SettingsFile};
use super::model::{Allowance, ContainerEngine, InventoryAction, InventoryPlace};

/// The group of all nodes.
pub const ALL_NODES: &str = "all";

/// What the attributes that tell of groups begin with.
pub const GROUP_ATTRIBUTE: &str = "group.";

/// The most attributes of all nodes together. A few groups with many attributes each, and many nodes in all of them,
/// would take more memory than the text lets one think.
pub const MAX_ATTRIBUTES_OF_ALL: usize = 1_000_000;

/// What a group or a node says, with its actions read.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) file: SettingsFile,
    pub(super) actions: Arc<BTreeMap<String, InventoryAction>>,
}

/// Puts together what groups say, once for all nodes that are in the same ones.
pub(super) struct Merged<'g> {
    groups: &'g BTreeMap<String, Settings>,
    known: HashMap<Vec<String>, Settings>,
}

impl<'g> Merged<'g> {
    pub(super) fn new(groups: &'g BTreeMap<String, Settings>) -> Self {
        Self { groups, known: HashMap::new() }
    }

    /// What counts for a node in these groups that says this of itself.
    pub(super) fn of(&mut self, groups: &[String], own: Settings) -> Settings {
        if !self.known.contains_key(groups) {
            let named = std::iter::once(ALL_NODES).chain(groups.iter().map(String::as_str));
            let mut merged = Settings::default();
            for settings in named.filter_map(|name| self.groups.get(name)) {
                merged = merged.under(settings.clone());
            }
            self.known.insert(groups.to_vec(), merged);
        }
        self.known.get(groups).cloned().unwrap_or_default().under(own)
    }
}

impl Settings {
    /// These settings with others that count over them.
    fn under(self, over: Self) -> Self {
        let (before, after) = (self.file, over.file);
        let actions = match (self.actions.is_empty(), over.actions.is_empty()) {
            (_, true) => self.actions,
            (true, false) => over.actions,
            (false, false) => {
                let mut all = (*self.actions).clone();
                all.extend(
                    over.actions.iter().map(|(kind, action)| (kind.clone(), action.clone())),
                );
                Arc::new(all)
            }
        };
        let mut attributes = before.attributes;
        attributes.extend(after.attributes);
        let file = SettingsFile {
            carrier: after.carrier.or(before.carrier),
            host: after.host.or(before.host),
            user: after.user.or(before.user),
            port: after.port.or(before.port),
            container: after.container.or(before.container),
            pod: after.pod.or(before.pod),
            namespace: after.namespace.or(before.namespace),
            context: after.context.or(before.context),
            attributes,
            actions: BTreeMap::new(),
            allow: after.allow.or(before.allow),
            become_user: after.become_user.or(before.become_user),
            node_status: after.node_status.or(before.node_status),
            work_folder: after.work_folder.or(before.work_folder),
        };
        Self { file, actions }
    }

    /// What reaches the node.
    pub(super) fn carrier(&self) -> CarrierFile {
        self.file.carrier.unwrap_or(CarrierFile::Ssh)
    }

    /// How the node of this identifier is reached.
    pub(super) fn place(&self, id: &str) -> InventoryPlace {
        let SettingsFile { host, user, port, container, pod, namespace, context, .. } =
            self.file.clone();
        let engine = match self.carrier() {
            CarrierFile::Ssh => {
                let host = host.unwrap_or_else(|| id.to_owned());
                return InventoryPlace::Ssh { host, user, port };
            }
            CarrierFile::Local => return InventoryPlace::Local,
            CarrierFile::Kubectl => {
                let pod = pod.unwrap_or_else(|| id.to_owned());
                return InventoryPlace::Pod { context, namespace, pod, container };
            }
            CarrierFile::Docker => ContainerEngine::Docker,
            CarrierFile::Podman => ContainerEngine::Podman,
        };
        let name = container.unwrap_or_else(|| id.to_owned());
        InventoryPlace::Container { engine, name, user }
    }

    /// The attributes of a node that is in these groups.
    pub(super) fn attributes(&self, groups: &[String]) -> Map<String, Value> {
        let mut attributes = self.file.attributes.clone();
        for group in groups {
            attributes.insert(format!("{GROUP_ATTRIBUTE}{group}"), Value::Bool(true));
        }
        attributes
    }

    /// What may be done, each once.
    pub(super) fn allow(&self) -> Vec<Allowance> {
        let allowed = self.file.allow.as_deref().unwrap_or_default();
        Allowance::ALL.into_iter().filter(|one| allowed.contains(one)).collect()
    }
}

/// The keys that are set although a carrier has no use for them.
pub(super) fn useless(settings: &SettingsFile, carrier: CarrierFile) -> Vec<&'static str> {
    let useful: &[&str] = match carrier {
        CarrierFile::Ssh => &["host", "user", "port"],
        CarrierFile::Local => &[],
        CarrierFile::Docker | CarrierFile::Podman => &["container", "user"],
        CarrierFile::Kubectl => &["container", "pod", "namespace", "context"],
    };
    let set = [
        ("host", settings.host.is_some()),
        ("user", settings.user.is_some()),
        ("port", settings.port.is_some()),
        ("container", settings.container.is_some()),
        ("pod", settings.pod.is_some()),
        ("namespace", settings.namespace.is_some()),
        ("context", settings.context.is_some()),
    ];
    let set = set.into_iter().filter(|(key, is_set)| *is_set && !useful.contains(key));
    set.map(|(key, _)| key).collect()
}
