//! What somebody may do.

use super::model::{Access, AccessRule};
use super::verb::Verb;
use super::who::Who;
use crate::playbook::names::covers;

/// What something is done with, as far as rules can tell one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// A run of this playbook on this cluster.
    Run {
        /// Name of the playbook.
        playbook: &'a str,
        /// Name of the cluster.
        cluster: &'a str,
    },
    /// A playbook, by its name.
    Playbook(&'a str),
    /// A cluster, by its name.
    Cluster(&'a str),
    /// What belongs to no playbook and no cluster and tells nothing of any: plugins.
    Shared,
    /// The server itself, and what tells of all its runs.
    Server,
}

/// What somebody may do: the rules that are about them. Without any they may do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    rules: Vec<AccessRule>,
}

impl Access {
    /// What somebody may do of whom `is` says which of the names in the rules are theirs.
    pub fn rights(&self, is: impl Fn(&Who) -> bool) -> Rights {
        let rules = self.rules.iter().filter(|rule| rule.who.iter().any(&is));
        Rights { rules: rules.cloned().collect() }
    }
}

impl Rights {
    /// The right to do everything.
    pub fn all() -> Self {
        let all =
            AccessRule { who: Vec::new(), may: vec![Verb::Admin], playbooks: None, clusters: None };
        Self { rules: vec![all] }
    }

    /// Whether they may do this with that. Whether they may also view it is another question.
    pub fn may(&self, verb: Verb, object: Object<'_>) -> bool {
        self.rules.iter().any(|rule| rule.gives_for(verb, object) && rule.is_about(verb, object))
    }

    /// Whether there is anything with which they may do this.
    pub fn may_somewhere(&self, verb: Verb) -> bool {
        self.rules.iter().any(|rule| rule.gives(verb))
    }

    /// Whether there is nothing that they may not view.
    pub fn view_all(&self) -> bool {
        self.may(Verb::View, Object::Server)
    }
}

/// Runs that somebody may view: those of these playbooks on these clusters. `None` stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Patterns for the names of playbooks.
    pub playbooks: Option<Vec<String>>,
    /// Patterns for the names of clusters.
    pub clusters: Option<Vec<String>>,
}

impl Sight {
    /// Whether a run of this playbook on this cluster is among them.
    pub fn has(&self, playbook: &str, cluster: &str) -> bool {
        fits(self.playbooks.as_deref(), playbook) && fits(self.clusters.as_deref(), cluster)
    }
}

impl Rights {
    /// The runs that they may view: those that any of these has.
    pub fn sights(&self) -> Vec<Sight> {
        let rules = self.rules.iter().filter(|rule| rule.gives(Verb::View));
        let sight = |rule: &AccessRule| Sight {
            playbooks: rule.playbooks.clone(),
            clusters: rule.clusters.clone(),
        };
        rules.map(sight).collect()
    }
}

impl AccessRule {
    /// `admin` includes all other verbs.
    fn gives(&self, verb: Verb) -> bool {
        self.may.contains(&verb) || self.may.contains(&Verb::Admin)
    }

    /// With patterns `admin` includes nothing but view for what is shared: whoever may do everything with `lab/*` was not meant
    /// to have the plugins of all. A rule that says `upload` itself does.
    fn gives_for(&self, verb: Verb, object: Object<'_>) -> bool {
        let is_for_all = self.playbooks.is_none() && self.clusters.is_none();
        match object {
            Object::Shared if !is_for_all && verb != Verb::View => self.may.contains(&verb),
            Object::Shared
            | Object::Run { .. }
            | Object::Playbook(_)
            | Object::Cluster(_)
            | Object::Server => self.gives(verb),
        }
    }

    /// Whether the rule is about this object. Where a rule gives patterns for one thing only, such as playbooks, the
    /// others may be viewed, but not changed: whoever wrote `playbooks: ["lab/*"]` did not mean to hand out all clusters.
    fn is_about(&self, verb: Verb, object: Object<'_>) -> bool {
        let playbooks = self.playbooks.as_deref();
        let clusters = self.clusters.as_deref();
        let only_looks = verb == Verb::View;
        match object {
            Object::Run { playbook, cluster } => {
                fits(playbooks, playbook) && fits(clusters, cluster)
            }
            Object::Playbook(name) => {
                fits(playbooks, name) && (only_looks || playbooks.is_some() || clusters.is_none())
            }
            Object::Cluster(name) => {
                fits(clusters, name) && (only_looks || clusters.is_some() || playbooks.is_none())
            }
            Object::Shared => verb != Verb::Admin || playbooks.is_none() && clusters.is_none(),
            Object::Server => playbooks.is_none() && clusters.is_none(),
        }
    }
}

