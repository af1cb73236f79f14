//! The back ends that are measured: SQLite and, with `make bench STORE=mongodb`, MongoDB too. Its address is
//! in `REPLIBOOK_STORE` then.

/// The back end of the server's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Mongodb,
}

impl Backend {
    /// The back ends that this process measures.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Sqlite];
        all.extend(mongodb().map(|_| Self::Mongodb));
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Mongodb => "MongoDB",
        }
    }
}

/// The address of MongoDB; none if only SQLite is measured.
pub(crate) fn mongodb() -> Option<String> {
    std::env::var("REPLIBOOK_STORE").ok().filter(|store| store.starts_with("mongodb:"))
}

/// The same address with another database. Each store has a database of its own, as it has a directory.
pub(crate) fn with_database(address: &str, name: &str) -> String {
    let (hosts, options) = address.split_once('?').unwrap_or((address, ""));
    let hosts = hosts.trim_start_matches("mongodb://");
    let hosts = hosts.split('/').next().unwrap_or(hosts);
    format!("mongodb://{hosts}/{}?{options}", name.replace('.', ""))
}

/// Process id of the MongoDB server; none if it runs on another machine.
pub(crate) fn mongodb_id() -> Option<u32> {
    std::env::var("REPLIBOOK_MONGODB_PID").ok()?.parse().ok()
}
