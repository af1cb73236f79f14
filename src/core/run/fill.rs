//! Puts secrets in the place of their tokens, in a call that is about to be performed. What results is never kept.

use std::cell::Cell;

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};

use super::call::Call;
use super::http::HttpRequest;
use super::json_text::JsonText;
use super::secret::{Entitled, MAX_SECRET_BYTES, SecretError, SecretText};
use crate::playbook::{Destination, MAX_SECRETS, origin_of_url};

/// The most bytes that secrets add to one call: as many secrets as a step may have, as large as they may be, each byte of
/// them escaped. A token can be in a call thousands of times.
pub const MAX_FILLED_BYTES: usize = MAX_SECRETS * MAX_SECRET_BYTES * 4;

/// Where a call sends its arguments; `None` if they are not sent anywhere.
pub fn destination(call: &Call) -> Option<Destination> {
    match call {
        Call::RunAction { kind, .. } => Some(Destination::Action(kind.clone())),
        Call::HttpSend { request } => origin_of_url(request.url()).map(Destination::Origin),
        Call::Info | Call::WaitStatus { .. } | Call::Sleep { .. } | Call::WaitSignal { .. } => None,
    }
}

/// The secrets whose tokens a call has, after it was checked that the playbook lets each of them go where the call goes.
///
/// # Errors
/// [`SecretError::Elsewhere`], and [`SecretError::Misplaced`] for a token where no secret can be.
pub fn secrets_in<'e>(
    call: &Call,
    entitled: &'e [Entitled],
) -> Result<Vec<&'e Entitled>, SecretError> {
    let Some(to) = destination(call) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for one in entitled {
        let name = || one.grant.name.clone();
        if let Some(place) = misplaced(call, &one.token) {
            return Err(SecretError::Misplaced { name: name(), place });
        }
        if !has(call, &one.token) {
            continue;
        }
        if !one.grant.allows(&to) {
            let granted = one.grant.to.join(", ");
            return Err(SecretError::Elsewhere { name: name(), to: to.to_string(), granted });
        }
        found.push(one);
    }
    Ok(found)
}

/// By how many bytes secrets may lengthen the arguments of an action, at most. JSON writes a byte with six at most.
pub(super) fn may_add(call: &Call, entitled: &[Entitled]) -> u32 {
    let Call::RunAction { arguments, .. } = call else { return 0 };
    let tokens = entitled.iter().map(|one| arguments.as_str().matches(&one.token).count());
    let bytes = tokens.sum::<usize>().saturating_mul(MAX_SECRET_BYTES).min(MAX_FILLED_BYTES);
    u32::try_from(bytes.saturating_mul(6)).unwrap_or(u32::MAX)
}

/// The part of the call where the token is although no secret can be there.
fn misplaced(call: &Call, token: &str) -> Option<&'static str> {
    match call {
        Call::RunAction { kind, .. } => kind.contains(token).then_some("the kind of an action"),
        Call::HttpSend { request } => {
            // Names of headers are in lower case.
            let in_name = |(name, _): &(String, String)| name.contains(&token.to_ascii_lowercase());
            if request.url().contains(token) {
                return Some("a URL, which servers and proxies write to their logs");
            }
            request.headers().iter().any(in_name).then_some("the name of a header")
        }
        Call::Info | Call::WaitStatus { .. } | Call::Sleep { .. } | Call::WaitSignal { .. } => None,
    }
}

fn has(call: &Call, token: &str) -> bool {
    match call {
        // JSON escapes nothing in a token.
        Call::RunAction { arguments, .. } => arguments.as_str().contains(token),
        Call::HttpSend { request } => {
            let in_body =
                || request.body().bytes().windows(token.len()).any(|part| part == token.as_bytes());
            request.headers().iter().any(|(_, value)| value.contains(token)) || in_body()
        }
        Call::Info | Call::WaitStatus { .. } | Call::Sleep { .. } | Call::WaitSignal { .. } => {
            false
        }
    }
}

