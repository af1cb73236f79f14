//! The command line of `replibook platform`: the arguments, and an example of the file for the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::credentials::TlsArgs;
use crate::web::HostName;

/// An example of the file, as the help text shows it.
pub(super) const EXAMPLE: &str = "\
clusters:
  - cluster_id: mongo-eu                       # as `discovery.cluster` of a Cluster names it
    nodes:
      - node_id: node-1                        # identifier of the agent
        agent_address: http://10.0.0.11:8000   # base URL of its API, which may carry a path
        node_class: m5.large                   # these two may be left out; they become
        node_group: eu-west-1a                 # attributes of the agent
";

fn about_the_file() -> String {
    format!(
        "It answers `GET /discover`. The file is watched and may be edited, or replaced atomically. While \
         it can't be used, the last good content is served, and the log says what is wrong, with line \
         and column. It has the shape of the answer:\n\n{EXAMPLE}"
    )
}

/// Serves a file of nodes as a Replicante platform, which clusters with `discovery` can follow.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = about_the_file())]
pub struct PlatformArgs {
    /// The nodes, in YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,

    /// Address to listen on; port 0 takes a free one. The address is printed once it is bound
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8100")]
    pub listen: SocketAddr,

    /// Listen on an address that is not loopback, where anybody who reaches it may read the file. For tests
    #[arg(long)]
    pub insecure: bool,

    /// How the platform is secured
    #[command(flatten)]
    pub tls: TlsArgs,

    /// A host name under which the platform may be reached, with or without a port; `localhost` and
    /// IP addresses always work. May be repeated; `*` allows every name
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<HostName>,

    /// Stop when standard input closes, so that the platform ends with the program that started it
    #[arg(long)]
    pub until_stdin_closes: bool,
}
