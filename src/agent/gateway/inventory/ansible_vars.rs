//! Variables of Ansible that say how a host is reached, in the words of an inventory.

use serde_json::{Map, Value, json};

/// Variables that are not taken over because OpenSSH reads them from its own configuration.
const OF_SSH: [&str; 7] = [
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_ssh_args",
    "ansible_ssh_executable",
    "ansible_ssh_transfer_method",
];

/// Variables that have passwords, which a gateway never has.
const PASSWORDS: [&str; 6] = [
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_become_password",
    "ansible_become_pass",
    "ansible_sudo_pass",
];

/// What a host's variables say of it. `attributes` are the variables that become attributes of the node.
pub(crate) fn node_of(
    host: &str,
    vars: &Map<String, Value>,
    attributes: &[String],
    note: &mut dyn FnMut(String),
) -> Map<String, Value> {
    let mut node = Map::new();
    let mut reader = Reader { host, vars, note };
    match reader.carrier() {
        "ssh" => {
            let address = reader.text(&["ansible_host", "ansible_ssh_host"]);
            put(&mut node, "host", address.filter(|address| address != host));
            put(&mut node, "user", reader.text(&["ansible_user", "ansible_ssh_user"]));
            put(&mut node, "port", reader.port());
        }
        "kubectl" => {
            node.insert("carrier".to_owned(), json!("kubectl"));
            for (key, name) in [
                ("pod", "ansible_kubectl_pod"),
                ("namespace", "ansible_kubectl_namespace"),
                ("container", "ansible_kubectl_container"),
                ("context", "ansible_kubectl_context"),
            ] {
                put(&mut node, key, reader.text(&[name]));
            }
        }
        "local" => {
            node.insert("carrier".to_owned(), json!("local"));
        }
        engine => {
            node.insert("carrier".to_owned(), json!(engine));
            let container = reader.text(&["ansible_host", "ansible_docker_host"]);
            put(&mut node, "container", container.filter(|name| name != host));
            put(&mut node, "user", reader.text(&["ansible_user"]));
        }
    }
    put(&mut node, "become", reader.become_user());
    reader.leave_out();
    let attributes = reader.attributes(attributes);
    if !attributes.is_empty() {
        node.insert("attributes".to_owned(), Value::Object(attributes));
    }
    node
}

fn put(node: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    node.extend(value.map(|value| (key.to_owned(), value.into())));
}

struct Reader<'a> {
    host: &'a str,
    vars: &'a Map<String, Value>,
    note: &'a mut dyn FnMut(String),
}

