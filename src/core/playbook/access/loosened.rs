//! What a changed cluster would let pass that the one before held up.

use crate::playbook::guards::{ClusterGuards, Freeze, Guard};
use crate::playbook::model::{Amount, Cluster};

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
        let open = cluster("guards: []");
        assert!(loosened(&open, Some(&before)).is_empty() && loosened(&open, None).is_empty());
    }
}
