//! The command line of `replibook gateway`: the arguments, and an example of an inventory for the help text.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::inventory::HostsFrom;
use crate::agent::server::read_length;
use crate::credentials::TlsArgs;
use crate::playbook::{ADDRESS_EXPECTED, parse_address};
use crate::web::HostName;

/// How long what was done on a node is kept there, unless somebody says how long.
pub(super) const KEPT: &str = "14d";

/// The shortest time for which it may be kept: an action may take a day, and engines that are down for another one, or for
/// a night, must still learn how it ended. What is forgotten sooner could be done again.
const LEAST_KEPT: Duration = Duration::from_secs(48 * 3_600);

/// An example of an inventory, as the help text shows it.
pub(super) const EXAMPLE: &str = "\
apiVersion: replicante.io/v1
kind: Inventory
metadata: { name: mongo-eu }                # `discovery.cluster` of a Cluster
spec:
  groups:
    all: { user: deploy, allow: [command] } # what may be done: nothing else is
    db:
      become: root
      attributes: { role: SECONDARY }
      actions:
        mongodb.example.com/restart: { command: [systemctl, restart, mongod], timeout: 5m }
  nodes:
    - { id: node-1, groups: [db], host: 10.0.0.11, attributes: { zone: a } }
    - { id: node-2, groups: [db] }          # the name, or an alias of the ssh_config
";

fn about_inventories() -> String {
    format!(
        "Whoever reaches the gateway can do on its nodes what the inventory allows, so beyond loopback it wants \
         --tls with a certificate or a token of its clients. The inventory is watched and may be edited, or replaced \
         atomically. While it can't be used, the last good one counts, and the log says what is wrong, with line and \
         column:\n\n{EXAMPLE}\n`replictl explain inventory --recursive` explains all its fields, `replictl validate -f` \
         checks one, and docs/gateway.md has the rest."
    )
}

/// Who else knows nodes than an inventory, and how they are reached.
#[derive(Clone, Debug, clap::Args)]
pub struct HostsArgs {
    /// Hosts that others know, beside the nodes of the inventory: ansible:FILE (INI, YAML, or the output of
    /// `ansible-inventory --list`), ansible-inventory:PATH (that program is asked every 5 minutes) or ssh-config:FILE (its
    /// aliases). They are in the groups of the inventory that have the names of theirs; what may be done there is said by the
    /// inventory alone. May be repeated
    #[arg(long, value_name = "KIND:PATH", requires = "inventory")]
    pub hosts_from: Vec<HostsFrom>,

    /// A variable of Ansible's hosts that becomes an attribute of the node; no other variable does, as some are secret. May be
    /// repeated
    #[arg(long = "host-var", value_name = "NAME", requires = "hosts_from")]
    pub host_vars: Vec<String>,

    /// Configuration of OpenSSH's client, instead of that of the user
    #[arg(long, value_name = "FILE", requires = "inventory")]
    pub ssh_config: Option<PathBuf>,
}

/// Runs a gateway: an agent for nodes that have none, and the platform that tells of them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = about_inventories())]
pub struct GatewayArgs {
    /// The inventory, in YAML or JSON: nodes, and what may be done there
    #[arg(long, value_name = "FILE")]
    pub inventory: PathBuf,

    /// Who else knows nodes, and how they are reached
    #[command(flatten)]
    pub hosts: HostsArgs,

    /// Address to listen on; port 0 takes a free one. The address is printed once it is bound
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8300")]
    pub listen: SocketAddr,

    /// Base URL under which engines reach the nodes, as `GET /discover` tells it; by default, where they ask for that
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub url: Option<String>,

    /// Listen on an address that is not loopback without knowing who asks: whoever reaches it can do on all nodes what the
    /// inventory allows. For tests
    #[arg(long)]
    pub insecure: bool,

    /// How the gateway is secured
    #[command(flatten)]
    pub tls: TlsArgs,

    /// A host name under which the gateway may be reached, with or without a port; `localhost` and IP addresses always work.
    /// May be repeated; `*` allows every name
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<HostName>,

    /// How long what was done on a node is kept there after it was sent, at least 2d
    #[arg(long, value_name = "LENGTH", default_value = KEPT, value_parser = retention)]
    pub retention: Duration,

    /// Stop when standard input closes, so that the gateway ends with the program that started it
    #[arg(long)]
    pub until_stdin_closes: bool,
}

fn retention(text: &str) -> Result<Duration, String> {
    let length = read_length(text)?;
    match length < LEAST_KEPT {
        true => Err(format!(
            "found {text:?}, expected at least 2d: an action may take a day, and engines may ask later how it ended"
        )),
        false => Ok(length),
    }
}

fn base_url(text: &str) -> Result<String, String> {
    parse_address(text).ok_or_else(|| format!("found {text:?}, expected {ADDRESS_EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::playbook::inventory::parse_inventory;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    #[test]
    fn the_example_is_an_inventory() {
        let inventory = parse_inventory(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((inventory.cluster.as_str(), inventory.nodes.len()), ("mongo-eu", 2));
    }

    #[test]
    fn defaults_are_safe_and_arguments_are_checked() {
        let parse = |more: &[&str]| {
            Cli::try_parse_from([&["gateway", "--inventory", "x.yaml"], more].concat())
        };
        let args = parse(&[]).unwrap().gateway;
        assert!(
            args.listen.ip().is_loopback() && !args.insecure && args.hosts.hosts_from.is_empty()
        );
        let url = parse(&["--url", "https://Gw.example.com:443/a/"]).unwrap().gateway.url;
        assert_eq!(url.as_deref(), Some("https://gw.example.com/a"));
        for bad in [
            &["--url", "gw.example.com"][..],
            &["--hosts-from", "hosts.ini"],
            &["--host-var", "zone"],
            &["--tls", "web"],
            &["--allow-host", "http://a"],
            &["--retention", "47h"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(Cli::try_parse_from(["gateway"]).is_err());
        assert_eq!(parse(&["--retention", "2d"]).unwrap().gateway.retention, LEAST_KEPT);
    }
}
