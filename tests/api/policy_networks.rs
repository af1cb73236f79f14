//! Which networks requests of steps reach by the policy: the real client, over real sockets.

use std::sync::Arc;

use replibook::clock::{Clock, SystemClock};
use replibook::outbound::{Caller, HttpOutbound, Outbound as _, Sending};
use replibook::playbook::policy::parse_policy;
use replibook::playbook::{Grants, PluginKind, PluginPin};
use replibook::policy::{CurrentPolicy, PinFacts, PolicyNetworks};
use replibook::run::{Digest, HttpError, HttpRequest};
use replibook::store::{MemoryStore, Plugin, Store, StoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::api::plugins::strategy;
use crate::api::server::PLUGINS;

fn policy(rules: &str) -> CurrentPolicy {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  keys: {{ ops: {key} }}\n  \
         plugins: [{rules}]\n"
    );
    let content = Digest::of(text.as_bytes());
    CurrentPolicy::of(parse_policy(text.as_bytes()).unwrap(), content)
}

/// A server that answers each request with 204. Returns its port.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4_096];
            if stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    });
    port
}

fn pin(source: &str, digest: Digest) -> PluginPin {
    PluginPin {
        source: source.to_owned(),
        digest,
        kind: PluginKind::Step,
        name: "own".to_owned(),
        version: "1.0.0".to_owned(),
        grants: Grants::default(),
        provenance: None,
        signers: Vec::new(),
    }
}

#[tokio::test]
async fn loopback_is_reached_where_the_policy_has_it_and_only_by_whom_it_is_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = server().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
    let bytes = strategy("reaches");
    let mut info = PLUGINS.builtins()[0].info.clone();
    info.digest = Digest::of(&bytes);
    store.put_plugin(&Plugin::new(info, clock.now()), bytes.clone().into()).await.unwrap();
    let own = || pin("file:own.wasm", Digest::of(&bytes));
    let builtin = || pin("builtin:http", Digest::of(b"of any version"));
    let send = async |policy: CurrentPolicy, plugin: PluginPin| {
        let judged = PinFacts::new(policy, store.clone(), PLUGINS.clone(), clock.clone());
        let reached = PolicyNetworks::new(judged);
        let outbound = HttpOutbound::new(Arc::new(reached)).unwrap();
        let url = format!("http://127.0.0.1:{port}/");
        let request = HttpRequest::new("GET", &url, Vec::new(), b"", 5_000).unwrap();
        let caller = Caller { playbook: "lab/drill".to_owned(), plugin };
        outbound.send(Sending { request, key: Uuid::from_u128(1), caller }).await
    };

    let loopback = "may: { http: ['*'], networks: [127.0.0.0/8] }";
    for (rules, plugin) in [
        (format!("{{ match: 'builtin:*', {loopback} }}"), builtin()),
        (format!("{{ match: 'builtin:http', {loopback} }}"), builtin()),
        (format!("{{ match: 'file:*', {loopback} }}"), own()),
        (format!("{{ match: 'file:*', playbooks: ['lab/*'], {loopback} }}"), own()),
        (format!("{{ match: '{}', {loopback} }}", Digest::of(&bytes)), own()),
    ] {
        let answer = send(policy(&rules), plugin).await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("{rules}: {error}")).status, 204);
    }

    let refused = [
        (CurrentPolicy::default(), builtin()),
        (CurrentPolicy::default(), own()),
        (policy(""), builtin()),
        (policy("{ match: 'builtin:*', may: { http: ['*'] } }"), builtin()),
        (policy("{ match: 'builtin:*', may: { networks: [10.0.0.0/8] } }"), builtin()),
        (policy(&format!("{{ match: 'builtin:metric', {loopback} }}")), builtin()),
        (policy(&format!("{{ match: 'file:*', {loopback} }}")), builtin()),
        (policy(&format!("{{ match: 'builtin:*', {loopback} }}")), own()),
        // The run was started before the policy became stricter, and goes on without the networks.
        (policy(&format!("{{ match: 'file:*', signed_by: [ops], {loopback} }}")), own()),
        (policy(&format!("{{ match: 'file:*', playbooks: [ops], {loopback} }}")), own()),
        // What a document calls a plugin is no way in which it came.
        (
            policy(&format!("{{ match: 'oci://*:*/*', {loopback} }}")),
            pin("oci://r.example/own:1", Digest::of(&bytes)),
        ),
        (
            policy(&format!("{{ match: 'file:*', {loopback} }}")),
            pin("file:own.wasm", Digest::of(b"not in the store")),
        ),
    ];
    for (index, (policy, plugin)) in refused.into_iter().enumerate() {
        let error = send(policy, plugin).await.expect_err(&index.to_string());
        assert!(matches!(error, HttpError::NotGranted(_)), "{index}: {error}");
    }
}
