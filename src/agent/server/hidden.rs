//! Arguments of actions that have secrets. The database has them without; what is secret is in memory alone, until the
//! action has ended. So an action that waits while the agent is restarted can't be performed any more, and fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::run::{SECRET_PLACES, Scrubber, SecretPlace, Withheld, without_secrets};

/// What is kept in the place of the label: the label itself tells how long each secret is.
const NO_PLACES: &str = "[]";

/// Arguments with their secrets, in JSON.
pub(in crate::agent) struct Hidden {
    pub(in crate::agent) args: String,
    label: String,
}

/// What the database has of an action.
pub(in crate::agent) struct Kept {
    pub(in crate::agent) args: String,
    pub(in crate::agent) metadata: String,
}

impl Hidden {
    /// What is kept of arguments and metadata, and what is not. With a label or arguments that can't be read, nothing is
    /// kept of the arguments.
    pub(in crate::agent) fn of(args: String, metadata: String) -> (Kept, Option<Self>) {
        let Some((label, metadata)) = take_label(&metadata) else {
            return (Kept { args, metadata }, None);
        };
        let hidden = Self { args, label };
        let (args, _) = hidden.parts();
        (Kept { args: args.to_string(), metadata }, Some(hidden))
    }

    /// Finds the secrets in output. It takes much more memory than they do, so it is made for one command at a time.
    pub(in crate::agent) fn scrubber(&self) -> Scrubber {
        self.parts().1.scrubber()
    }

    /// How many bytes the longest secret has. `None` if it is not known what is secret.
    pub(in crate::agent) fn longest(&self) -> Option<usize> {
        self.parts().1.longest()
    }

    /// Whether every secret is in one of these values of the arguments, given as JSON pointers.
    pub(in crate::agent) fn is_within(&self, pointers: &[&str]) -> bool {
        let places: Option<Vec<SecretPlace>> = serde_json::from_str(&self.label).ok();
        places
            .is_some_and(|places| places.iter().all(|place| pointers.contains(&place.at.as_str())))
    }

    /// How much memory this takes.
    pub(in crate::agent) fn bytes(&self) -> usize {
        self.args.len().saturating_add(self.label.len())
    }

    fn parts(&self) -> (Value, Withheld) {
        let all = || vec![SecretPlace { at: String::new(), from: 0, to: None }];
        let places: Vec<SecretPlace> = serde_json::from_str(&self.label).unwrap_or_else(|_| all());
        // Null has nothing to search for, so nothing of the output is let through.
        serde_json::from_str(&self.args).map_or_else(
            |_| without_secrets(Value::Null, &all()),
            |args| without_secrets(args, &places),
        )
    }
}

/// What the metadata of an action say about secrets, and the metadata without it.
fn take_label(metadata: &str) -> Option<(String, String)> {
    let mut metadata: Map<String, Value> = serde_json::from_str(metadata).ok()?;
    let label = metadata.get_mut(SECRET_PLACES)?;
    let label = match std::mem::replace(label, Value::String(NO_PLACES.to_owned())) {
        Value::String(label) => label,
        // Such a label can't be read, but there is one.
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => other.to_string(),
    };
    Some((label, Value::Object(metadata).to_string()))
}

/// Whether an action was sent with secrets.
pub(super) fn has_secrets(metadata: &str) -> bool {
    take_label(metadata).is_some()
}

/// The hidden arguments of the actions that have not ended. They and their labels count for what the queue may have.
#[derive(Clone, Default)]
pub(super) struct HiddenArguments(Arc<Mutex<HashMap<Uuid, Arc<Hidden>>>>);

impl HiddenArguments {
    pub(super) fn put(&self, id: Uuid, hidden: Hidden) {
        self.lock().insert(id, Arc::new(hidden));
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Arc<Hidden>> {
        self.lock().get(&id).cloned()
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Hidden>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for HiddenArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenArguments(…)")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hide(args: &str, label: &Value) -> (Kept, Scrubber) {
        let metadata = json!({ SECRET_PLACES: label, "replibook.run": "x" }).to_string();
        let (kept, hidden) = Hidden::of(args.to_owned(), metadata);
        let hidden = hidden.unwrap();
        assert_eq!(hidden.args, args);
        (kept, hidden.scrubber())
    }

    #[test]
    fn what_a_label_names_is_hidden_and_all_of_it_if_the_label_is_strange() {
        let args = json!({"password": "correct horse", "user": "ann from ops"}).to_string();
        let label = r#"[{"at": "/password", "from": 0, "to": 13}]"#;
        let (kept, scrubber) = hide(&args, &json!(label));
        assert_eq!(kept.args, json!({"password": "[secret]", "user": "ann from ops"}).to_string());
        assert_eq!(scrubber.text("a correct+horse"), "a [secret]");
        let metadata: Value = serde_json::from_str(&kept.metadata).unwrap();
        assert_eq!(metadata, json!({ SECRET_PLACES: "[]", "replibook.run": "x" }));
        assert!(has_secrets(&kept.metadata));
        let read: Value = serde_json::from_str(label).unwrap();
        assert_eq!(hide(&args, &read).0.args, kept.args, "a list in the place of its text");
        for strange in ["", "/password", "[1]", r#"["/password"]"#, "{}"] {
            for label in [json!(strange), json!({ "at": strange })] {
                let (kept, scrubber) = hide(&args, &label);
                assert_eq!(kept.args, "\"[secret]\"", "{label}");
                assert_eq!(scrubber.text("ann from ops: correct horse"), "[secret]: [secret]");
            }
        }
        let (kept, hidden) = Hidden::of(args.clone(), r#"{"replibook.run": "x"}"#.to_owned());
        assert!(kept.args == args && hidden.is_none() && !has_secrets(&kept.metadata));
    }

    #[test]
    fn nothing_is_let_through_if_it_is_not_known_what_is_secret() {
        let label = json!(r#"[{"at": "/password"}]"#);
        let large: Vec<String> = (0..20).map(|n| format!("{n}{}", "x".repeat(4_000))).collect();
        let large = json!({ "password": large }).to_string();
        for args in
            ["{\"password\": \"correct horse", r#"{"other": "correct horse"}"#, large.as_str()]
        {
            let (kept, scrubber) = hide(args, &label);
            assert!(!kept.args.contains("horse") && !kept.args.contains("xx"), "{}", kept.args);
            assert_eq!(scrubber.text("a word"), "[secret]", "{}", kept.args);
        }
    }
}