/// The call with secrets in the place of their tokens. In a body that is JSON or a form by its `content-type`, the value
/// is escaped as it has to be there.
///
/// # Errors
/// [`SecretError::Unfit`] if the call can't be made with the values: one can't be in a header, or they make the call too
/// large.
pub fn filled(call: &Call, secrets: &[(&Entitled, SecretText)]) -> Result<Call, SecretError> {
    let unfit = |why: String| SecretError::Unfit { why };
    let tokens = secrets.iter().map(|(entitled, _)| entitled.token.as_str());
    let tokens = AhoCorasick::new(tokens).map_err(|error| unfit(error.to_string()))?;
    let filler = Filler { tokens, secrets, left: Cell::new(Some(MAX_FILLED_BYTES)) };
    let filled = match call {
        Call::RunAction { kind, arguments } => {
            let arguments = JsonText::from(filler.value(arguments.value()));
            Call::RunAction { kind: kind.clone(), arguments }
        }
        Call::HttpSend { request } => {
            let request = filler.request(request).map_err(unfit)?;
            Call::HttpSend { request }
        }
        Call::Info | Call::WaitStatus { .. } | Call::Sleep { .. } | Call::WaitSignal { .. } => {
            call.clone()
        }
    };
    match filler.left.get() {
        Some(_) => Ok(filled),
        None => Err(unfit(format!("secrets add more than {MAX_FILLED_BYTES} bytes to it"))),
    }
}

struct Filler<'a> {
    tokens: AhoCorasick,
    secrets: &'a [(&'a Entitled, SecretText)],
    /// How many bytes may still be added. `None` once there were too many: then nothing more is.
    left: Cell<Option<usize>>,
}

/// How a secret is written in a body.
#[derive(Clone, Copy)]
pub(super) enum Written {
    AsIs,
    InJson,
    InForm,
}

impl Filler<'_> {
    /// In one pass: a value that looks like a token is no token.
    fn bytes(&self, bytes: &[u8], written: Written) -> Vec<u8> {
        let (mut filled, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for hit in self.tokens.find_iter(bytes) {
            filled.extend_from_slice(bytes.get(from..hit.start()).unwrap_or_default());
            if let Some((_, value)) = self.secrets.get(hit.pattern().as_usize()) {
                let value = write(value.expose(), written);
                self.left.set(self.left.get().and_then(|left| left.checked_sub(value.len())));
                if self.left.get().is_some() {
                    filled.extend_from_slice(value.as_bytes());
                }
            }
            from = hit.end();
        }
        filled.extend_from_slice(bytes.get(from..).unwrap_or_default());
        filled
    }

    fn text(&self, text: &str) -> String {
        // Tokens and values are text, so nothing is lost.
        String::from_utf8_lossy(&self.bytes(text.as_bytes(), Written::AsIs)).into_owned()
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => {
                // Keys stay: what is looked up by a name should not be named by a secret.
                let filled = map.into_iter().map(|(key, value)| (key, self.value(value)));
                Value::Object(filled.collect::<Map<String, Value>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn request(&self, request: &HttpRequest) -> Result<HttpRequest, String> {
        let written = written_in(request);
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.clone(), self.text(value))).collect();
        let body = self.bytes(request.body().bytes(), written);
        let timeout = u32::try_from(request.timeout().0).unwrap_or(u32::MAX);
        HttpRequest::new(request.method().as_str(), request.url(), headers, &body, timeout)
    }
}

/// How secrets are written in the body of a request, by its `content-type`.
fn written_in(request: &HttpRequest) -> Written {
    let mut types = request.headers().iter().filter(|(name, _)| name == "content-type");
    let kind = types.next().map(|(_, value)| value.split(';').next().unwrap_or_default().trim());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-www-form-urlencoded" => Written::InForm,
        _ if kind == "application/json" || kind.ends_with("+json") => Written::InJson,
        _ => Written::AsIs,
    }
}

