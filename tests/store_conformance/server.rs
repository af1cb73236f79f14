//! Databases on the MongoDB server of these tests.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../support/mongodb.rs"]
mod support;

use mongodb::Client;
use uuid::Uuid;

pub(crate) use support::{TestServer, shared};

/// A new database. It is removed when this is dropped.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// A database on the server that all tests share.
    pub(crate) fn new() -> Self {
        Self::on(shared())
    }

    /// A database on a server of the test's own.
    pub(crate) fn on(server: &str) -> Self {
        let name = format!("replibook_test_{}", Uuid::new_v4().simple());
        Self { server: server.to_owned(), name }
    }

    pub(crate) fn address(&self) -> String {
        support::with_database(&self.server, &self.name)
    }

    /// The database, opened with the plain driver.
    pub(crate) async fn open(&self) -> mongodb::Database {
        Client::with_uri_str(&self.server).await.unwrap().database(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of the test's own is removed with everything in it.
        if support::real().is_none_or(|real| real != self.server) {
            return;
        }
        let name = self.name.clone();
        // The test's own runtime may be about to end.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = Client::with_uri_str(shared()).await.unwrap();
                let _ = client.database(&name).drop().await;
            });
        });
        let _ = dropping.join();
    }
}
