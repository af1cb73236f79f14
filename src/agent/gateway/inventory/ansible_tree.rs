//! An inventory of Ansible: groups, the groups below them, and what variables are set where. Which groups a host is in, and
//! which of its variables count, is worked out as Ansible does it: what is set further down counts, of groups at the same
//! depth the last one by name, and what a host says itself counts over all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::playbook::inventory::{ALL_NODES, MAX_GROUPS, MAX_NODES};
use crate::playbook::{Problem, Problems, code};

/// The group of hosts that are in no other one.
const UNGROUPED: &str = "ungrouped";

/// An inventory of Ansible.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    groups: BTreeMap<String, Group>,
    /// The hosts, in the order in which they were found, with what they say themselves.
    hosts: Vec<String>,
    vars: BTreeMap<String, Map<String, Value>>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    hosts: BTreeSet<String>,
    children: BTreeSet<String>,
    vars: Map<String, Value>,
}

/// A host, with all that counts for it.
#[derive(Debug, PartialEq)]
pub(crate) struct AnsibleHost {
    pub(crate) name: String,
    /// Its groups, those further up first, without `all` and `ungrouped`.
    pub(crate) groups: Vec<String>,
    pub(crate) vars: Map<String, Value>,
}

impl Tree {
    /// Makes a group known.
    ///
    /// # Errors
    /// There are more groups than an inventory has.
    pub(super) fn group(&mut self, name: &str) -> Result<(), Box<Problem>> {
        self.entry(name).map(drop)
    }

    fn entry(&mut self, name: &str) -> Result<&mut Group, Box<Problem>> {
        // Besides those that are not taken over.
        if self.groups.len() > MAX_GROUPS + 1 && !self.groups.contains_key(name) {
            let problem = Problem::new(code::TOO_LARGE, "", "there are too many groups");
            return Err(problem.expected(format!("at most {MAX_GROUPS}")).into());
        }
        Ok(self.groups.entry(name.to_owned()).or_default())
    }

    /// Puts a host into a group, and adds to what it says itself.
    ///
    /// # Errors
    /// There are more hosts or groups than an inventory has.
    pub(super) fn host(
        &mut self,
        group: &str,
        name: &str,
        vars: Map<String, Value>,
    ) -> Result<(), Box<Problem>> {
        if !self.vars.contains_key(name) {
            if self.hosts.len() >= MAX_NODES {
                let problem = Problem::new(code::TOO_LARGE, "", "there are too many hosts");
                return Err(problem.expected(format!("at most {MAX_NODES}")).into());
            }
            self.hosts.push(name.to_owned());
        }
        self.vars.entry(name.to_owned()).or_default().extend(vars);
        self.entry(group)?.hosts.insert(name.to_owned());
        Ok(())
    }

    /// Puts a group below another one.
    ///
    /// # Errors
    /// There are more groups than an inventory has.
    pub(super) fn child(&mut self, group: &str, child: &str) -> Result<(), Box<Problem>> {
        self.entry(child)?;
        self.entry(group)?.children.insert(child.to_owned());
        Ok(())
    }

    /// Adds to the variables of a group.
    ///
    /// # Errors
    /// There are more groups than an inventory has.
    pub(super) fn set(
        &mut self,
        group: &str,
        vars: Map<String, Value>,
    ) -> Result<(), Box<Problem>> {
        self.entry(group)?.vars.extend(vars);
        Ok(())
    }

