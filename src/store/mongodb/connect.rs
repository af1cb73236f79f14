//! Connects, and refuses a kind or version of server that can't keep the promises of a store. What else a server
//! must be able to do is asked by `probe.rs`.

use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};

use super::base::{Base, call};
use super::failure::{Said, unavailable, unfit, unfit_because};
use super::options::{MongoOptions, read_concern};
use super::time::ServerTime;
use crate::contract::Result;
use mongodb::options::DatabaseOptions;

/// The protocol of MongoDB 5.0, the oldest server that is fit: it allows all field names that JSON allows, and can
/// add to dates in updates.
const OLDEST: i32 = 13;

/// The protocol of MongoDB 8.0, whose `bulkWrite` writes to several collections.
const BULK_WRITE: i32 = 25;

/// Connects, and fails if the server is not fit.
pub(super) async fn connect(options: &MongoOptions) -> Result<Base> {
    let settings = options.client_options().await?;
    let name = settings.default_database.clone().unwrap_or_default();
    let client = Client::with_options(settings).map_err(|error| {
        unfit_because("failed to set up the connection to the store", Said::by(&error))
    })?;
    let hello = hello(&client).await?;
    let protocol = check(&hello)?;
    let database = DatabaseOptions::builder().read_concern(read_concern()).build();
    let database = client.database_with_options(&name, database);
    Ok(Base::new(client, database, options.bulk_write && protocol >= BULK_WRITE))
}

/// Asks the server what it is.
async fn hello(client: &Client) -> Result<Document> {
    call("reach the server", client.database("admin").run_command(doc! { "hello": 1 })).await
}

/// Asks the server for its time.
pub(super) async fn ask_time(base: &Base, time: &ServerTime) -> Result<()> {
    let asked = time.passed();
    if let Ok(there) = hello(&base.client).await?.get_datetime("localTime") {
        time.learn(asked, DateTime::from_millis(there.timestamp_millis()));
    }
    Ok(())
}

/// Checks that the server is fit, and returns the version of its protocol.
fn check(hello: &Document) -> Result<i32> {
    let replica_set = hello.get_str("setName").is_ok();
    let router = hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
    if hello.get_bool("isreplicaset").unwrap_or_default() {
        return Err(unavailable(
            "found a member of a replica set that was not set up yet: type rs.initiate() in mongosh, once",
        ));
    }
    if !replica_set && !router {
        return Err(unfit(
            "found a standalone MongoDB server, expected a replica set: a commit is a transaction, and \
             only replica sets have those. start mongod with --replSet rs0, type rs.initiate() in \
             mongosh once, and add ?replicaSet=rs0 to the address; one member is enough",
        ));
    }
    let protocol = hello.get_i32("maxWireVersion").unwrap_or_default();
    if protocol < OLDEST {
        return Err(unfit(format!(
            "found a server with protocol version {protocol}, expected at least {OLDEST} (MongoDB 5.0)"
        )));
    }
    Ok(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_fit_is_refused_with_what_to_do() {
        let fit = doc! { "setName": "rs0", "maxWireVersion": 25 };
        assert_eq!(check(&fit).unwrap(), 25);
        assert_eq!(check(&doc! { "msg": "isdbgrid", "maxWireVersion": 13 }).unwrap(), 13);
        let standalone = check(&doc! { "maxWireVersion": 25 }).unwrap_err().to_string();
        assert!(standalone.contains("--replSet"), "{standalone}");
        let fresh = check(&doc! { "isreplicaset": true, "maxWireVersion": 25 }).unwrap_err();
        assert!(fresh.retryable() && fresh.to_string().contains("rs.initiate()"), "{fresh}");
        let old = check(&doc! { "setName": "rs0", "maxWireVersion": 9 }).unwrap_err().to_string();
        assert!(old.contains("MongoDB 5.0"), "{old}");
    }
}