impl<'a> Reader<'a> {
    /// What reaches the host, as an inventory says it.
    fn carrier(&mut self) -> &'static str {
        let found = self.text(&["ansible_connection"]).unwrap_or_default();
        match found.rsplit('.').next().unwrap_or_default() {
            "" | "ssh" | "smart" | "paramiko" | "paramiko_ssh" | "openssh" => "ssh",
            "local" => "local",
            "docker" | "docker_api" => "docker",
            "podman" => "podman",
            "kubectl" => "kubectl",
            _ => {
                (self.note)(format!(
                    "{}: ansible_connection is {found:?}, which is taken for ssh; a gateway knows ssh, local, docker, \
                     podman and kubectl",
                    self.host
                ));
                "ssh"
            }
        }
    }

    /// The text of the first of these variables that is set.
    fn text(&mut self, names: &[&str]) -> Option<String> {
        let (name, value) = names.iter().find_map(|name| Some((*name, self.vars.get(*name)?)))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null => return None,
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                (self.note)(format!("{}: {name} is left out: it is no text", self.host));
                return None;
            }
        };
        if is_template(&text) {
            (self.note)(format!(
                "{}: {name} is left out: it is a template, which only Ansible fills in",
                self.host
            ));
            return None;
        }
        Some(text).filter(|text| !text.is_empty())
    }

    fn port(&mut self) -> Option<u16> {
        let text = self.text(&["ansible_port", "ansible_ssh_port"])?;
        let port = text.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            (self.note)(format!("{}: the port {text:?} is left out: it is none", self.host));
        }
        port
    }

    fn become_user(&mut self) -> Option<String> {
        let is_on = match self.vars.get("ansible_become")? {
            Value::Bool(is_on) => *is_on,
            Value::String(text) => {
                matches!(text.to_lowercase().as_str(), "true" | "yes" | "on" | "1")
            }
            Value::Number(number) => number.as_i64() == Some(1),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if !is_on {
            return None;
        }
        let method = self.text(&["ansible_become_method"]);
        if let Some(method) = method.filter(|method| !method.ends_with("sudo")) {
            (self.note)(format!(
                "{}: ansible_become_method is {method:?}; a gateway knows sudo alone",
                self.host
            ));
        }
        self.text(&["ansible_become_user"]).or_else(|| Some("root".to_owned()))
    }

    /// Notes what is known to Ansible and not to a gateway.
    fn leave_out(&mut self) {
        for name in OF_SSH.into_iter().filter(|name| self.vars.contains_key(*name)) {
            (self.note)(format!("{name} is left out: say it in the ssh_config of the gateway"));
        }
        for name in PASSWORDS.into_iter().filter(|name| self.vars.contains_key(*name)) {
            (self.note)(format!(
                "{name} is left out: a gateway has no passwords; use a key, and NOPASSWD in sudoers"
            ));
        }
    }

    /// The variables that become attributes.
    fn attributes(&mut self, names: &[String]) -> Map<String, Value> {
        let mut attributes = Map::new();
        for name in names {
            match self.vars.get(name) {
                None => {}
                Some(Value::String(text)) if is_template(text) => {
                    (self.note)(format!(
                        "{}: {name} is left out: it is a template, which only Ansible fills in",
                        self.host
                    ));
                }
                Some(
                    value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)),
                ) => {
                    attributes.insert(name.clone(), value.clone());
                }
                Some(Value::Array(_) | Value::Object(_)) => (self.note)(format!(
                    "{}: {name} is left out: an attribute is a text, a number, a boolean or null",
                    self.host
                )),
            }
        }
        attributes
    }
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: Value, attributes: &[&str]) -> (Value, Vec<String>) {
        let attributes: Vec<String> = attributes.iter().map(|&name| name.to_owned()).collect();
        let mut notes = Vec::new();
        let vars = vars.as_object().cloned().unwrap();
        let node = node_of("web-1", &vars, &attributes, &mut |note| notes.push(note));
        (Value::Object(node), notes)
    }

    #[test]
    fn how_a_host_is_reached_is_said_in_our_words() {
        for (vars, expected) in [
            (json!({}), json!({})),
            (json!({"ansible_host": "web-1"}), json!({})),
            (
                json!({"ansible_ssh_host": "10.0.0.1", "ansible_ssh_user": "ann", "ansible_port": "22", "ansible_become": "yes"}),
                json!({"host": "10.0.0.1", "user": "ann", "port": 22, "become": "root"}),
            ),
            (
                json!({"ansible_connection": "local", "ansible_host": "x", "ansible_become": true, "ansible_become_user": "db"}),
                json!({"carrier": "local", "become": "db"}),
            ),
            (
                json!({"ansible_connection": "community.docker.docker", "ansible_host": "shop", "ansible_user": 1000}),
                json!({"carrier": "docker", "container": "shop", "user": "1000"}),
            ),
            (
                json!({"ansible_connection": "kubernetes.core.kubectl", "ansible_kubectl_pod": "a-0", "ansible_kubectl_namespace": "shop"}),
                json!({"carrier": "kubectl", "pod": "a-0", "namespace": "shop"}),
            ),
            (json!({"ansible_become": false, "ansible_become_user": "root"}), json!({})),
        ] {
            assert_eq!(read(vars.clone(), &[]), (expected, Vec::new()), "{vars}");
        }
    }

    #[test]
    fn variables_become_attributes_only_where_they_are_named() {
        let vars = json!({"zone": "a", "votes": 1, "db_password": "hunter2", "disks": [1], "name": "{{ inventory_hostname }}"});
        let (node, notes) = read(vars, &["zone", "votes", "disks", "name", "absent"]);
        assert_eq!(node, json!({"attributes": {"zone": "a", "votes": 1}}));
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn what_can_not_be_taken_over_is_said_without_its_value() {
        let vars = json!({
            "ansible_connection": "winrm", "ansible_host": "{{ ip }}", "ansible_port": 0, "ansible_user": ["a"],
            "ansible_become": true, "ansible_become_method": "su", "ansible_password": "hunter2",
            "ansible_ssh_private_key_file": "~/.ssh/x",
        });
        let (node, notes) = read(vars, &[]);
        assert_eq!(node, json!({"become": "root"}));
        assert_eq!(notes.len(), 7, "{notes:?}");
        assert!(notes.iter().all(|note| !note.contains("hunter2")), "{notes:?}");
    }
}
