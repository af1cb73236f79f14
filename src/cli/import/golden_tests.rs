//! Inventories of Ansible in `tests/fixtures/ansible/`. Beside each is `NAME.golden` with the documents that come of it and
//! what is noted; `UPDATE_EXPECT=1` writes these files again. `listed.json` is what `ansible-inventory --list` of
//! ansible-core 2.19 printed about an inventory like `shop.ini`, with variables in group_vars.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ansible::{Wanted, imported};
use super::hosts::without_tags;
use super::notes::Notes;
use crate::agent::gateway::{ansible_hosts, node_of};
use crate::cli::output::to_yaml;
use crate::playbook::inventory::{Allowance, Inventory, InventoryPlace, parse_inventory};
use crate::playbook::parse_cluster;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ansible")
}

fn inventories() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: &PathBuf| path.extension().is_some_and(|e| e != "golden");
    let mut paths: Vec<PathBuf> = entries.filter(of).collect();
    paths.sort();
    paths
}

/// The documents and the notes, as texts.
fn import(bytes: &[u8]) -> (String, String, Vec<String>) {
    let wanted = Wanted {
        name: "shop",
        gateway: "http://127.0.0.1:8300",
        attributes: None,
        allow: &[Allowance::Command, Allowance::PutFile],
    };
    let mut notes = Notes::default();
    let made = imported(bytes, &wanted, &mut notes).unwrap();
    let texts = (to_yaml(&made.inventory).unwrap(), to_yaml(&made.cluster).unwrap());
    (texts.0, texts.1, notes.lines(made.nodes))
}

fn read(inventory: &str) -> Inventory {
    parse_inventory(inventory.as_bytes()).unwrap()
}

#[test]
fn inventories_become_their_golden_documents() {
    let paths = inventories();
    assert!(paths.len() >= 3, "{paths:?}");
    for path in paths {
        let (inventory, cluster, notes) = import(&fs::read(&path).unwrap());
        parse_cluster(cluster.as_bytes()).unwrap();
        let notes: String = notes.iter().map(|note| format!("# note: {note}\n")).collect();
        let found = format!("{inventory}---\n{cluster}{notes}");
        let golden = path.with_extension("golden");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        assert_eq!(found, expected, "{}: UPDATE_EXPECT=1 writes it again", golden.display());
    }
}

/// What groups say and what nodes say comes to what Ansible says of each host.
#[test]
fn each_node_gets_what_counts_for_its_host() {
    for path in inventories() {
        let bytes = fs::read(&path).unwrap();
        let inventory = read(&import(&bytes).0);
        let nodes: BTreeMap<&str, _> =
            inventory.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        for host in ansible_hosts(&without_tags(&bytes)).unwrap() {
            let node = nodes[host.name.as_str()];
            for (name, value) in &host.vars {
                let Some(attribute) = node.attributes.get(name) else { continue };
                let value = value.get("__ansible_unsafe").unwrap_or(value);
                assert_eq!(attribute, value, "{}: {name}", host.name);
            }
            let place = node_of(&host.name, &host.vars, &[], &mut drop);
            let text = |key: &str| place.get(key).and_then(Value::as_str).map(str::to_owned);
            assert_eq!(node.become_user, text("become"), "{}", host.name);
            if let InventoryPlace::Ssh { host: address, user, port } = &node.place {
                let found = (address.clone(), user.clone(), port.map(u64::from));
                let port = place.get("port").and_then(Value::as_u64);
                let expected = (text("host").unwrap_or(host.name.clone()), text("user"), port);
                assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn nothing_secret_is_in_what_comes_of_them() {
    for path in inventories() {
        let (inventory, cluster, notes) = import(&fs::read(&path).unwrap());
        for text in [inventory, cluster, notes.concat()] {
            for secret in ["hunter2", "$ANSIBLE_VAULT", "6231336539666234"] {
                assert!(!text.contains(secret), "{}: {text}", path.display());
            }
        }
    }
}
