//! The gateway that a server has within itself: `replibook serve --inventory`. It has no port, so nobody but this server asks it.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::args::{HostsArgs, KEPT};
use super::nodes::Jobs;
use super::router::{Shared, router};
use super::serve::{jobs, opened};
use crate::agent::server::read_length;
use crate::agent::{INSIDE_URL, Inside};
use crate::clock::Clock;
use crate::run::Millis;
use crate::web::OwnNames;

/// A gateway within a server. It ends when this is dropped or stopped; what was begun on nodes goes on there.
pub struct Within {
    inside: Inside,
    jobs: Jobs,
    _keeper: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Within")
    }
}

impl Within {
    /// Reads the inventory, which is watched from then on.
    ///
    /// # Errors
    /// It can't be used, or there is no folder for connections.
    pub async fn start(
        inventory: &Path,
        hosts: &HostsArgs,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (keeper, known) = opened(inventory, hosts).await?;
        let jobs = jobs(hosts, clock)?;
        let (sender, known) = watch::channel(Arc::new(known));
        let kept = read_length(KEPT).map_err(anyhow::Error::msg)?;
        let kept = Millis(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
        let told = (Some(INSIDE_URL.to_owned()), "http");
        let nodes = Arc::new(jobs.clone());
        // Nobody asks it but this server, which says the name of no one else.
        let shared = Shared::new(known, nodes, Arc::clone(clock), OwnNames::any(), told, kept);
        Ok(Self {
            inside: Inside::of(router(shared)),
            jobs,
            _keeper: AbortOnDropHandle::new(tokio::spawn(keeper.run(Arc::clone(clock), sender))),
        })
    }

    /// The way to its nodes.
    pub fn inside(&self) -> Inside {
        self.inside.clone()
    }

    /// Ends the connections to nodes.
    pub async fn stop(self) {
        self.jobs.stop().await;
    }
}
