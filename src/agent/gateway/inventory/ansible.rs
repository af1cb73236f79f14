//! Inventories of Ansible: what `ansible-inventory --list` prints, and static files in YAML or INI.

use serde_json::{Map, Value};

use super::ansible_ini;
use super::ansible_tree::{AnsibleHost, Tree};
use super::ansible_vars::node_of;
use super::hosts::Hosts;
use super::range::expand;
use crate::playbook::inventory::ALL_NODES;
use crate::playbook::{Limits, MAX_CLUSTER_BYTES, Problem, Problems, Text, code, describe};

/// The deepest nesting of groups in YAML. People have a handful of levels, and each is two of those of the text.
const MAX_LEVELS: usize = 16;

/// Reads an inventory of Ansible, of whichever form. `vars` are the names of the variables that become attributes.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read_ansible(bytes: &[u8], vars: &[String]) -> Result<Hosts, Problems> {
    let mut hosts = Hosts::default();
    for host in ansible_hosts(bytes)? {
        let node = node_of(&host.name, &host.vars, vars, &mut |note| hosts.note(note));
        hosts.add(&host.name, host.groups, node);
    }
    Ok(hosts)
}

/// The hosts of an inventory of Ansible, each with all that counts for it.
///
/// # Errors
/// Everything that is wrong with the inventory.
pub(crate) fn ansible_hosts(bytes: &[u8]) -> Result<Vec<AnsibleHost>, Problems> {
    let tree = match form(bytes) {
        Form::Ini => ansible_ini::read(text_of(bytes)?)?,
        Form::Value => {
            let text = Text::read(bytes, Limits::CLUSTER)?;
            let problems = text.problems.iter().map(tagged);
            text.check(problems.collect())?;
            of_value(&text.value).map_err(|problem| *problem)?
        }
    };
    tree.into_hosts()
}

enum Form {
    Ini,
    Value,
}

/// Which form a text has: the first line that says something decides.
fn form(bytes: &[u8]) -> Form {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim);
    let first = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let first = first.unwrap_or_default();
    let key = first.split('#').next().unwrap_or_default().trim_end();
    let is_value = first.starts_with('{') || first == "---" || first.starts_with("--- ");
    match is_value || key.ends_with(':') || key.contains(": ") {
        true => Form::Value,
        false => Form::Ini,
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Problems> {
    if bytes.len() > MAX_CLUSTER_BYTES {
        let problem = Problem::new(code::TOO_LARGE, "", "the inventory is too large");
        return Err(problem.expected(format!("at most {MAX_CLUSTER_BYTES} bytes")).into());
    }
    std::str::from_utf8(bytes).map_err(|_| {
        let problem = Problem::new(code::ENCODING, "", "the inventory is not UTF-8");
        problem.expected("text in UTF-8").into()
    })
}

/// What to do about a value of the vault, which only Ansible can read.
fn tagged(problem: &Problem) -> Problem {
    let mut problem = problem.clone();
    if problem.message.contains("tag") {
        problem.message.push_str("; `ansible-inventory --list` reads what only Ansible can");
    }
    problem
}

fn of_value(value: &Value) -> Result<Tree, Box<Problem>> {
    let groups = mapping(value, "", "a mapping of groups")?;
    let mut tree = Tree::default();
    let is_list = groups.contains_key("_meta")
        || groups
            .values()
            .any(|group| group.is_array() || group.get("hosts").is_some_and(Value::is_array));
    for (name, group) in groups {
        let path = format!("/{name}");
        if name == "_meta" {
            let Some(vars) = group.get("hostvars") else { continue };
            for (host, vars) in mapping(vars, "/_meta/hostvars", "a mapping of hosts")? {
                let path = format!("/_meta/hostvars/{host}");
                let vars = mapping(vars, &path, "a mapping of variables")?;
                tree.host(ALL_NODES, host, vars.clone())?;
            }
        } else if is_list {
            listed(&mut tree, name, group, &path)?;
        } else {
            nested(&mut tree, name, group, &path, 0)?;
        }
    }
    Ok(tree)
}

/// A group of `ansible-inventory --list`: names of hosts and of groups.
fn listed(tree: &mut Tree, name: &str, group: &Value, path: &str) -> Result<(), Box<Problem>> {
    tree.group(name)?;
    if let Value::Array(hosts) = group {
        // Old scripts print a group as the list of its hosts.
        return each(hosts, path, |host| tree.host(name, host, Map::new()));
    }
    let group = mapping(group, path, "a mapping with hosts, children and vars")?;
    if let Some(hosts) = group.get("hosts") {
        let path = format!("{path}/hosts");
        let hosts = hosts.as_array().ok_or_else(|| wrong(hosts, &path, "a list of hosts"))?;
        each(hosts, &path, |host| tree.host(name, host, Map::new()))?;
    }
    if let Some(children) = group.get("children") {
        let path = format!("{path}/children");
        let children =
            children.as_array().ok_or_else(|| wrong(children, &path, "a list of groups"))?;
        each(children, &path, |child| tree.child(name, child))?;
    }
    match group.get("vars") {
        Some(vars) => {
            let vars = mapping(vars, &format!("{path}/vars"), "a mapping of variables")?;
            tree.set(name, vars.clone())
        }
        None => Ok(()),
    }
}

fn each(
    list: &[Value],
    path: &str,
    mut take: impl FnMut(&str) -> Result<(), Box<Problem>>,
) -> Result<(), Box<Problem>> {
    for (index, item) in list.iter().enumerate() {
        let path = format!("{path}/{index}");
        take(item.as_str().ok_or_else(|| wrong(item, &path, "a name"))?)?;
    }
    Ok(())
}

/// A group of a static file in YAML: hosts with their variables, and groups in their places.
fn nested(
    tree: &mut Tree,
    name: &str,
    group: &Value,
    path: &str,
    level: usize,
) -> Result<(), Box<Problem>> {
    if level > MAX_LEVELS {
        let problem = Problem::new(code::BAD_VALUE, path, "groups are nested too deep");
        return Err(problem.expected(format!("at most {MAX_LEVELS} levels")).into());
    }
    tree.group(name)?;
    if group.is_null() {
        return Ok(());
    }
    let group = mapping(group, path, "a mapping with hosts, children and vars")?;
    for (key, value) in group.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("{path}/{key}");
        match key.as_str() {
            "hosts" => {
                for (names, vars) in mapping(value, &path, "a mapping of hosts")? {
                    let path = format!("{path}/{names}");
                    let vars = match vars {
                        Value::Null => Map::new(),
                        Value::Bool(_)
                        | Value::Number(_)
                        | Value::String(_)
                        | Value::Array(_)
                        | Value::Object(_) => {
                            mapping(vars, &path, "a mapping of variables")?.clone()
                        }
                    };
                    for host in expand(names).map_err(|problem| Problem { path, ..*problem })? {
                        tree.host(name, &host, vars.clone())?;
                    }
                }
            }
            "children" => {
                for (child, below) in mapping(value, &path, "a mapping of groups")? {
                    tree.child(name, child)?;
                    nested(tree, child, below, &format!("{path}/{child}"), level + 1)?;
                }
            }
            "vars" => {
                tree.set(name, mapping(value, &path, "a mapping of variables")?.clone())?;
            }
            other => {
                let message = format!("unknown key {other:?} of a group");
                let problem = Problem::new(code::UNKNOWN_KEY, path, message);
                return Err(problem.expected("one of hosts, children, vars").into());
            }
        }
    }
    Ok(())
}

