//! Connections to the database that are secured, and users with passwords.
//!
//! The keys were made for the tests of agents, whose name is that of this machine, and are used nowhere else.

use std::sync::Arc;

use ::mongodb::Client;
use ::mongodb::bson::doc;
use replibook::clock::SystemClock;
use replibook::store::mongodb::{MongoCredentials, MongoOptions};
use replibook::store::{MongoStore, Store as _, StoreOptions};

use crate::mongodb::TestServer;

fn path(name: &str) -> String {
    format!("{}/tests/agent/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn open(address: &str, file: Option<&str>) -> Result<MongoStore, String> {
    let credentials = file.map(|file| MongoCredentials::read(file.as_ref()).unwrap());
    let mongo = MongoOptions { credentials, ..MongoOptions::new(address) };
    let opened = MongoStore::open(&mongo, StoreOptions::default(), Arc::new(SystemClock)).await;
    opened.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_connection_show_their_certificate() {
    let (ca, cert, key) = (path("ca.pem"), path("agent.pem"), path("agent.key"));
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-file", &ca];
    let server = TestServer::start(&[&files[..], &["--tls-require-client-cert"]].concat());
    let directory = tempfile::tempdir().unwrap();
    let identity = directory.path().join("engine");
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    std::fs::write(&identity, read("engine.pem") + &read("engine.key")).unwrap();
    let identity = identity.to_str().unwrap();
    let brief = format!("{}&serverSelectionTimeoutMS=", server.address());

    let tls = format!("&tls=true&tlsCAFile={ca}");
    let store =
        open(&format!("{brief}5000{tls}&tlsCertificateKeyFile={identity}"), None).await.unwrap();
    store.ping().await.unwrap();
    assert!(store.check().await.unwrap().is_fine());

    for (what, options, expected) in [
        ("no certificate of ours", tls.clone(), "failed to reach the server"),
        (
            "an authority that is not the server's",
            format!("&tls=true&tlsCertificateKeyFile={identity}"),
            "UnknownIssuer",
        ),
        ("no TLS", String::new(), "failed to reach the server"),
    ] {
        let error = open(&format!("{brief}700{options}"), None).await.err().unwrap();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_password_from_a_file() {
    let server = TestServer::start(&["--auth"]);
    // The first user may be created without logging in.
    let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
    let roles = vec![
        doc! { "role": "readWriteAnyDatabase", "db": "admin" },
        doc! { "role": "dbAdminAnyDatabase", "db": "admin" },
    ];
    let ada = doc! { "createUser": "ada", "pwd": "p: @/ s3cret", "roles": roles };
    admin.run_command(ada).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good", "username: ada\npassword: 'p: @/ s3cret'\n");
    let store = open(server.address(), Some(&good)).await.unwrap();
    assert!(store.check().await.unwrap().is_fine());

    let other = file("other", "username: ada\npassword: 's3cret'\n");
    let elsewhere =
        file("elsewhere", "username: ada\npassword: 'p: @/ s3cret'\nsource: replibook\n");
    for wrong in [Some(other.as_str()), Some(&elsewhere), None] {
        let error = open(server.address(), wrong).await.err().unwrap();
        assert!(!error.contains("s3cret"), "{error}");
        println!("{error}");
    }
}
