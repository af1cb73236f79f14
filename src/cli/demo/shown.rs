//! The scenes that the demonstration can show, and the example and the make target of each.

/// A scene, as `--scene` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shown {
    /// Every node is restarted, zone by zone
    Restart,
    /// Some nodes are restarted, a person approves, the rest follows
    Approval,
    /// One node is restarted and watched, then more and more of the others
    Canary,
    /// A platform names the nodes, one of which joins and one leaves while the run goes
    Membership,
    /// Three servers share one MongoDB; one is killed and one drained in the middle of three runs
    Ha,
    /// Plugins are signed, pushed to a registry and run under a policy; one that was changed after it was signed is refused
    Registry,
    /// A strategy starts everybody at once, and a guard of the cluster lets one agent of one zone go at a time
    Guard,
    /// Nodes that have no agent are reached over SSH: an inventory of Ansible is imported, and a script goes over them
    Ssh,
    /// Everything goes over TLS, everybody has a role, and two people other than the one who starts it approve the run
    Secure,
}

impl Shown {
    /// The path of the example that it plays, from the root of the project.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Restart | Self::Ha | Self::Registry => "examples/rolling-restart",
            Self::Approval => "examples/approval",
            Self::Canary => "examples/canary",
            Self::Membership => "examples/membership",
            Self::Guard => "examples/guards",
            Self::Ssh => "examples/ssh",
            Self::Secure => "examples/secure",
        }
    }

    /// The target of `make` that shows it, for people who have the project.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Restart => "demo",
            Self::Approval => "demo-approval",
            Self::Canary => "demo-canary",
            Self::Membership => "demo-membership",
            Self::Ha => "demo-ha",
            Self::Registry => "demo-registry",
            Self::Guard => "demo-guard",
            Self::Ssh => "demo-ssh",
            Self::Secure => "demo-secure",
        }
    }

    /// Its value for `--scene`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Approval => "approval",
            Self::Canary => "canary",
            Self::Membership => "membership",
            Self::Ha => "ha",
            Self::Registry => "registry",
            Self::Guard => "guard",
            Self::Ssh => "ssh",
            Self::Secure => "secure",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_scene_has_an_example_a_target_and_the_name_that_is_typed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
        for scene in Shown::value_variants() {
            assert!(root.join(scene.example()).join("playbook.yaml").is_file(), "{scene:?}");
            assert!(makefile.contains(&format!("\n{}: ", scene.target())), "{scene:?}");
            assert_eq!(scene.to_possible_value().unwrap().get_name(), scene.name());
        }
    }
}