    /// All hosts, with what counts for each.
    ///
    /// # Errors
    /// A group is below itself.
    pub(super) fn into_hosts(self) -> Result<Vec<AnsibleHost>, Problems> {
        let depths = self.depths()?;
        let mut above: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut direct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, group) in &self.groups {
            for child in &group.children {
                above.entry(child).or_default().push(name);
            }
            for host in &group.hosts {
                direct.entry(host).or_default().push(name);
            }
        }
        let hosts = self.hosts.iter().map(|name| {
            let mut found = BTreeSet::new();
            let mut open = direct.get(name.as_str()).cloned().unwrap_or_default();
            while let Some(group) = open.pop() {
                if found.insert(group) {
                    open.extend(above.get(group).into_iter().flatten());
                }
            }
            let mut groups: Vec<&str> = found.into_iter().collect();
            groups.sort_by_key(|group| (depths.get(*group).copied().unwrap_or(0), *group));
            let mut vars = Map::new();
            let all = std::iter::once(ALL_NODES);
            for group in all.chain(groups.iter().copied().filter(|group| *group != ALL_NODES)) {
                vars.extend(
                    self.groups.get(group).map(|group| group.vars.clone()).unwrap_or_default(),
                );
            }
            vars.extend(self.vars.get(name).cloned().unwrap_or_default());
            let named = groups.into_iter().filter(|group| ![ALL_NODES, UNGROUPED].contains(group));
            AnsibleHost { name: name.clone(), groups: named.map(str::to_owned).collect(), vars }
        });
        Ok(hosts.collect())
    }

    /// How far each group is below those that are below no other.
    fn depths(&self) -> Result<BTreeMap<&str, usize>, Problems> {
        let mut depths: BTreeMap<&str, usize> =
            self.groups.keys().map(|name| (name.as_str(), 0)).collect();
        // A group can't be deeper than there are groups, unless it is below itself.
        for _ in 0..=self.groups.len() {
            let mut changed = None;
            for (name, group) in &self.groups {
                let below = depths.get(name.as_str()).copied().unwrap_or(0) + 1;
                for child in &group.children {
                    let depth = depths.entry(child).or_default();
                    if *depth < below {
                        *depth = below;
                        changed = Some(child);
                    }
                }
            }
            let Some(changed) = changed else { return Ok(depths) };
            if depths.get(changed.as_str()).is_some_and(|depth| *depth > self.groups.len()) {
                let message = format!("the group {changed:?} is below itself");
                return Err(Problem::new(code::BAD_VALUE, "", message).into());
            }
        }
        Ok(depths)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_is_further_down_counts_and_what_the_host_says_counts_most() {
        let mut tree = Tree::default();
        tree.host("db", "a", vars(json!({"own": 1}))).unwrap();
        tree.host("web", "a", Map::new()).unwrap();
        tree.host(UNGROUPED, "b", Map::new()).unwrap();
        tree.child("eu", "db").unwrap();
        tree.child("world", "eu").unwrap();
        for (group, depth) in [(ALL_NODES, "all"), ("world", "world"), ("eu", "eu"), ("db", "db")] {
            let set = json!({"depth": depth, "own": 0, depth: true});
            tree.set(group, vars(set)).unwrap();
        }
        tree.set("web", vars(json!({"depth": "web"}))).unwrap();
        let hosts = tree.into_hosts().unwrap();
        assert_eq!(hosts[0].groups, ["web", "world", "eu", "db"]);
        let expected =
            json!({"depth": "db", "own": 1, "all": true, "world": true, "eu": true, "db": true});
        assert_eq!(Value::Object(hosts[0].vars.clone()), expected);
        assert!(hosts[1].groups.is_empty());
        assert_eq!(hosts[1].vars["depth"], "all");
    }

    #[test]
    fn a_group_below_itself_is_refused() {
        let mut tree = Tree::default();
        tree.child("a", "b").unwrap();
        tree.child("b", "c").unwrap();
        tree.child("c", "a").unwrap();
        let problems = tree.into_hosts().unwrap_err().to_string();
        assert!(problems.contains("is below itself"), "{problems}");
    }

    #[test]
    fn hosts_and_groups_are_bounded() {
        let mut tree = Tree::default();
        for n in 0..MAX_NODES {
            tree.host("web", &n.to_string(), Map::new()).unwrap();
        }
        tree.host("db", "0", Map::new()).unwrap();
        assert!(tree.host("web", "one more", Map::new()).is_err());
        let mut tree = Tree::default();
        let many = (0..MAX_GROUPS + 10).map(|n| tree.group(&n.to_string()));
        assert!(many.collect::<Result<Vec<()>, _>>().is_err());
    }
}
