//! Which variables of a host become attributes of its node. Attributes are shown to everybody who may look at a run, and are
//! kept with it: so nothing that is, or may be, a secret is carried over.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::playbook::inventory::{GROUP_ATTRIBUTE, MAX_ATTRIBUTES};

/// The longest text of an attribute that is made here, in bytes. Attributes tell nodes apart; longer texts are
/// configuration, which belongs into a playbook or a file.
const MAX_TEXT: usize = 1024;

/// What texts of Ansible's vault begin with.
const VAULT: &str = "$ANSIBLE_VAULT;";

/// Under this key `ansible-inventory` prints a text of the vault.
const VAULT_KEY: &str = "__ansible_vault";

/// Under this key `ansible-inventory` prints a text that is no template.
const UNSAFE_KEY: &str = "__ansible_unsafe";

/// What is in the names of variables that have secrets.
const SECRET_PARTS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "access_key",
];

/// Whole words of such names, which are parts of harmless ones too.
const SECRET_WORDS: [&str; 3] = ["pass", "pwd", "pw"];

/// What texts with private keys begin with.
const PEM: &str = "-----BEGIN";

/// Variables about how a host is reached: they become places, or are noted where that is done.
const OF_PLACES: [&str; 25] = [
    "ansible_connection",
    "ansible_host",
    "ansible_ssh_host",
    "ansible_docker_host",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_become",
    "ansible_become_user",
    "ansible_become_method",
    "ansible_kubectl_pod",
    "ansible_kubectl_namespace",
    "ansible_kubectl_container",
    "ansible_kubectl_context",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_ssh_args",
    "ansible_ssh_executable",
    "ansible_ssh_transfer_method",
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_become_password",
];

/// Passwords that are noted where places are made, besides those above.
const OF_PASSWORDS: [&str; 3] =
    ["ansible_ssh_password", "ansible_become_pass", "ansible_sudo_pass"];

/// The attributes of a host, and what was noted about its other variables. `wanted` has the names that may become
/// attributes; all of them if it is `None`.
pub(super) fn attributes(
    vars: &Map<String, Value>,
    wanted: Option<&BTreeSet<String>>,
    note: &mut dyn FnMut(String),
) -> Map<String, Value> {
    let mut attributes = Map::new();
    for (name, value) in vars {
        let is_of_place =
            OF_PLACES.contains(&name.as_str()) || OF_PASSWORDS.contains(&name.as_str());
        if is_of_place && !is_vault(value) {
            continue;
        }
        let why = match left_behind(name, value) {
            Some(why) => why,
            None if wanted.is_some_and(|wanted| !wanted.contains(name)) => {
                "--attributes names others".to_owned()
            }
            None if attributes.len() >= MAX_ATTRIBUTES => {
                format!("a node has at most {MAX_ATTRIBUTES} attributes of its own")
            }
            None => {
                attributes.insert(name.clone(), value.clone());
                continue;
            }
        };
        note(format!("{name} is left out: {why}"));
    }
    attributes
}

/// Why a variable can't be an attribute; `None` if it can.
fn left_behind(name: &str, value: &Value) -> Option<String> {
    if is_vault(value) {
        let why = "it is encrypted by ansible-vault; a playbook has secrets by `secret(NAME)`, from the server's --secrets";
        return Some(why.to_owned());
    }
    if is_secret_name(name) {
        let why = "its name is that of a secret; a playbook has secrets by `secret(NAME)`, from the server's --secrets";
        return Some(why.to_owned());
    }
    if name == "ansible_group_priority" {
        let why = "groups at the same depth count in the order of their names";
        return Some(why.to_owned());
    }
    if name.starts_with("ansible_") {
        return Some("it is a setting of Ansible itself".to_owned());
    }
    if name.starts_with(GROUP_ATTRIBUTE) {
        return Some(format!("what begins with `{GROUP_ATTRIBUTE}` tells of groups"));
    }
    let kind = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
        Value::String(text) => return left_text(text),
        Value::Array(_) => "list",
        Value::Object(_) => "mapping",
    };
    Some(format!("it is a {kind}; an attribute is a text, a number, a boolean or null"))
}

