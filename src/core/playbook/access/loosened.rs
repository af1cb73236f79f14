//! What a changed cluster would let pass that the one before held up.

use std::collections::{BTreeMap, BTreeSet};

use crate::playbook::guards::{ClusterGuards, Freeze, Guard};
use crate::playbook::model::{Amount, Cluster};

/// The most agents that one text names.
const NAMED: usize = 10;

/// In which ways `after` holds up less than `before`, as human-readable text; empty if it holds up at least as much. An
/// `after` of `None` is a cluster that is deleted. What can't be compared counts as loosened.
pub fn loosened(before: &Cluster, after: Option<&Cluster>) -> Vec<String> {
    let nothing = ClusterGuards::default();
    let (old, new) = (&before.guards, after.map_or(&nothing, |after| &after.guards));
    let mut found: Vec<String> = Vec::new();
    for guard in &old.guards {
        match new.guards.iter().find(|other| other.name == guard.name) {
            None => found.push(format!("guard {} is gone", guard.name)),
            Some(other) if is_looser(guard, other) => {
                found.push(format!("guard {} holds up less", guard.name));
            }
            Some(_) => found.extend(after.and_then(|after| regrouped(before, after, guard))),
        }
    }
    if let Some(after) = after.filter(|_| !old.guards.is_empty()) {
        found.extend(recounted(before, after));
    }
    let added = new.healthy.iter().filter(|status| !old.healthy.contains(status));
    let added: Vec<&str> = added.map(String::as_str).collect();
    // With nothing that is counted it does not matter who is healthy.
    if !old.guards.is_empty() && !added.is_empty() {
        found.push(format!("the status {} counts as healthy", added.join(", ")));
    }
    let opened = new.windows.iter().any(|window| !old.windows.contains(window));
    if !old.windows.is_empty() && (new.windows.is_empty() || opened) {
        found.push("a window opens".to_owned());
    }
    for freeze in &old.freezes {
        if !new.freezes.iter().any(|other| is_within(freeze, other)) {
            found.push(format!("the freeze until {} is gone or shorter", freeze.to));
        }
    }
    found
}

/// Which agent is in another group of the guard now: as many groups as there are agents hold up nobody.
fn regrouped(before: &Cluster, after: &Cluster, guard: &Guard) -> Option<String> {
    let name = guard.attribute()?;
    let moved = before.agents.iter().find(|agent| {
        let now = after.agents.iter().find(|other| other.id == agent.id);
        now.is_some_and(|now| now.attributes.get(name) != agent.attributes.get(name))
    })?;
    Some(format!("guard {} counts agent {} in another group", guard.name, moved.id))
}

/// Where a guard would count other agents than before, or more of them. Whoever is gone may be out, and counts no more; one that
/// is there under another name may be in another group; and a share of more agents is more.
fn recounted(before: &Cluster, after: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let now: BTreeMap<_, _> = after.agents.iter().map(|one| (&one.id, &one.address)).collect();
    let gone = before.agents.iter().filter(|one| now.get(&one.id) != Some(&&one.address));
    let gone: Vec<String> = gone.map(|one| one.id.to_string()).collect();
    if !gone.is_empty() {
        found.push(format!("guards count {} no more where they did", some_of(&gone)));
    }
    let then: BTreeSet<_> = before.agents.iter().map(|one| &one.id).collect();
    let places: BTreeSet<_> = before.agents.iter().map(|one| &one.address).collect();
    let renamed = after.agents.iter().filter(|one| !then.contains(&one.id));
    let renamed = renamed.filter(|one| places.contains(&one.address));
    let renamed: Vec<String> = renamed.map(|one| one.id.to_string()).collect();
    if !renamed.is_empty() {
        found.push(format!("{} is where another agent was", some_of(&renamed)));
    }
    let is_share = |guard: &Guard| matches!(guard.max_out, Amount::Share(_));
    if after.agents.len() > before.agents.len()
        && let Some(guard) = before.guards.guards.iter().find(|guard| is_share(guard))
    {
        found.push(format!("guard {} is a share of more agents", guard.name));
    }
    if before.discovery != after.discovery {
        found.push("other agents may be discovered".to_owned());
    }
    found
}

