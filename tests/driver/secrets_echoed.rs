//! A server that returns the secret that it was sent, in each encoding that is promised to be found.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use replibook::outbound::{Outbound, Sending};
use replibook::run::{HttpError, HttpResponse, RunStatus};
use serde_json::{Value, json};

use super::secrets::{kept, playbook, tell};
use crate::scene::Scene;

/// Has what is escaped, and bytes whose base64 differs between the two alphabets.
const VALUE: &str = "p?>~~ \"w/rd\" & 100% of ~~~?>";

/// Returns what follows `Bearer`, in each encoding, in headers of its own and in a body.
#[derive(Default)]
struct Echo {
    returned: Mutex<Vec<String>>,
}

#[async_trait]
impl Outbound for Echo {
    async fn send(&self, sending: Sending) -> Result<HttpResponse, HttpError> {
        let mut sent = sending.request.headers().iter();
        let (_, bearer) = sent.find(|(name, _)| name == "authorization").unwrap();
        let all = encoded(bearer.strip_prefix("Bearer ").unwrap());
        let headers = (1..).zip(&all).map(|(n, text)| (format!("x-{n}"), text.clone())).collect();
        let body = all.join("\n").into_bytes().into();
        *self.returned.lock().unwrap() = all;
        Ok(HttpResponse { status: 200, headers, body })
    }
}

/// A text in each encoding.
fn encoded(text: &str) -> Vec<String> {
    let percent = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    vec![
        text.to_owned(),
        in_json(text),
        STANDARD.encode(text),
        URL_SAFE_NO_PAD.encode(text),
        hex::encode(text),
        hex::encode_upper(text),
        text.bytes().map(percent).collect(),
    ]
}

/// A text as it is in a text of JSON.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_server_returns_in_any_encoding_is_not_kept() {
    let scene = Scene::new(1).await;
    scene.secrets.put("key", VALUE);
    let text = playbook(json!([tell(Value::Null)])).to_string();
    let run = scene.start_playbook(&text).await.unwrap();
    let echo = Arc::new(Echo::default());
    let engine = scene.engine_sending("engine-1", echo.clone());
    let done = scene.until_final(run).await;
    assert_eq!(done.progress.status, RunStatus::Done, "{:?}", done.progress);
    let returned = echo.returned.lock().unwrap().clone();
    assert_eq!(returned[0], VALUE, "the server had it");
    let kept = kept(&scene, run).await;
    for text in &returned {
        for spelled in [text.clone(), in_json(text), in_json(&in_json(text))] {
            assert!(!kept.contains(&spelled), "{spelled} is in {kept}");
        }
    }
    // In a header and in the body, of the journal and of the result.
    let found = kept.matches("[secret]").count();
    assert!(found >= 2 * returned.len(), "found {found} in {kept}");
    engine.stop().await;
}