pub(super) fn write(value: &str, written: Written) -> String {
    match written {
        Written::AsIs => value.to_owned(),
        Written::InJson => {
            let json = Value::from(value).to_string();
            let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
            inner.unwrap_or_default().to_owned()
        }
        Written::InForm => {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let encode = |b: u8| match is_plain(b) {
                true => char::from(b).to_string(),
                false => format!("%{b:02X}"),
            };
            value.bytes().map(encode).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AgentSeq, AttemptKey, RunId};
    use crate::playbook::SecretGrant;
    use crate::run::RunSeed;
    use serde_json::json;

    const ORIGIN: &str = "https://events.example.com";

    fn entitled(name: &str, to: &str) -> Entitled {
        let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
        let token = RunSeed::new([1; 32]).token(RunId(uuid::Uuid::nil()), key, name);
        Entitled { grant: SecretGrant { name: name.to_owned(), to: vec![to.to_owned()] }, token }
    }

    fn send(url: &str, header: &str, kind: &str, body: &str) -> Call {
        let headers = vec![
            ("authorization".to_owned(), header.to_owned()),
            ("content-type".to_owned(), kind.to_owned()),
        ];
        let request = HttpRequest::new("POST", url, headers, body.as_bytes(), 1_000).unwrap();
        Call::HttpSend { request }
    }

    fn fill(call: &Call, entitled: &[Entitled], value: &str) -> Result<Call, SecretError> {
        let found = secrets_in(call, entitled)?;
        let value = SecretText::read("pager", value.as_bytes()).unwrap();
        let secrets: Vec<_> = found.into_iter().map(|one| (one, value.clone())).collect();
        filled(call, &secrets)
    }

    #[test]
    fn a_token_is_replaced_in_headers_and_in_the_body_as_it_has_to_be_there() {
        let pager = [entitled("pager", ORIGIN)];
        let token = &pager[0].token;
        let value = "a\"b &c=\u{e9}%";
        for (kind, expected) in [
            ("text/plain", "{a\"b &c=\u{e9}%}"),
            ("application/json; charset=utf-8", "{a\\\"b &c=\u{e9}%}"),
            ("application/vnd.x+json", "{a\\\"b &c=\u{e9}%}"),
            ("application/x-www-form-urlencoded", "{a%22b%20%26c%3D%C3%A9%25}"),
        ] {
            let call = send(ORIGIN, "Bearer x", kind, &format!("{{{token}}}"));
            let Call::HttpSend { request } = fill(&call, &pager, value).unwrap() else { panic!() };
            assert_eq!(std::str::from_utf8(request.body().bytes()).unwrap(), expected, "{kind}");
        }
        let call = send(ORIGIN, &format!("Bearer {token}"), "text/plain", "");
        let Call::HttpSend { request } = fill(&call, &pager, "s3cr3t-value").unwrap() else {
            panic!()
        };
        assert_eq!(request.headers()[0].1, "Bearer s3cr3t-value");
    }

    #[test]
    fn arguments_of_actions_are_filled_in_all_texts() {
        let secrets = [entitled("pager", "demo.example.com/*")];
        let token = &secrets[0].token;
        let arguments = json!({"a": [format!("x {token} y"), 1], "b": {"c": token}, token: null});
        let call = Call::RunAction {
            kind: "demo.example.com/rotate".to_owned(),
            arguments: arguments.into(),
        };
        let Call::RunAction { arguments, .. } = fill(&call, &secrets, "12\"45678").unwrap() else {
            panic!()
        };
        let expected = json!({"a": ["x 12\"45678 y", 1], "b": {"c": "12\"45678"}, token: null});
        assert_eq!(arguments.value(), expected);
    }

    #[test]
    fn a_secret_goes_nowhere_else_and_a_forged_token_is_a_text() {
        let pager = [entitled("pager", ORIGIN)];
        let token = &pager[0].token;
        let error = |call: &Call| fill(call, &pager, "s3cr3t-value").unwrap_err();
        for elsewhere in [
            "https://evil.example.com",
            "http://events.example.com",
            "https://events.example.com:8443",
        ] {
            let found = error(&send(elsewhere, token, "text/plain", ""));
            assert!(matches!(found, SecretError::Elsewhere { .. }), "{elsewhere}: {found}");
            assert!(found.is_refusal());
        }
        let action = Call::RunAction { kind: "a/b".to_owned(), arguments: json!([token]).into() };
        assert!(matches!(error(&action), SecretError::Elsewhere { .. }));
        let in_url = send(&format!("{ORIGIN}/x?key={token}"), "x", "text/plain", "");
        assert!(matches!(error(&in_url), SecretError::Misplaced { .. }));
        let kind = Call::RunAction { kind: token.clone(), arguments: json!(null).into() };
        assert!(matches!(error(&kind), SecretError::Misplaced { .. }));
        // Another attempt's, a changed one, and one in other letters.
        let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 2 };
        let other = RunSeed::new([1; 32]).token(RunId(uuid::Uuid::nil()), key, "pager");
        for forged in [other, format!("{}0", &token[..token.len() - 1]), token.to_uppercase()] {
            if forged == *token {
                continue;
            }
            let call = send(ORIGIN, &forged, "text/plain", &forged);
            assert_eq!(fill(&call, &pager, "s3cr3t-value").unwrap(), call, "{forged}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_without_the_value() {
        let pager = [entitled("pager", ORIGIN)];
        let token = &pager[0].token;
        let call = send(ORIGIN, token, "text/plain", "");
        let many = send(ORIGIN, &format!("{token}{token}{token}"), "text/plain", "");
        let long = "x".repeat(8 * 1024);
        for (call, value) in [(&call, "two\nlines"), (&call, "caf\u{e9} caf\u{e9}"), (&many, &long)]
        {
            let error = fill(call, &pager, value).unwrap_err();
            assert!(matches!(&error, SecretError::Unfit { .. }), "{error}");
            assert!(!error.to_string().contains(value), "{error}");
        }
        assert!(fill(&call, &pager, &long).is_ok());
        // What a value has is not searched for tokens.
        let other = entitled("other", ORIGIN);
        let both = [entitled("pager", ORIGIN), other.clone()];
        let call = send(ORIGIN, "x", "text/plain", token);
        let Call::HttpSend { request } = fill(&call, &both, &other.token).unwrap() else {
            panic!()
        };
        assert_eq!(request.body().bytes(), other.token.as_bytes());
    }

    #[test]
    fn secrets_add_no_more_to_a_call_than_they_may() {
        let kind = "demo.example.com/rotate";
        let pager = [entitled("pager", kind)];
        let value = "x".repeat(MAX_SECRET_BYTES);
        let act = |tokens: usize| {
            let arguments = json!(vec![pager[0].token.as_str(); tokens]).into();
            fill(&Call::RunAction { kind: kind.to_owned(), arguments }, &pager, &value)
        };
        let most = MAX_FILLED_BYTES / MAX_SECRET_BYTES;
        let filled = act(most).unwrap();
        let arguments = json!(vec![pager[0].token.as_str(); most]).into();
        let call = Call::RunAction { kind: kind.to_owned(), arguments };
        let (before, after) = (call.argument_bytes().unwrap(), filled.argument_bytes().unwrap());
        assert!(before + may_add(&call, &pager) >= after);
        assert_eq!(may_add(&call, &[entitled("other", kind)]), 0);
        let error = act(most + 1).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        // They are not even put together.
        let error = act(10_000).unwrap_err();
        assert!(matches!(error, SecretError::Unfit { .. }), "{error}");
        let body = pager[0].token.repeat(10_000);
        let pager = [entitled("pager", ORIGIN)];
        let error = fill(&send(ORIGIN, "x", "text/plain", &body), &pager, &value).unwrap_err();
        assert!(matches!(error, SecretError::Unfit { .. }), "{error}");
    }
}
