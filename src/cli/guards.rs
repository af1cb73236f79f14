//! The guards of a cluster in words.

use super::text::{length, moment};
use crate::playbook::{Amount, ClusterGuards, FREEZE, Guard, HEALTHY, WINDOWS};

/// The names of all guards, as one cell of a table; `None` if there are none.
pub(super) fn names(guards: &ClusterGuards) -> Option<String> {
    let windows = (!guards.windows.is_empty()).then_some(WINDOWS);
    let freezes = (!guards.freezes.is_empty()).then_some(FREEZE);
    let named = guards.guards.iter().map(|guard| guard.name.as_str());
    let all: Vec<&str> = named.chain(windows).chain(freezes).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A label and a text for each guard, window and freeze, and for the statuses that are healthy if those are not the
/// default.
pub(super) fn lines(guards: &ClusterGuards) -> Vec<(&'static str, String)> {
    let named = guards.guards.iter().map(|one| ("Guard", guard(one)));
    let windows = guards.windows.iter().map(|window| {
        let open = length(window.length);
        ("Window", format!("agents start for {open} from {} ({})", window.every, window.zone))
    });
    let freezes = guards.freezes.iter().map(|freeze| {
        let (from, to) = (moment(freeze.from), moment(freeze.to));
        ("Freeze", format!("no agent starts from {from} to {to}: {}", freeze.reason))
    });
    let mut lines: Vec<_> = named.chain(windows).chain(freezes).collect();
    if guards.healthy != [HEALTHY] {
        lines.push(("Healthy", guards.healthy.join(", ")));
    }
    lines
}

fn guard(guard: &Guard) -> String {
    let Guard { name, by, max_out, groups } = guard;
    let of = match by {
        Some(by) => format!("of the same {by}"),
        None => "of all".to_owned(),
    };
    let groups = match groups {
        None => String::new(),
        Some(1) => ", in 1 group".to_owned(),
        Some(groups) => format!(", in {groups} groups"),
    };
    format!("{name}: at most {} {of} out at once{groups}", amount(*max_out))
}

/// `3`, `33%` or `2.5%`.
fn amount(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => count.to_string(),
        Amount::Share(hundredths) => {
            let (whole, rest) = (hundredths / 100, hundredths % 100);
            let rest = format!(".{rest:02}");
            format!("{whole}{}%", rest.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::parse_cluster;

    #[test]
    fn guards_windows_and_freezes_are_told_in_a_line_each() {
        let text = r#"
apiVersion: replicante.io/v1
kind: Cluster
metadata: { name: eu }
spec:
  guards:
    - { name: one-zone, by: attributes.zone, max_out: 1, groups: 1 }
    - { name: quorum, max_out: 2.5% }
  healthy: [HEALTHY, DEGRADED]
  windows: [{ every: "0 22 * * 1-5", for: 4h, zone: Europe/Berlin }]
  freeze: [{ from: "2026-12-20T00:00:00Z", to: "2027-01-04T00:00:00Z", reason: year end }]
"#;
        let guards = parse_cluster(text.as_bytes()).unwrap().guards;
        assert_eq!(names(&guards).as_deref(), Some("one-zone, quorum, windows, freeze"));
        let lines: Vec<_> = lines(&guards).into_iter().map(|(_, text)| text).collect();
        let expected = [
            "one-zone: at most 1 of the same attributes.zone out at once, in 1 group",
            "quorum: at most 2.5% of all out at once",
            "agents start for 4h00m from 0 22 * * 1-5 (Europe/Berlin)",
            "no agent starts from 2026-12-20T00:00:00Z to 2027-01-04T00:00:00Z: year end",
            "HEALTHY, DEGRADED",
        ];
        assert_eq!(lines, expected);
        assert_eq!(names(&ClusterGuards::default()), None);
        assert_eq!(amount(Amount::Share(3_300)), "33%");
    }
}
