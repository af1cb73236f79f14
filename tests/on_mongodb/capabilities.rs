//! What a store says about a server that can't do what it needs. The server of these tests can, and is told
//! to refuse.

use std::sync::Arc;

use ::mongodb::Client;
use ::mongodb::bson::{Bson, doc};
use replibook::clock::SystemClock;
use replibook::store::mongodb::MongoOptions;
use replibook::store::{MongoStore, StoreError, StoreOptions};

use crate::mongodb::{TestServer, with_database};

/// Error codes: no such command, variable or feature; and errors that a server may give for a while.
const NO_COMMAND: i32 = 59;
const NO_VARIABLE: i32 = 17_276;
const NO_FEATURE: i32 = 115;
const NOT_PRIMARY: i32 = 10_107;
const DISK_FULL: i32 = 14_031;
const FORBIDDEN: i32 = 13;

struct Scene {
    server: TestServer,
    admin: ::mongodb::Database,
}

impl Scene {
    async fn new() -> Self {
        let server = TestServer::start(&["--enable-test-commands"]);
        let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
        Self { server, admin }
    }

    /// Opens a store while the server refuses a command with this code.
    async fn open(&self, refused: &str, code: i32) -> Result<MongoStore, StoreError> {
        self.fail(Bson::String("alwaysOn".to_owned()), refused, code).await;
        let name = format!("replibook_test_{}", uuid::Uuid::new_v4().simple());
        let mongo = MongoOptions::new(with_database(self.server.address(), &name));
        let opened = MongoStore::open(&mongo, StoreOptions::default(), Arc::new(SystemClock)).await;
        self.fail(Bson::String("off".to_owned()), refused, code).await;
        opened
    }

    async fn fail(&self, mode: Bson, refused: &str, code: i32) {
        let data = doc! { "failCommands": [refused], "errorCode": code };
        let fail = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        self.admin.run_command(fail).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_lacks_is_said_in_words_at_the_start() {
    let scene = Scene::new().await;
    let whole = scene.open("nothing", NO_COMMAND).await.unwrap();
    assert_eq!(whole.lacks(), [""; 0], "the server of these tests has all of it");
    for (refused, code, expected) in [
        ("insert", NO_FEATURE, "transactions (startTransaction)"),
        ("update", NO_VARIABLE, "its own clock in updates ($$NOW, $dateAdd)"),
        ("createIndexes", NO_FEATURE, "TTL, unique and partial"),
    ] {
        let error = scene.open(refused, code).await.err().unwrap();
        assert!(matches!(error, StoreError::Unfit { .. }), "{refused}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("MongoDB 5.0"), "{refused}: {text}");
    }
    // Without these commands the store does its work, if not as well.
    for (refused, expected) in [("killSessions", "killSessions"), ("bulkWrite", "bulkWrite")] {
        let store = scene.open(refused, NO_COMMAND).await.unwrap();
        let [lack] = store.lacks() else { panic!("{refused}: {:?}", store.lacks()) };
        assert!(lack.contains(expected), "{lack}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_can_not_do_just_now_is_waited_for_and_what_it_forbids_is_not() {
    let scene = Scene::new().await;
    for refused in ["insert", "update", "createIndexes", "bulkWrite"] {
        let error = scene.open(refused, NOT_PRIMARY).await.err().unwrap();
        assert!(error.retryable(), "{refused}: {error:?}");
        let error = scene.open(refused, DISK_FULL).await.err().unwrap();
        assert!(error.retryable(), "{refused}: {error:?}");
        let error = scene.open(refused, FORBIDDEN).await.err().unwrap();
        assert!(!error.retryable(), "{refused}: {error:?}");
    }
}
