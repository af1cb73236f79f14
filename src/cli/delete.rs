//! `delete`: removes a playbook, a cluster or a plugin from the server. The server refuses what a run or a
//! playbook still needs.

use clap::Subcommand;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::get::{find_plugins, split_version};
use super::output::Console;

/// What to remove. Runs contain whole snapshots, but need their cluster until they end.
#[derive(Debug, Subcommand)]
pub enum Delete {
    /// Remove one version of a playbook
    Playbook {
        /// The version to remove
        #[arg(value_name = "NAME@VERSION")]
        name: String,
    },
    /// Remove a cluster; refused while a run on it has not ended
    Cluster {
        /// Name of the cluster
        name: String,
    },
    /// Remove a plugin that no playbook and no run pins
    Plugin {
        /// Digest of the plugin, at least 6 digits of it, or NAME@VERSION
        name: String,
    },
}

pub(crate) async fn delete(
    client: &Client,
    what: &Delete,
    console: &Console,
) -> Result<Exit, CliError> {
    let removed = match what {
        Delete::Playbook { name } => {
            let (name, Some(version)) = split_version(name) else {
                return Err(CliError::Usage(format!(
                    "found {name:?}, expected NAME@VERSION: versions are removed one by one"
                )));
            };
            client.delete_playbook(name, version).await?;
            format!("playbook/{name}@{version}")
        }
        Delete::Cluster { name } => {
            client.delete_cluster(name).await?;
            format!("cluster/{name}")
        }
        Delete::Plugin { name } => {
            let found = find_plugins(client, name).await?;
            let [plugin] = found.as_slice() else {
                return Err(CliError::NotFound(format!(
                    "{} plugins go by {name:?}; give the digest",
                    found.len()
                )));
            };
            client.delete_plugin(&plugin.info.digest).await?;
            format!("plugin/{}", plugin.info.digest)
        }
    };
    console.say(&format!("{removed} deleted"));
    Ok(Exit::Ok)
}