fn some_of(agents: &[String]) -> String {
    let some = agents.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match agents.len().saturating_sub(NAMED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

fn is_within(freeze: &Freeze, other: &Freeze) -> bool {
    other.from <= freeze.from && freeze.to <= other.to
}

fn is_looser(old: &Guard, new: &Guard) -> bool {
    let more_groups = match (old.groups, new.groups) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => new > old,
    };
    old.by != new.by || more_groups || is_more(old.max_out, new.max_out)
}

/// A count and a share can't be compared without the number of agents.
fn is_more(old: Amount, new: Amount) -> bool {
    match (old, new) {
        (Amount::Count(old), Amount::Count(new)) | (Amount::Share(old), Amount::Share(new)) => {
            new > old
        }
        (Amount::Count(_), Amount::Share(_)) | (Amount::Share(_), Amount::Count(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::model::ClusterAgent;
    use crate::playbook::parse_cluster;

    const GUARDED: &str = "guards: [{ name: zone, by: attributes.zone, max_out: 2, groups: 1 }, { name: all, max_out: \
                           10% }], windows: [{ every: '0 22 * * *', for: 6h, zone: UTC }], freeze: [{ from: \
                           2026-12-20T00:00:00Z, to: 2027-01-05T00:00:00Z, reason: holidays }]";

    fn cluster(spec: &str) -> Cluster {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {{ name: x }}\nspec: {{ agents: [{{ id: n1, address: \
             'http://n1', attributes: {{ zone: a }} }}], {spec} }}\n"
        );
        parse_cluster(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}: {problems}"))
    }

    #[test]
    fn whatever_lets_more_pass_is_found() {
        let before = cluster(GUARDED);
        let table = [
            ("max_out: 2", "max_out: 3", "guard zone holds up less"),
            ("max_out: 2", "max_out: 2%", "guard zone holds up less"),
            ("max_out: 10%", "max_out: 11%", "guard all holds up less"),
            ("groups: 1", "groups: 2", "guard zone holds up less"),
            (", groups: 1", "", "guard zone holds up less"),
            ("attributes.zone", "attributes.rack", "guard zone holds up less"),
            ("name: all", "name: some", "guard all is gone"),
            ("for: 6h", "for: 7h", "a window opens"),
            ("2027-01-05", "2027-01-04", "the freeze until 2027-01-05T00:00:00.000Z is gone"),
            ("guards:", "healthy: [HEALTHY, DEGRADED], guards:", "the status DEGRADED counts"),
        ];
        for (from, to, expected) in table {
            let after = cluster(&GUARDED.replace(from, to));
            let found = loosened(&before, Some(&after)).join("; ");
            assert!(found.starts_with(expected), "{to}: {found}");
        }
        assert_eq!(loosened(&before, None).len(), 4);
        let mut moved = before.clone();
        moved.agents[0].attributes.insert("zone".to_owned(), "b".into());
        assert_eq!(
            loosened(&before, Some(&moved)),
            ["guard zone counts agent n1 in another group"]
        );
    }

    #[test]
    fn agents_that_a_guard_would_count_otherwise_are_found() {
        let before = cluster(GUARDED);
        let new = |id: &str, address: &str| {
            let attributes = [("zone".to_owned(), "b".into())].into_iter().collect();
            ClusterAgent {
                id: id.into(),
                address: address.to_owned(),
                attributes,
                ..before.agents[0].clone()
            }
        };
        let kept = before.agents[0].clone();
        let table = [
            (vec![], vec!["guards count n1 no more where they did"]),
            (
                vec![new("n2", "http://n1")],
                vec!["guards count n1 no more where they did", "n2 is where another agent was"],
            ),
            (
                vec![kept.clone(), new("n2", "http://n1")],
                vec!["n2 is where another agent was", "guard all is a share of more agents"],
            ),
            (
                vec![ClusterAgent { address: "http://n3".to_owned(), ..kept.clone() }],
                vec!["guards count n1 no more where they did"],
            ),
            (
                vec![kept.clone(), new("n2", "http://n2")],
                vec!["guard all is a share of more agents"],
            ),
        ];
        for (agents, expected) in table {
            let after = Cluster { agents, ..before.clone() };
            assert_eq!(loosened(&before, Some(&after)), expected);
        }
        let found = cluster(&format!("{GUARDED}, discovery: {{ url: 'http://p', cluster: x }}"));
        assert_eq!(loosened(&before, Some(&found)), ["other agents may be discovered"]);
        assert_eq!(loosened(&found, Some(&before)), ["other agents may be discovered"]);
    }

    #[test]
    fn what_holds_up_as_much_or_more_is_no_loosening() {
        let before = cluster(GUARDED);
        let stricter = [
            ("max_out: 2", "max_out: 1"),
            ("max_out: 10%", "max_out: 9%"),
            ("2027-01-05", "2027-02-05"),
            ("guards: [", "guards: [{ name: more, max_out: 1 }, "),
        ];
        for (from, to) in stricter {
            let after = cluster(&GUARDED.replace(from, to));
            assert_eq!(loosened(&before, Some(&after)), Vec::<String>::new(), "{to}");
        }
        // With counts alone, more agents are held up as much as before.
        let counted = cluster("guards: [{ name: one, by: attributes.zone, max_out: 1 }]");
        let mut more = counted.clone();
        more.agents.push(ClusterAgent {
            id: "n2".into(),
            address: "http://n2".into(),
            ..more.agents[0].clone()
        });
        assert_eq!(loosened(&counted, Some(&more)), Vec::<String>::new());
        let open = cluster("guards: []");
        assert!(loosened(&open, Some(&more)).is_empty());
        assert!(loosened(&open, Some(&before)).is_empty() && loosened(&open, None).is_empty());
    }
}
