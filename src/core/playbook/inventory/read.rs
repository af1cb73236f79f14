//! Makes a valid [`Inventory`] from YAML or JSON.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::document::{
    ActionFile, InventoryFile, InventorySpec, MAX_COMMAND_BYTES, NodeFile, SettingsFile,
};
use super::merge::{ALL_NODES, GROUP_ATTRIBUTE, MAX_ATTRIBUTES_OF_ALL, Merged, Settings, useless};
use super::model::{Inventory, InventoryAction, InventoryNode};
use crate::playbook::document::Kind;
use crate::playbook::names;
use crate::playbook::problem::{Problem, Problems, code, did_you_mean};
use crate::playbook::read::{Read, read_as};
use crate::playbook::spans::push_segment;
use crate::playbook::text::{Limits, Text};
use crate::playbook::units;
use crate::time::Millis;

/// How long a command may take unless its action says otherwise.
const DEFAULT_TIMEOUT: Millis = Millis::from_secs(5 * 60);

/// The longest time that an action may give.
const MAX_TIMEOUT: Millis = Millis::from_secs(24 * 3_600);

/// The longest identifier of a node as it stands in an address, in bytes. With it the address of the node still is one.
const MAX_NAME_IN_ADDRESS: usize = 1_024;

/// What the identifier of a node may be, as human-readable text.
const NODE_EXPECTED: &str =
    "1 to 256 visible characters, without white space, and not @run, a dot or two dots";

/// The longest name of a group, in bytes.
const MAX_GROUP_NAME: usize = 63;

/// What the name of a group may be, as human-readable text.
const GROUP_EXPECTED: &str =
    "letters, digits, dots, dashes and underscores, at most 63, with no dot or dash first";

/// What may stand in the command line of a carrier, as human-readable text.
const NAME_EXPECTED: &str = "1 to 256 visible characters, without white space, and no dash first";

/// What the work folder may be, as human-readable text.
const FOLDER_EXPECTED: &str =
    "an absolute path, or one that begins with ~/, without .. and without invisible characters";

/// The longest path of a work folder, in bytes. What is below it has to fit the paths of the system.
const MAX_FOLDER: usize = 512;

/// What the kind of an action of an inventory may be, as human-readable text.
const KIND_EXPECTED: &str = "1 to 256 visible characters, without white space, without * and outside of \
     replicante.io/ and agent.replicante.io/, which have kinds of their own";

/// Reads an inventory, and reports everything that is wrong with it at once.
///
/// # Errors
/// [`Problems`], each with path, line and column.
///
/// # Example
/// ```
/// use replibook_core::playbook::inventory::{InventoryPlace, parse_inventory};
///
/// let text = "
/// apiVersion: replicante.io/v1
/// kind: Inventory
/// metadata: { name: web }
/// spec:
///   groups:
///     all: { user: deploy, attributes: { site: eu } }
///     front: { attributes: { role: front }, allow: [command] }
///   nodes:
///     - { id: web-1, groups: [front], host: 10.0.0.11 }
/// ";
/// let inventory = parse_inventory(text.as_bytes())?;
/// let node = &inventory.nodes[0];
/// assert_eq!((node.attributes["site"].as_str(), &node.attributes["group.front"]), (Some("eu"), &true.into()));
/// let place = InventoryPlace::Ssh { host: "10.0.0.11".into(), user: Some("deploy".into()), port: None };
/// assert_eq!(node.place, place);
///
/// let problems = parse_inventory(text.replace("[front]", "[rear]").as_bytes()).unwrap_err();
/// assert!(problems.to_string().starts_with("10:29: /spec/nodes/0/groups/0: there is no group \"rear\""));
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn parse_inventory(text: &[u8]) -> Result<Inventory, Problems> {
    let text = Text::read(text, Limits::CLUSTER)?;
    let Read { file, mut problems, suspects } = read_as::<InventoryFile>(&text, Kind::Inventory)?;
    let mut reader = Reader::default();
    let inventory = reader.inventory(file);
    problems.extend(reader.problems.into_iter().filter(|problem| !suspects.explain(problem)));
    text.check(problems)?;
    Ok(inventory)
}

