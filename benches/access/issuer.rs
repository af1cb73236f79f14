//! An issuer in this process, which publishes its key and signs tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/oidc/signer.rs"]
mod signer;

use signer::Signer;

/// How long its tokens count: longer than the measurement takes.
const SECONDS: u64 = 3_600;

pub(crate) struct Issuer {
    /// Its identifier.
    pub(crate) name: String,
    key: Signer,
}

/// Starts to answer, as long as this process runs.
pub(crate) async fn start() -> Issuer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}", listener.local_addr().unwrap());
    let key = Signer::rsa("RS256");
    let described = json!({ "issuer": name, "jwks_uri": format!("{name}/keys") }).to_string();
    let keys = json!({ "keys": [key.published("one")] }).to_string();
    let says =
        |text: String| get(move || async move { ([("content-type", "application/json")], text) });
    let router = Router::new()
        .route("/.well-known/openid-configuration", says(described))
        .route("/keys", says(keys));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Issuer { name, key }
}

impl Issuer {
    /// A token for somebody.
    pub(crate) fn token(&self, email: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "alg": "RS256", "kid": "one", "typ": "JWT" });
        let claims = json!({
            "iss": self.name, "aud": "replibook", "sub": email, "iat": now, "exp": now + SECONDS,
            "email": email, "email_verified": true, "groups": ["sre", "dba"],
        });
        self.key.token(&header, &claims)
    }
}
