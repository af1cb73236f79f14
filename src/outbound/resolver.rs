//! Resolves names, and keeps only the addresses that may be reached. The client connects to what is returned here
//! and resolves nothing itself, so a name can't mean another address between the check and the connection.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::networks::Networks;

/// The most addresses of one name that are tried. A name with more is rather an attack on whoever tries them all.
const MAX_ADDRESSES: usize = 16;

/// Tells the addresses of a name. It is injected, so that tests can have a name that changes its mind.
#[async_trait]
pub(super) trait Lookup: Send + Sync {
    /// The addresses of a name.
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// Asks the operating system.
pub(super) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// A name has no address that may be reached.
#[derive(Debug, thiserror::Error)]
#[error("{host} is {found}, which may not be reached; what may be reached: {networks}")]
pub(super) struct NotReachable {
    pub(super) host: String,
    pub(super) found: String,
    pub(super) networks: Networks,
}

/// Checks what [`Lookup`] finds.
pub(super) struct Resolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) networks: Networks,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, networks) = (Arc::clone(&self.lookup), self.networks.clone());
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let addresses = reachable(name.as_str(), &found, &networks)?;
            // The port is that of the URL.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            let addresses: Addrs = Box::new(addresses.collect::<Vec<_>>().into_iter());
            Ok(addresses)
        })
    }
}

/// Those of the addresses that may be reached.
pub(super) fn reachable(
    host: &str,
    found: &[IpAddr],
    networks: &Networks,
) -> Result<Vec<IpAddr>, Box<dyn Error + Send + Sync>> {
    let allowed = found.iter().copied().filter(|address| networks.allow(*address));
    let allowed: Vec<_> = allowed.take(MAX_ADDRESSES).collect();
    match (allowed.is_empty(), found.first()) {
        (false, _) => Ok(allowed),
        (true, Some(first)) => Err(Box::new(NotReachable {
            host: host.to_owned(),
            found: first.to_string(),
            networks: networks.clone(),
        })),
        (true, None) => Err(format!("{host} has no address").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_may_be_reached_are_left() {
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let networks = Networks::default();
        let mixed = addresses(&["127.0.0.1", "1.1.1.1", "10.0.0.1"]);
        assert_eq!(reachable("a", &mixed, &networks).unwrap(), addresses(&["1.1.1.1"]));
        let error =
            reachable("a.example", &addresses(&["169.254.169.254"]), &networks).unwrap_err();
        assert!(error.is::<NotReachable>());
        let said = "a.example is 169.254.169.254, which may not be reached; what may be reached: public addresses";
        assert_eq!(error.to_string(), said);
        assert!(!reachable("a", &[], &networks).unwrap_err().is::<NotReachable>());
        let many = vec![addresses(&["1.1.1.1"])[0]; MAX_ADDRESSES + 1];
        assert_eq!(reachable("a", &many, &networks).unwrap().len(), MAX_ADDRESSES);
    }
}
