//! Watches whether the file changed, and serves the last good content.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::file::{self, Nodes};
use crate::clock::Clock;
use crate::playbook::MAX_CLUSTER_BYTES;
use crate::watched_file::{FileError, LOOK, WatchedFile};

/// Watches one file.
pub(super) struct Watcher(WatchedFile<Nodes>);

impl Watcher {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`FileError`]: there is nothing to serve.
    pub(super) fn open(path: &Path) -> Result<(Self, Nodes), FileError> {
        let (file, nodes) = WatchedFile::open(path, MAX_CLUSTER_BYTES, file::read)?;
        Ok((Self(file), nodes))
    }

    /// Checks the file for ever. Good content is served as soon as it is found; until then the last good
    /// content stays.
    pub(super) async fn run(self, clock: Arc<dyn Clock>, served: watch::Sender<Nodes>) {
        let Self(mut file) = self;
        loop {
            clock.sleep(LOOK).await;
            let Some((looked, found)) = file.look_aside().await else {
                tracing::error!("failed to look at the file; its last content is still served");
                return;
            };
            file = looked;
            match found {
                Ok(None) => {}
                Ok(Some(nodes)) => {
                    let (clusters, count) = (nodes.clusters, nodes.nodes);
                    tracing::info!(clusters, nodes = count, "the file changed");
                    served.send_replace(nodes);
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!("{error:#}; the last good content is still served");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nodes: usize) -> String {
        let node = |n| format!("    - {{ node_id: n{n}, agent_address: 'http://n{n}' }}\n");
        let nodes: String = (0..nodes).map(node).collect();
        format!("clusters:\n- cluster_id: eu\n  nodes:\n{nodes}")
    }

    #[test]
    fn what_is_wrong_in_the_file_has_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text(3)).unwrap();
        assert_eq!(Watcher::open(file.path()).unwrap().1.nodes, 3);
        std::fs::write(file.path(), "clusters:\n- cluster_id: [eu\n").unwrap();
        let Err(error) = Watcher::open(file.path()) else { panic!("it was read") };
        assert!(error.to_string().contains(":\n3:1: "), "{error}");
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#".repeat(MAX_CLUSTER_BYTES + 10)).unwrap();
        let Err(error) = Watcher::open(file.path()) else { panic!("it was read") };
        assert!(error.to_string().contains("at most 16777216 bytes"), "{error}");
    }
}
