//! The policy that counts now, shared by everything in the process that asks for it.

use std::sync::{Arc, PoisonError, RwLock};

use super::runs::Outside;
use crate::playbook::policy::Policy;
use crate::run::Digest;

/// The policy that counts now, or none: then everything that a playbook grants counts. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CurrentPolicy {
    shared: Arc<RwLock<Option<Standing>>>,
}

/// The policy that counts, and how its file fares.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Digest of the content of its file.
    pub content: Digest,
    /// Why a later content of the file does not count; `None` if the policy is what the file says.
    pub problem: Option<String>,
    /// The unfinished runs that the policy would not let start any more; `None` while they are not counted.
    pub outside: Option<Outside>,
}

impl CurrentPolicy {
    /// This policy counts.
    pub fn of(policy: Policy, content: Digest) -> Self {
        let current = Self::default();
        current.changed(policy, content);
        current
    }

    /// The policy that counts; `None` if there is none.
    pub fn now(&self) -> Option<Arc<Policy>> {
        self.read(|standing| Arc::clone(&standing.policy))
    }

    /// The policy that counts, and how its file fares; `None` if there is none.
    pub fn standing(&self) -> Option<Standing> {
        self.read(Standing::clone)
    }

    /// Another policy counts from now on, in whatever is not done yet. `content` is the digest of its file's content. It is
    /// not known yet which runs it would refuse.
    pub fn changed(&self, policy: Policy, content: Digest) {
        let policy = Arc::new(policy);
        let standing = Standing { policy, content, problem: None, outside: None };
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    /// The file got broken: the policy stays as it is.
    pub(super) fn broke(&self, problem: String) {
        self.write(|standing| standing.problem = Some(problem));
    }

    pub(super) fn set_outside(&self, outside: Outside) {
        self.write(|standing| standing.outside = Some(outside));
    }

    fn read<T>(&self, of: impl Fn(&Standing) -> T) -> Option<T> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(of)
    }

    fn write(&self, change: impl FnOnce(&mut Standing)) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = shared.as_mut() {
            change(standing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::policy::parse_policy;

    fn policy(name: &str) -> Policy {
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec: {{}}"
        );
        parse_policy(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_broken_file_changes_nothing_but_what_is_said() {
        let current = CurrentPolicy::default();
        current.broke("there is none that could break".to_owned());
        assert!(current.now().is_none() && current.standing().is_none());

        let current = CurrentPolicy::of(policy("a"), Digest::of(b"a"));
        let shared = current.clone();
        current.broke("it is broken".to_owned());
        let standing = shared.standing().unwrap();
        assert_eq!(standing.policy.name, "a");
        assert_eq!(standing.problem.as_deref(), Some("it is broken"));
        current.changed(policy("b"), Digest::of(b"b"));
        let standing = shared.standing().unwrap();
        assert_eq!((standing.policy.name.as_str(), standing.problem), ("b", None));
    }
}
