//! The command line of `replibook agent`: the arguments, and what the help text says about commands.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::config::read_length;
use crate::credentials::TlsArgs;
use crate::web::HostName;

/// What the help text says about commands.
const ABOUT_COMMANDS: &str = "\
A command gets the arguments of its action as JSON on stdin. One that ends with 0 has done its work: JSON \
that it printed is the result, any other text is {\"stdout\": \"…\"}, nothing is null. Any other end fails \
the action, with the end of stderr as its message.

The agent listens on loopback and answers requests for localhost, for addresses and for --allow-host, but \
none that a web page sends. A command whose agent was killed is ended by the next one on the same --data \
before it starts anything else. docs/agent.md has all of it, and the limits.";

/// Runs a reference agent: an agent that answers the Replicante agent API and runs commands.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = ABOUT_COMMANDS)]
pub struct AgentArgs {
    /// Configuration in YAML: the node and the actions made of commands.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Identifier of the node; takes precedence over the configuration.
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,

    /// An attribute of the node, as text; takes precedence over the configuration. May be repeated.
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = key_value)]
    pub attributes: Vec<(String, String)>,

    /// File that holds the status of the node: a word in capitals, or `UNKNOWN: reason`. Read at each request;
    /// without the file the configured status counts. Takes precedence over the configuration.
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,

    /// SQLite database that keeps the actions. It is created if it does not exist, readable by this user alone.
    /// Only one agent at a time can use it.
    #[arg(long, value_name = "FILE", default_value = "replibook-agent.sqlite")]
    pub data: PathBuf,

    /// Address to listen on. Other machines can reach only an address that is not loopback: see --insecure.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one. The address is printed once it is bound.
    #[arg(long, default_value_t = 8_000)]
    pub port: u16,

    /// Listen on addresses that other machines can reach, without knowing who asks: whoever reaches the agent can run
    /// its actions. For tests.
    #[arg(long)]
    pub insecure: bool,

    /// How the agent is secured
    #[command(flatten)]
    pub tls: TlsArgs,

    /// A host name under which the agent may be reached, with or without a port; `localhost` and IP
    /// addresses always work. Added to those of the configuration; may be repeated. `*` allows every
    /// name, and lets web pages reach the agent through browsers in its network.
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allow_hosts: Vec<HostName>,

    /// How often the agent takes a step: looks at its queue, or counts one in `test.loop`.
    #[arg(long, value_name = "LENGTH", default_value = "1s", value_parser = read_length)]
    pub tick: Duration,

    /// How long actions are kept after their end.
    #[arg(long, value_name = "LENGTH", default_value = "7d", value_parser = read_length)]
    pub retention: Duration,

    /// Stop when standard input closes, so that the agent ends with the program that started it.
    #[arg(long)]
    pub until_stdin_closes: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("found {text:?}, expected KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        agent: AgentArgs,
    }

    #[test]
    fn defaults_are_safe() {
        let args = Cli::try_parse_from(["agent"]).unwrap().agent;
        assert!(args.host.is_loopback() && !args.insecure && !args.until_stdin_closes);
        assert_eq!(args.tick, Duration::from_secs(1));
        assert_eq!(args.retention, Duration::from_secs(7 * 24 * 3_600));
    }

    #[test]
    fn attributes_and_lengths_are_checked() {
        let args = ["agent", "--attribute", "zone=a", "--attribute", "x=", "--tick", "20ms"];
        let args = Cli::try_parse_from(args).unwrap().agent;
        let expected = [("zone", "a"), ("x", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(args.attributes, expected);
        assert_eq!(args.tick, Duration::from_millis(20));
        for bad in [
            ["--attribute", "zone"],
            ["--attribute", "=a"],
            ["--tick", "0s"],
            ["--tick", "soon"],
            ["--allow-host", "http://a"],
        ] {
            assert!(Cli::try_parse_from([&["agent"][..], &bad[..]].concat()).is_err(), "{bad:?}");
        }
    }
}
