//! Where the database is, and as whom to connect to it.

use std::sync::Arc;

use mongodb::bson::Document;
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, ReadConcern, ReadPreference, SelectionCriteria};

use super::base::majority;
use super::credentials::MongoCredentials;
use super::failure::{Said, failed, unfit, unfit_because};
use super::time::TimeSource;
use super::tls;
use crate::contract::Result;

/// Name of the database if the address has none.
const DATABASE: &str = "replibook";

/// The most connections, unless the address says otherwise: enough for the commits of many runs at once, and few
/// enough that a dozen engines don't trouble a small server.
const CONNECTIONS: u32 = 32;

/// How long to look for a primary, unless the address says otherwise: an election takes a few seconds. This is
/// shorter than a call may take, so that the error names the real cause.
const SELECTION: std::time::Duration = std::time::Duration::from_secs(5);

/// Where the database is, and as whom to connect to it.
#[derive(Clone)]
pub struct MongoOptions {
    /// A connection string: `mongodb://host:port/database?options` or `mongodb+srv://name/database`. Without a
    /// database it is `replibook`. Its read and write concerns are ignored, because the promises of a store depend
    /// on them.
    pub address: String,
    /// User name and password, if they are not in the address.
    pub credentials: Option<MongoCredentials>,
    /// Whose clock decides about leases and expiry.
    pub time: TimeSource,
    /// Whether one command may write to several collections, if the server can do that.
    pub bulk_write: bool,
    /// Is called with the name and content of every command before it is sent; for tests.
    pub watch: Option<Watch>,
}

/// A function that observes commands.
pub type Watch = Arc<dyn Fn(&str, &Document) + Send + Sync>;

impl MongoOptions {
    /// The database at `address`, with defaults for everything else.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            credentials: None,
            time: TimeSource::default(),
            bulk_write: true,
            watch: None,
        }
    }

    /// The options for the driver.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the driver may add kinds")]
    pub(super) async fn client_options(&self) -> Result<ClientOptions> {
        let parsed = ClientOptions::parse(&self.address).await;
        // The address may contain a password, so it is not shown.
        let mut options = parsed.map_err(|error| match *error.kind {
            // The name server may be available later.
            ErrorKind::DnsResolve { .. } => failed("look up the members of the store", error),
            _ => unfit_because("failed to read the address of the store", Said::by(&error)),
        })?;
        tls::check(options.tls.as_ref())?;
        if let Some(credentials) = &self.credentials {
            if options.credential.is_some() {
                return Err(unfit(
                    "found credentials in the address of the store and in a file as well; expected \
                     them in one place",
                ));
            }
            options.credential = Some(credentials.credential());
        }
        options.app_name.get_or_insert_with(|| "replibook".to_owned());
        options.default_database.get_or_insert_with(|| DATABASE.to_owned());
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.server_selection_timeout.get_or_insert(SELECTION);
        options.connect_timeout.get_or_insert(SELECTION);
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.read_concern = None;
        options.write_concern = Some(majority());
        if let Some(watch) = self.watch.clone() {
            options.command_event_handler = Some(EventHandler::callback(move |event| {
                if let CommandEvent::Started(started) = event {
                    watch(&started.command_name, &started.command);
                }
            }));
        }
        Ok(options)
    }
}

/// Only what a majority has written is read, so that no election can undo it.
pub(super) fn read_concern() -> ReadConcern {
    ReadConcern::majority()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_address_does_not_say_is_filled_in_and_promises_are_kept() {
        let options = MongoOptions::new("mongodb://a.example:1/?w=1&readPreference=nearest");
        let options = options.client_options().await.unwrap();
        assert_eq!(options.default_database.as_deref(), Some(DATABASE));
        assert_eq!(options.max_pool_size, Some(CONNECTIONS));
        assert_eq!(options.write_concern, Some(majority()));
        assert_eq!(
            options.selection_criteria,
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        );

        let address = "mongodb://a.example/books?maxPoolSize=5&serverSelectionTimeoutMS=7";
        let options = MongoOptions::new(address).client_options().await.unwrap();
        assert_eq!(options.default_database.as_deref(), Some("books"));
        assert_eq!(options.max_pool_size, Some(5));
        assert_eq!(options.server_selection_timeout, Some(std::time::Duration::from_millis(7)));
    }

    #[tokio::test]
    async fn credentials_come_from_one_place_and_are_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        std::fs::write(&path, "username: ada\npassword: 'p: @/'\n").unwrap();
        let mut options = MongoOptions::new("mongodb://a.example");
        options.credentials = Some(MongoCredentials::read(&path).unwrap());
        let credential = options.client_options().await.unwrap().credential.unwrap();
        assert_eq!(credential.username.as_deref(), Some("ada"));
        assert_eq!(credential.password.as_deref(), Some("p: @/"));
        options.address = "mongodb://bob:secret@a.example".to_owned();
        let error = options.client_options().await.unwrap_err().to_string();
        assert!(error.contains("one place") && !error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_wrong_address_is_said_without_its_password() {
        for address in [
            "mongodb://",
            "mongodb://ada:s3cret@",
            "mongodb://ada:s3cret@a.example:port",
            "mongodb://ada:s3cret@a.example/?maxPoolSize=many",
            "mongodb://ada:s3c@ret@a.example",
            "mongodb://ada:s3cret@a.example/?tls=perhaps",
        ] {
            let error = MongoOptions::new(address).client_options().await.unwrap_err();
            let error = format!("{:#}", anyhow::Error::new(error));
            assert!(error.contains("failed to read the address of the store: "), "{error}");
            assert!(!error.contains("s3c"), "{error}");
        }
    }

    #[tokio::test]
    async fn files_for_tls_are_looked_at_before_anything_is_sent() {
        let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/agent/tls");
        let address = |ca: &str| format!("mongodb://a.example/?tls=true&tlsCAFile={keys}/{ca}");
        let options = MongoOptions::new(address("ca.pem")).client_options().await.unwrap();
        let Some(mongodb::options::Tls::Enabled(tls)) = options.tls else { panic!("no TLS") };
        assert!(tls.ca_file_path.unwrap().ends_with("ca.pem"));
        for wrong in ["gone.pem", "agent.key"] {
            let error = MongoOptions::new(address(wrong)).client_options().await.unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}
