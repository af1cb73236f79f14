//! Arguments of actions that have secrets. The database has them without; what is secret is in memory alone, until the
//! action has ended. So an action that waits while the agent is restarted can't be performed any more, and fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use uuid::Uuid;

use crate::run::{SECRET_PLACES, Scrubber, SecretPlace, without_secrets};

/// Arguments with their secrets, and what finds those in output.
pub(super) struct Hidden {
    /// The arguments as they were sent, in JSON.
    pub(super) args: String,
    pub(super) scrubber: Scrubber,
}

impl Hidden {
    /// The arguments as they are kept, and what is hidden of them. With a label that can't be read, that is all.
    pub(super) fn of(args: &str, metadata: &str) -> (String, Option<Self>) {
        let Some(label) = label(metadata) else { return (args.to_owned(), None) };
        let all = || vec![SecretPlace { at: String::new(), from: 0, to: None }];
        let places: Vec<SecretPlace> = serde_json::from_str(&label).unwrap_or_else(|_| all());
        let value = serde_json::from_str(args).unwrap_or(Value::Null);
        let (kept, scrubber) = without_secrets(value, &places);
        (kept.to_string(), Some(Self { args: args.to_owned(), scrubber }))
    }
}

/// What the metadata of an action say about secrets.
fn label(metadata: &str) -> Option<String> {
    let metadata: HashMap<String, Value> = serde_json::from_str(metadata).ok()?;
    metadata.get(SECRET_PLACES)?.as_str().map(str::to_owned)
}

/// Whether an action was sent with secrets.
pub(super) fn has_secrets(metadata: &str) -> bool {
    label(metadata).is_some()
}

/// The hidden arguments of the actions that have not ended. There are no more than may wait, and they have no more bytes.
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

    #[test]
    fn what_a_label_names_is_hidden_and_all_of_it_if_the_label_is_strange() {
        let args = json!({"password": "correct horse", "user": "ann from ops"}).to_string();
        let hide = |label: &str| Hidden::of(&args, &json!({ SECRET_PLACES: label }).to_string());
        let (kept, hidden) = hide(r#"[{"at": "/password", "from": 0, "to": 13}]"#);
        assert_eq!(kept, json!({"password": "[secret]", "user": "ann from ops"}).to_string());
        let hidden = hidden.unwrap();
        assert_eq!(hidden.args, args);
        assert_eq!(hidden.scrubber.text("a correct+horse"), "a [secret]");
        for strange in ["", "/password", "[1]", r#"["/password"]"#, "{}"] {
            let (kept, hidden) = hide(strange);
            assert_eq!(kept, "\"[secret]\"", "{strange}");
            let scrubber = hidden.unwrap().scrubber;
            assert_eq!(scrubber.text("ann from ops: correct horse"), "[secret]: [secret]");
        }
        let (kept, hidden) = Hidden::of(&args, r#"{"replibook.run": "x"}"#);
        assert!(kept == args && hidden.is_none());
    }
}
