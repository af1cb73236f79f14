//! What a plugin may reach, and what it is told when it may not. Only this module decides that, so that there is
//! one place to look at.

use super::limits;
use replibook_core::playbook::Grants;

/// Checks a call of `run-action` against the grants. The error is a message for the plugin.
pub(super) fn action(grants: &Grants, kind: &str) -> Result<(), String> {
    if grants.allows_action(kind) {
        return Ok(());
    }
    let granted = match grants.actions.as_slice() {
        [] => "nothing".to_owned(),
        actions => actions.join(", "),
    };
    Err(format!(
        "the playbook does not grant the action {kind} to this plugin; it grants {granted}"
    ))
}

/// Checks an HTTP request against the grants. In this version none can be granted, so the result is always the
/// refusal.
pub(super) fn http(url: &str) -> String {
    let url = super::error::cut(url.to_owned(), limits::REASON_BYTES);
    format!("the playbook does not grant HTTP requests to this plugin; it asked for {url}")
}

/// Checks a wait for a signal against the grants. In this version none can be granted, so the result is always the
/// refusal.
pub(super) fn signal(name: &str) -> String {
    let name = super::error::cut(name.to_owned(), limits::REASON_BYTES);
    format!("the playbook does not grant signals to this plugin; it asked for {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_asked_for_and_what_is_granted() {
        let grants = Grants { actions: vec!["a/x".to_owned(), "b/*".to_owned()], http: vec![] };
        assert!(action(&grants, "b/y").is_ok());
        let refusal = action(&grants, "c/z").unwrap_err();
        assert!(refusal.contains("c/z") && refusal.contains("a/x, b/*"), "{refusal}");
        assert!(action(&Grants::default(), "c/z").unwrap_err().ends_with("grants nothing"));
    }
}