fn mapping<'v>(
    value: &'v Value,
    path: &str,
    expected: &str,
) -> Result<&'v Map<String, Value>, Box<Problem>> {
    value.as_object().ok_or_else(|| wrong(value, path, expected))
}

fn wrong(value: &Value, path: &str, expected: &str) -> Box<Problem> {
    let problem = Problem::new(code::WRONG_TYPE, path, "wrong type of value");
    problem.found(describe(value)).expected(expected).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INI: &str = "[web]\nweb[1:2] zone=a\n[db]\ndb-1 ansible_host=10.0.0.9\n[eu:children]\nweb\n[eu:vars]\nansible_user=ann\n";

    const YAML: &str = "all:\n  children:\n    eu:\n      vars: { ansible_user: ann }\n      children:\n        \
                        web: { hosts: { 'web[1:2]': { zone: a } } }\n    db: { hosts: { db-1: { ansible_host: 10.0.0.9 } } }\n";

    const LIST: &str = r#"{
        "_meta": {"hostvars": {"web1": {"zone": "a", "ansible_user": "ann"}, "web2": {"zone": "a", "ansible_user": "ann"},
            "db-1": {"ansible_host": "10.0.0.9"}}},
        "all": {"children": ["ungrouped", "eu", "db"]}, "eu": {"children": ["web"]},
        "web": {"hosts": ["web1", "web2"]}, "db": {"hosts": ["db-1"]}
    }"#;

    #[test]
    fn the_three_forms_say_the_same() {
        let vars = ["zone".to_owned()];
        let expected = json!([
            {"id": "web1", "groups": ["eu", "web"], "user": "ann", "attributes": {"zone": "a"}},
            {"id": "web2", "groups": ["eu", "web"], "user": "ann", "attributes": {"zone": "a"}},
            {"id": "db-1", "groups": ["db"], "host": "10.0.0.9"},
        ]);
        for text in [INI, YAML, LIST] {
            let hosts = read_ansible(text.as_bytes(), &vars).unwrap();
            assert_eq!(json!(hosts.nodes), expected, "{text}");
            assert!(hosts.notes().is_empty(), "{:?}", hosts.notes());
        }
        let old = read_ansible(br#"{"web": ["a"], "db": {"hosts": ["b"]}}"#, &vars).unwrap();
        assert_eq!(old.nodes.len(), 2);
        assert_eq!(read_ansible(b"# nobody\n", &vars).unwrap().nodes.len(), 0);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("all:\n  hots: {}\n", "/all/hots: unknown key"),
            ("all:\n  hosts: [a]\n  children: {}\n", "expected"),
            ("all:\n  hosts: { a: [1] }\n", "/all/hosts/a: wrong type of value"),
            ("all:\n  hosts: { 'a[2:1]': }\n", "a range can't be read"),
            (r#"{"_meta": {"hostvars": []}}"#, "/_meta/hostvars: wrong type of value"),
            (r#"{"web": {"hosts": [1]}}"#, "/web/hosts/0: wrong type of value"),
            (
                r#"{"a": {"hosts": [], "children": ["b"]}, "b": {"children": ["a"]}}"#,
                "below itself",
            ),
        ] {
            let message = read_ansible(text.as_bytes(), &[]).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let deep =
            (0..20).fold("null".to_owned(), |below, n| format!("{{children: {{g{n}: {below}}}}}"));
        let deep = read_ansible(format!("all: {deep}\n").as_bytes(), &[]).unwrap_err().to_string();
        assert!(deep.contains("at most 16 levels"), "{deep}");
        assert!(read_ansible(b"[web]\n\xff\n", &[]).unwrap_err().to_string().contains("UTF-8"));
        let vault = "all:\n  vars:\n    password: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n";
        let vault = read_ansible(vault.as_bytes(), &[]).unwrap_err().to_string();
        assert!(vault.contains("ansible-inventory --list"), "{vault}");
    }
}