fn fits(patterns: Option<&[String]>, name: &str) -> bool {
    patterns.is_none_or(|all| all.iter().any(|pattern| covers(pattern, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::access::parse_access;

    const RUN: Object<'static> = Object::Run { playbook: "ops/drain", cluster: "mongo-eu" };

    fn rights(rules: &str) -> Rights {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec:\n  tokens: [{{ name: ci, sha256: \
             {}, expires: 2099-01-01T00:00:00Z }}]\n  rules: [{rules}]\n",
            "ab".repeat(32)
        );
        let access = parse_access(text.as_bytes()).unwrap_or_else(|bad| panic!("{rules}: {bad}"));
        access.rights(|who| *who == Who::Token("ci".to_owned()))
    }

    #[test]
    fn rules_add_up_and_what_no_rule_gives_is_refused() {
        let ours = "who: ['token:ci']";
        let lab = Object::Run { playbook: "lab/drain", cluster: "mongo-eu" };
        let us = Object::Run { playbook: "ops/drain", cluster: "mongo-us" };
        let cases = [
            (String::new(), Verb::View, RUN, false),
            (format!("{{ {ours}, may: [view] }}"), Verb::View, RUN, true),
            (format!("{{ {ours}, may: [view] }}"), Verb::Start, RUN, false),
            (format!("{{ {ours}, may: [start] }}"), Verb::View, RUN, false),
            (format!("{{ {ours}, may: [admin] }}"), Verb::Exec, RUN, true),
            (format!("{{ {ours}, may: [admin] }}"), Verb::Admin, Object::Server, true),
            (format!("{{ {ours}, may: [view], playbooks: ['ops/*'] }}"), Verb::View, RUN, true),
            (format!("{{ {ours}, may: [view], playbooks: ['ops/*'] }}"), Verb::View, lab, false),
            (format!("{{ {ours}, may: [view], clusters: [mongo-eu] }}"), Verb::View, lab, true),
            (format!("{{ {ours}, may: [view], clusters: [mongo-eu] }}"), Verb::View, us, false),
            (
                format!("{{ {ours}, may: [view], clusters: [mongo-eu], playbooks: ['lab/*'] }}"),
                Verb::View,
                RUN,
                false,
            ),
            // A rule for someone else gives nothing.
            (
                "{ who: ['token:ci'], may: [view], playbooks: [x] }".to_owned(),
                Verb::View,
                RUN,
                false,
            ),
            (
                format!(
                    "{{ {ours}, may: [view], playbooks: [x] }}, {{ {ours}, may: [view], playbooks: ['ops/*'] }}"
                ),
                Verb::View,
                RUN,
                true,
            ),
            // Two rules do not give together what neither gives.
            (
                format!(
                    "{{ {ours}, may: [view], playbooks: [x] }}, {{ {ours}, may: [start], playbooks: ['ops/*'] }}"
                ),
                Verb::View,
                RUN,
                false,
            ),
        ];
        for (rules, verb, object, allowed) in cases {
            assert_eq!(rights(&rules).may(verb, object), allowed, "{rules}: {verb} {object:?}");
        }
    }

    #[test]
    fn patterns_for_one_thing_give_nothing_but_view_on_others() {
        let playbooks = rights("{ who: ['token:ci'], may: [admin], playbooks: ['ops/*'] }");
        let clusters = rights("{ who: ['token:ci'], may: [admin], clusters: ['mongo-*'] }");
        let both = rights(
            "{ who: ['token:ci'], may: [admin], clusters: ['mongo-*'], playbooks: ['ops/*'] }",
        );
        let uploads = rights("{ who: ['token:ci'], may: [upload], playbooks: ['ops/*'] }");
        let (playbook, cluster) = (Object::Playbook("ops/drain"), Object::Cluster("mongo-eu"));
        let table = [
            (&playbooks, Verb::Apply, playbook, true),
            (&playbooks, Verb::View, cluster, true),
            (&playbooks, Verb::Operate, cluster, false),
            (&playbooks, Verb::Admin, cluster, false),
            (&clusters, Verb::Operate, cluster, true),
            (&clusters, Verb::View, playbook, true),
            (&clusters, Verb::Apply, playbook, false),
            (&both, Verb::Apply, playbook, true),
            (&both, Verb::Operate, cluster, true),
            (&both, Verb::Apply, Object::Playbook("lab/x"), false),
            (&both, Verb::Operate, Object::Cluster("pg"), false),
            (&both, Verb::View, Object::Shared, true),
            (&both, Verb::Upload, Object::Shared, false),
            (&playbooks, Verb::Upload, Object::Shared, false),
            (&both, Verb::Admin, Object::Shared, false),
            (&uploads, Verb::Upload, Object::Shared, true),
            (&both, Verb::View, Object::Server, false),
            (&both, Verb::Admin, Object::Server, false),
        ];
        for (rights, verb, object, allowed) in table {
            assert_eq!(rights.may(verb, object), allowed, "{verb} {object:?} {rights:?}");
        }
        assert!(!both.view_all() && Rights::all().view_all() && !Rights::default().view_all());
        assert!(both.may_somewhere(Verb::Exec) && !Rights::default().may_somewhere(Verb::View));
    }
}