/// What is wrong with applying a document that is an inventory.
pub fn inventory_not_applied(text: &[u8]) -> Problems {
    let expected = "a playbook or a cluster; a gateway reads its nodes itself: replibook gateway --inventory FILE";
    let message = "an inventory is a file of the gateway, and is not applied";
    Text::refused(text, Kind::Inventory, message, expected)
}

/// Whether `text` can identify a node of a gateway: it identifies an agent, and is part of its address.
pub fn is_node_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let length: usize = text.bytes().map(|b| if plain(b) { 1 } else { 3 }).sum();
    let is_path = [".", ".."].contains(&text);
    names::is_agent_identifier(text) && !is_path && length <= MAX_NAME_IN_ADDRESS
}

/// Whether `text` can name a group.
pub fn is_group_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let length = text.len();
    (1..=MAX_GROUP_NAME).contains(&length)
        && text.bytes().all(fits)
        && !text.starts_with(['.', '-'])
}

/// Whether `text` may stand in the command line of a carrier, where it must not be taken for an option.
fn is_plain_name(text: &str) -> bool {
    names::is_identifier(text) && !text.starts_with('-')
}

fn is_folder(text: &str) -> bool {
    let path = text.strip_prefix('~').unwrap_or(text);
    let is_seen = !text.chars().any(crate::shown::is_unseen);
    let is_below = path.len() > 1 && path.split('/').all(|part| part != "..");
    text.len() <= MAX_FOLDER && path.starts_with('/') && is_seen && is_below
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

    fn inventory(&mut self, file: InventoryFile) -> Inventory {
        let InventorySpec { cluster, groups, nodes } = file.spec;
        let name = file.metadata.name;
        if let Some(found) = cluster.as_deref().filter(|text| !names::is_identifier(text)) {
            let expected = names::IDENTIFIER_EXPECTED;
            self.bad("/spec/cluster", "not a valid identifier", found, expected);
        }
        let groups = self.groups(groups);
        let mut merged = Merged::new(&groups);
        let mut seen = HashMap::new();
        let mut attributes = 0_usize;
        let nodes = nodes.into_iter().enumerate().map(|(index, file)| {
            let path = format!("/spec/nodes/{index}");
            if let Some(other) = seen.insert(file.id.clone(), index) {
                let message = format!("node {other} of the list has the same identifier");
                let problem = Problem::new(code::DUPLICATE, format!("{path}/id"), message);
                self.problems.push(problem.found(&file.id));
            }
            let node = self.node(&path, file, &groups, &mut merged);
            attributes = attributes.saturating_add(node.attributes.len());
            node
        });
        let nodes = nodes.collect();
        if attributes > MAX_ATTRIBUTES_OF_ALL {
            let message = "the nodes have too many attributes together";
            let problem = Problem::new(code::TOO_LARGE, "/spec/groups", message);
            let expected = format!("at most {MAX_ATTRIBUTES_OF_ALL}");
            self.problems.push(problem.found(attributes).expected(expected));
        }
        Inventory { cluster: cluster.unwrap_or_else(|| name.clone()), name, nodes }
    }

    fn groups(&mut self, files: BTreeMap<String, SettingsFile>) -> BTreeMap<String, Settings> {
        let groups = files.into_iter().map(|(name, file)| {
            let mut path = "/spec/groups".to_owned();
            push_segment(&mut path, &name);
            if !is_group_name(&name) {
                self.bad(&path, "not a valid name of a group", &name, GROUP_EXPECTED);
            }
            if let Some(carrier) = file.carrier {
                self.useless(&path, &useless(&file, carrier), carrier.as_str());
            }
            let settings = self.settings(&path, file);
            (name, settings)
        });
        groups.collect()
    }

    fn node(
        &mut self,
        path: &str,
        file: NodeFile,
        known: &BTreeMap<String, Settings>,
        merged: &mut Merged<'_>,
    ) -> InventoryNode {
        let NodeFile { id, groups, settings } = file;
        if !is_node_name(&id) {
            self.bad(&format!("{path}/id"), "not a valid identifier", &id, NODE_EXPECTED);
        }
        for (index, group) in groups.iter().enumerate() {
            let path = format!("{path}/groups/{index}");
            if groups.iter().take(index).any(|other| other == group) {
                let message = format!("the node is in the group {group:?} twice");
                self.problems.push(Problem::new(code::DUPLICATE, path, message));
            } else if group == ALL_NODES {
                let message = "all nodes are in the group \"all\": it is not listed";
                self.problems.push(Problem::new(code::BAD_VALUE, path, message));
            } else if !known.contains_key(group) {
                let hint = did_you_mean(group, known.keys().map(String::as_str));
                let hint = hint.map(|meant| format!(": did you mean {meant:?}?"));
                let message = format!("there is no group {group:?}{}", hint.unwrap_or_default());
                let problem = Problem::new(code::BAD_VALUE, path, message);
                self.problems.push(problem.expected("a name in `groups`"));
            }
        }
        let written = settings.clone();
        let settings = self.settings(path, settings);
        let all = merged.of(&groups, settings);
        let carrier = all.carrier();
        self.useless(path, &useless(&written, carrier), carrier.as_str());
        InventoryNode {
            place: all.place(&id),
            attributes: all.attributes(&groups),
            allow: all.allow(),
            become_user: all.file.become_user,
            node_status: all.file.node_status.map(|status| status.command),
            work_folder: all.file.work_folder,
            actions: all.actions,
            id,
            groups,
        }
    }

    fn useless(&mut self, path: &str, keys: &[&str], carrier: &str) {
        for key in keys {
            let message = format!("the carrier `{carrier}` has no {key:?}");
            let problem = Problem::new(code::BAD_VALUE, format!("{path}/{key}"), message);
            self.problems.push(problem);
        }
    }

    /// Checks what a group or a node says.
    fn settings(&mut self, path: &str, mut file: SettingsFile) -> Settings {
        let names = [
            ("host", &file.host),
            ("user", &file.user),
            ("container", &file.container),
            ("pod", &file.pod),
            ("namespace", &file.namespace),
            ("context", &file.context),
            ("become", &file.become_user),
        ];
        let wrong = names.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?)));
        for (key, text) in wrong.filter(|(_, text)| !is_plain_name(text)) {
            self.bad(&format!("{path}/{key}"), "this name is not allowed", text, NAME_EXPECTED);
        }
        if let Some(folder) = file.work_folder.as_deref().filter(|text| !is_folder(text)) {
            let path = format!("{path}/work_folder");
            self.bad(&path, "not a folder for a gateway", folder, FOLDER_EXPECTED);
        }
        for key in file.attributes.keys().filter(|key| key.starts_with(GROUP_ATTRIBUTE)) {
            let mut path = format!("{path}/attributes");
            push_segment(&mut path, key);
            let message = "what begins with `group.` tells of the groups of the node";
            self.problems.push(Problem::new(code::UNKNOWN_KEY, path, message).found(key));
        }
        if let Some(status) = &file.node_status {
            self.command(&format!("{path}/node_status/command"), &status.command);
        }
        let actions = std::mem::take(&mut file.actions).into_iter().map(|(kind, action)| {
            let mut path = format!("{path}/actions");
            push_segment(&mut path, &kind);
            let of_ours = ["replicante.io/", "agent.replicante.io/"];
            if !names::is_action_kind(&kind) || of_ours.iter().any(|of| kind.starts_with(of)) {
                self.bad(&path, "not a valid kind of action", &kind, KIND_EXPECTED);
            }
            let action = self.action(&path, action);
            (kind, action)
        });
        let actions = Arc::new(actions.collect());
        Settings { file, actions }
    }

    fn action(&mut self, path: &str, file: ActionFile) -> InventoryAction {
        let ActionFile { command, timeout, become_user, check } = file;
        self.command(&format!("{path}/command"), &command);
        let mut length = DEFAULT_TIMEOUT;
        if let Some(text) = timeout {
            let path = format!("{path}/timeout");
            match units::parse_duration(&text) {
                Some(asked) if asked <= MAX_TIMEOUT => length = asked,
                Some(_) => self.bad(&path, "this is too long", &text, "at most 24h"),
                None => {
                    self.bad(&path, "not a valid length of time", &text, units::DURATION_EXPECTED);
                }
            }
        }
        if let Some(user) = become_user.as_deref().filter(|text| !is_plain_name(text)) {
            self.bad(&format!("{path}/become"), "this name is not allowed", user, NAME_EXPECTED);
        }
        InventoryAction { command, timeout: length, become_user, check }
    }

    fn command(&mut self, path: &str, words: &[String]) {
        if words.first().is_some_and(String::is_empty) {
            self.bad(&format!("{path}/0"), "there is no program", "", "a program");
        }
        for (index, word) in words.iter().enumerate().filter(|(_, word)| word.contains('\0')) {
            let expected = "text without the character U+0000, which no command line has";
            self.bad(&format!("{path}/{index}"), "this value is not allowed", word, expected);
        }
        let bytes: usize = words.iter().map(String::len).sum();
        if bytes > MAX_COMMAND_BYTES {
            let problem = Problem::new(code::TOO_LARGE, path, "the command is too long");
            let expected = format!("at most {MAX_COMMAND_BYTES} bytes");
            self.problems.push(problem.found(format!("{bytes} bytes")).expected(expected));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_GROUPS, MAX_NODES};
    use super::*;
    use crate::playbook::problem::Problems;

    const HEAD: &str =
        "apiVersion: replicante.io/v1\nkind: Inventory\nmetadata: { name: web }\nspec:\n";

    fn wrong(spec: &str) -> Vec<(String, String)> {
        let Problems(problems) = parse_inventory(format!("{HEAD}{spec}").as_bytes()).unwrap_err();
        problems.into_iter().map(|problem| (problem.path, problem.code)).collect()
    }

    #[test]
    fn names_are_part_of_an_address_and_of_command_lines() {
        for good in ["web-1", "web.example.com", "fe80::1", "eu/web-1", "é"] {
            assert!(is_node_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "@run", "a\u{202e}b", &"x".repeat(257), &"é".repeat(200)]
        {
            assert!(!is_node_name(bad), "{bad}");
        }
        for good in ["web", "Web_1", "a.b-c", "_a"] {
            assert!(is_group_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "é", &"x".repeat(64)] {
            assert!(!is_group_name(bad), "{bad}");
        }
        for good in ["/a", "~/a", "/var/lib/x y"] {
            assert!(is_folder(good), "{good}");
        }
        for bad in ["", "/", "~", "~/", "~a/b", "a", "/a/../b", "/a\nb", &"/x".repeat(257)] {
            assert!(!is_folder(bad), "{bad}");
        }
    }

    #[test]
    fn an_inventory_has_limits() {
        let nodes = |count: usize| {
            let nodes = (0..count).map(|n| format!("    - {{ id: n{n} }}\n"));
            format!("  nodes:\n{}", nodes.collect::<String>())
        };
        assert!(parse_inventory(format!("{HEAD}{}", nodes(MAX_NODES)).as_bytes()).is_ok());
        assert_eq!(wrong(&nodes(MAX_NODES + 1)), [("/spec/nodes".into(), code::BAD_VALUE.into())]);
        let groups = (0..=MAX_GROUPS).map(|n| format!("    g{n}: {{}}\n")).collect::<String>();
        assert_eq!(
            wrong(&format!("  groups:\n{groups}")),
            [("/spec/groups".into(), code::BAD_VALUE.into())]
        );
        let long = "x".repeat(MAX_COMMAND_BYTES);
        let long = format!("  groups: {{ all: {{ node_status: {{ command: [a, {long}] }} }} }}");
        let path = "/spec/groups/all/node_status/command".to_owned();
        assert_eq!(wrong(&long), [(path, code::TOO_LARGE.into())]);
    }

    #[test]
    fn the_attributes_of_all_nodes_together_are_bounded() {
        let attributes = (0..200).map(|n| format!("a{n}: 1")).collect::<Vec<_>>().join(", ");
        let spec = |nodes: usize| {
            let nodes = (0..nodes).map(|n| format!("    - {{ id: n{n} }}\n")).collect::<String>();
            format!("  groups: {{ all: {{ attributes: {{ {attributes} }} }} }}\n  nodes:\n{nodes}")
        };
        let most = MAX_ATTRIBUTES_OF_ALL / 200;
        assert!(parse_inventory(format!("{HEAD}{}", spec(most)).as_bytes()).is_ok());
        let expected = [("/spec/groups".into(), code::TOO_LARGE.into())];
        assert_eq!(wrong(&spec(most + 1)), expected);
    }
}