fn left_text(text: &str) -> Option<String> {
    if text.contains(PEM) {
        return Some("it has a key or a certificate, which belongs into a file".to_owned());
    }
    if text.contains("{{") || text.contains("{%") {
        return Some("it is a template, which only Ansible fills in".to_owned());
    }
    let length = text.len();
    (length > MAX_TEXT)
        .then(|| format!("it has {length} bytes; an attribute has at most {MAX_TEXT}"))
}

/// Whether this is a text of Ansible's vault, as files or `ansible-inventory` have it.
pub(super) fn is_vault(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_start().starts_with(VAULT),
        Value::Object(object) => object.contains_key(VAULT_KEY),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '.'], "_");
    let is_word = |word: &str| SECRET_WORDS.contains(&word);
    SECRET_PARTS.iter().any(|part| name.contains(part)) || name.split('_').any(is_word)
}

/// The value of a variable without the wrapping in which `ansible-inventory` prints some texts.
pub(super) fn unwrapped(value: Value) -> Value {
    match value {
        Value::Object(mut object) if object.len() == 1 && object.contains_key(UNSAFE_KEY) => {
            object.remove(UNSAFE_KEY).unwrap_or_default()
        }
        value @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn carried(vars: Value, wanted: Option<&[&str]>) -> (Value, Vec<String>) {
        let vars = vars.as_object().cloned().unwrap();
        let wanted = wanted.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let mut notes = Vec::new();
        let carried = attributes(&vars, wanted.as_ref(), &mut |note| notes.push(note));
        (Value::Object(carried), notes)
    }

    #[test]
    fn plain_values_become_attributes() {
        let vars = json!({"zone": "a", "votes": 1, "spare": false, "note": null, "passive": "x", "tokyo": 1});
        assert_eq!(carried(vars.clone(), None), (vars, Vec::new()));
        let (some, notes) = carried(json!({"zone": "a", "votes": 1}), Some(&["zone"]));
        assert_eq!(some, json!({"zone": "a"}));
        assert_eq!(notes, ["votes is left out: --attributes names others"]);
    }

    #[test]
    fn no_secret_is_carried_over_or_shown() {
        let secret = "hunter2";
        let vars = json!({
            "db_password": secret, "API-Token": secret, "mysql_root_pass": secret, "pw": secret, "aws_secret_access_key": secret,
            "sealed": format!("{VAULT}1.1;AES256\n{secret}"), "listed": {VAULT_KEY: secret},
            "tls": format!("-----BEGIN PRIVATE KEY-----\n{secret}"), "ansible_password": secret, "ansible_winrm_pass": secret,
        });
        let (carried, notes) = carried(vars, None);
        assert_eq!(carried, json!({}));
        // The password of the connection is noted where its place is made.
        assert_eq!(notes.len(), 9, "{notes:?}");
        assert!(!notes.concat().contains(secret), "{notes:?}");
    }

    #[test]
    fn what_no_attribute_can_be_stays_behind_with_its_reason() {
        for (value, expected) in [
            (json!([1]), "it is a list"),
            (json!({"a": 1}), "it is a mapping"),
            (json!("{{ zone }}-x"), "it is a template"),
            (json!("x".repeat(MAX_TEXT + 1)), "it has 1025 bytes"),
        ] {
            let (carried, notes) = carried(json!({"it": value}), None);
            assert_eq!(carried, json!({}));
            assert!(notes.len() == 1 && notes[0].contains(expected), "{notes:?}");
        }
        for (name, expected) in [
            ("ansible_python_interpreter", "a setting of Ansible"),
            ("ansible_group_priority", "in the order of their names"),
            ("group.web", "tells of groups"),
        ] {
            let (_, notes) = carried(json!({name: "x"}), None);
            assert!(notes[0].contains(expected), "{notes:?}");
        }
        let many: Map<String, Value> =
            (0..=MAX_ATTRIBUTES).map(|n| (format!("v{n}"), json!(n))).collect();
        let (carried, notes) = carried(Value::Object(many), None);
        assert_eq!(carried.as_object().unwrap().len(), MAX_ATTRIBUTES);
        assert!(notes[0].contains("at most 200 attributes"), "{notes:?}");
    }

    #[test]
    fn texts_that_are_no_templates_are_unwrapped() {
        assert_eq!(unwrapped(json!({"__ansible_unsafe": "x"})), json!("x"));
        assert_eq!(unwrapped(json!({"a": "x"})), json!({"a": "x"}));
    }
}
