//! What a plugin may reach, and what it is told when it may not. Only this module decides that, so that there is
//! one place to look at.

use super::limits;
use replibook_core::playbook::{Grants, is_identifier};
use replibook_core::run::HttpRequest;
use replibook_core::shown::clean;

/// Checks a call of `run-action` against the grants. The error is a message for the plugin.
pub(super) fn action(grants: &Grants, kind: &str) -> Result<(), String> {
    if grants.allows_action(kind) {
        return Ok(());
    }
    let granted = listed(grants.actions.iter().cloned());
    Err(format!(
        "the playbook does not grant the action {kind} to this plugin; it grants {granted}"
    ))
}

/// Checks an HTTP request against the grants. The error is a message for the plugin.
pub(super) fn http(grants: &Grants, request: &HttpRequest) -> Result<(), String> {
    if grants.allows_http(request.method(), request.url()) {
        return Ok(());
    }
    let asked = request.in_words();
    let granted = listed(grants.http.iter().map(ToString::to_string));
    Err(format!("the playbook does not grant {asked} to this plugin; it grants {granted}"))
}

/// Checks a wait for a signal against the grants. The error is a message for the plugin.
pub(super) fn signal(grants: &Grants, name: &str) -> Result<(), String> {
    if grants.allows_signal(name) && is_identifier(name) {
        return Ok(());
    }
    let name = clean(name);
    let granted = listed(grants.signals.iter().cloned());
    Err(format!(
        "the playbook does not grant the signal {name} to this plugin; it grants {granted}"
    ))
}

/// What is granted, as text that is not longer than a reason may be.
fn listed(granted: impl Iterator<Item = String>) -> String {
    let all = granted.collect::<Vec<_>>().join(", ");
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => super::error::cut(all, limits::REASON_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replibook_core::playbook::HttpGrant;

    #[test]
    fn a_refusal_says_what_was_asked_for_and_what_is_granted() {
        let grants = Grants::of_actions(vec!["a/x".to_owned(), "b/*".to_owned()]);
        assert!(action(&grants, "b/y").is_ok());
        let refusal = action(&grants, "c/z").unwrap_err();
        assert!(refusal.contains("c/z") && refusal.contains("a/x, b/*"), "{refusal}");
        assert!(action(&Grants::default(), "c/z").unwrap_err().ends_with("grants nothing"));
        let http = HttpGrant::to("https://a.example").unwrap();
        let grants = Grants { http: vec![http], signals: vec!["go".to_owned()], ..grants };
        let get = |url| HttpRequest::new("GET", url, vec![], b"", 1_000).unwrap();
        assert!(super::http(&grants, &get("https://a.example/x")).is_ok());
        let refusal = super::http(&grants, &get("https://b.example/x?key=1")).unwrap_err();
        let said =
            "does not grant GET https://b.example/x to this plugin; it grants https://a.example";
        assert!(refusal.ends_with(said), "{refusal}");
        assert!(signal(&grants, "go").is_ok());
        assert!(signal(&grants, "stop").unwrap_err().contains("the signal stop"));
    }
}
