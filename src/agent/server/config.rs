//! The configuration of the reference agent: what its node is, and which commands are actions. It is checked
//! when the agent starts, so that a mistake never waits for the first action.
//!
//! ```yaml
//! node_id: node-1
//! status: HEALTHY                    # or { UNKNOWN: reason }
//! attributes: { role: SECONDARY, rack: null }
//! store_id: demo
//! store_version: 1.2.3
//! cluster_id: rs0
//! allow_hosts: [node-1.example.com]  # names of this agent, besides localhost and IP addresses
//! actions:
//!   demo.example.com/restart:
//!     command: [sh, -c, "sleep 1; echo '{\"restarted\": true}'"]
//!     timeout: 30s
//! ```
//!
//! A command gets the action's arguments as JSON on standard input, and its output becomes the action's
//! payload: JSON unchanged, other text as `{"stdout": text}`, no output as null. If it ends with a code other
//! than 0, the action fails, with the end of standard error as its message. A command runs in the agent's
//! directory, and its environment has only `PATH`, `REPLIBOOK_ACTION_ID`, `REPLIBOOK_ACTION_KIND`,
//! `REPLIBOOK_NODE_ID` and, if a status file is configured, `REPLIBOOK_STATUS_FILE`. What it leaves behind in
//! its process group is killed at its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::command::{DEFAULT_TIMEOUT, MAX_TIMEOUT};
use super::request::MAX_KIND_CHARS;
use crate::agent::door::is_status_word;
use crate::playbook::{LENGTH_EXPECTED, Problem, Problems};
use crate::run::Millis;
use crate::web::HostName;

/// Bytes of a configuration: a larger file is something else.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// How many bytes of JSON the attributes of a node may have together. Engines accept 256 KiB about a node, with
/// texts of up to 64 KiB.
const MAX_ATTRIBUTES_BYTES: usize = 64 * 1024;

/// The most attributes of a node: engines accept 4,000 values about a node, including the other fields.
const MAX_ATTRIBUTES: usize = 3_000;

/// Kinds with this prefix are the agent's own.
const RESERVED_PREFIX: &str = "agent.replicante.io/";

/// The configuration of an agent. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Identifier of the node; must not be empty.
    pub node_id: String,
    /// Status of the node, unless the status file says otherwise.
    pub status: NodeStatus,
    /// File that holds the status of the node, read at each request.
    pub status_file: Option<PathBuf>,
    /// Attributes of the node: strings, numbers, booleans or null.
    pub attributes: Map<String, Value>,
    /// Which kind of store the node runs, for example the name of a database.
    pub store_id: String,
    /// Version of the store.
    pub store_version: String,
    /// Identifier of the cluster, as the store names it. Empty: the agent names no cluster, and nobody compares
    /// it.
    pub cluster_id: String,
    /// Attributes of the cluster, which `info/store` gives.
    pub cluster_attributes: Map<String, Value>,
    /// Where the store can be reached.
    pub address: NodeAddress,
    /// Shards on the node, which `info/shards` gives.
    pub shards: Vec<Shard>,
    /// Host names under which the agent may be reached, besides `localhost` and IP addresses: those in the
    /// addresses that clusters have for it. `*` allows every name.
    pub allow_hosts: Vec<HostName>,
    /// The commands that are actions, by kind of action.
    pub actions: BTreeMap<String, CommandSpec>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            node_id: "node-1".to_owned(),
            status: NodeStatus::Word("HEALTHY".to_owned()),
            status_file: None,
            attributes: Map::new(),
            store_id: "reference".to_owned(),
            store_version: "0.0.0".to_owned(),
            cluster_id: String::new(),
            cluster_attributes: Map::new(),
            address: NodeAddress::default(),
            shards: Vec::new(),
            allow_hosts: Vec::new(),
            actions: BTreeMap::new(),
        }
    }
}

/// Status of a node, as `info/node` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a word in capitals or { UNKNOWN: reason }")]
pub enum NodeStatus {
    /// A known status: a word in capitals.
    Word(String),
    /// The status is not known.
    Unknown {
        /// Why, as human-readable text.
        #[serde(rename = "UNKNOWN")]
        reason: String,
    },
}

/// Where the store of a node can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeAddress {
    /// Address for its clients.
    pub client: Option<String>,
    /// Address for the other members of its cluster.
    pub member: Option<String>,
}

/// A shard on the node, as `info/shards` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Position of its last write, if known.
    pub commit_offset: Option<ShardOffset>,
    /// How far it is behind its primary, if known.
    pub lag: Option<ShardOffset>,
    /// Role of the node for this shard, for example primary or secondary.
    pub role: String,
    /// Identifier of the shard.
    pub id: String,
}

/// A position, or a distance, in the writes of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardOffset {
    /// What `value` counts, for example seconds.
    pub unit: String,
    /// Number of units.
    pub value: i64,
}

/// The declaration of an action that is a command.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// The program, which must not be empty, and its arguments.
    pub command: Vec<String>,
    /// How long the command may take, at most 24 h; then it is killed and the action fails.
    #[serde(default = "default_timeout", deserialize_with = "length")]
    pub timeout: Duration,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("failed to use {}: found more than {MAX_CONFIG_BYTES} bytes, expected a configuration", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is not YAML of the expected shape.
    #[error("failed to use {}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Where, what was found and what was expected.
        #[source]
        source: serde_yaml::Error,
    },
    /// The shape is right, but some values are not allowed.
    #[error("failed to use the agent's configuration:\n{0}")]
    Invalid(#[from] Problems),
}

impl AgentConfig {
    /// Reads a configuration from a file, without checking its values (see [`check`](Self::check)).
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(read)?;
        file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        serde_yaml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }

    /// Checks what the types do not: sizes, ranges and names. Reports all problems at once.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut add = |path: String, found: String, expected: &str| {
            problems.push(Problem {
                code: "invalid-value".to_owned(),
                path,
                line: None,
                column: None,
                message: "the value cannot be used".to_owned(),
                found: Some(found),
                expected: Some(expected.to_owned()),
            });
        };
        if self.node_id.is_empty() {
            add("/node_id".to_owned(), "nothing".to_owned(), "an identifier");
        }
        if let NodeStatus::Word(word) = &self.status
            && !is_status_word(word)
        {
            add("/status".to_owned(), format!("{word:?}"), "a word in capitals");
        }
        for (name, value) in &self.attributes {
            if value.is_object() || value.is_array() {
                let expected = "a string, a number, a boolean or null";
                add(format!("/attributes/{name}"), value.to_string(), expected);
            }
        }
        let bytes = Value::Object(self.attributes.clone()).to_string().len();
        if bytes > MAX_ATTRIBUTES_BYTES || self.attributes.len() > MAX_ATTRIBUTES {
            let found = format!("{} attributes, {bytes} bytes of JSON", self.attributes.len());
            let expected = format!("at most {MAX_ATTRIBUTES}, and {MAX_ATTRIBUTES_BYTES} bytes");
            add("/attributes".to_owned(), found, &expected);
        }
        for (kind, spec) in &self.actions {
            // A JSON pointer writes a slash inside a key in this way.
            let at = format!("/actions/{}", kind.replace('~', "~0").replace('/', "~1"));
            if kind.is_empty() || kind.chars().count() > MAX_KIND_CHARS {
                let expected = format!("1 to {MAX_KIND_CHARS} characters");
                add(at.clone(), format!("{} characters", kind.chars().count()), &expected);
            }
            if kind.starts_with(RESERVED_PREFIX) {
                add(at.clone(), format!("{kind:?}"), "a kind outside of agent.replicante.io");
            }
            if spec.command.first().is_none_or(String::is_empty) {
                add(
                    format!("{at}/command"),
                    "no program".to_owned(),
                    "a program and its arguments",
                );
            }
            if spec.timeout > MAX_TIMEOUT {
                let found = format!("{} s", spec.timeout.as_secs());
                add(format!("{at}/timeout"), found, "at most 24h");
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }
}

/// Reads a length of time; zero is an error.
pub(in crate::agent) fn read_length(text: &str) -> Result<Duration, String> {
    let length = text.parse::<Millis>().map_err(|error| error.to_string())?;
    match length {
        Millis(0) => Err(format!("found {text:?}, expected {LENGTH_EXPECTED}, of more than zero")),
        length => Ok(length.to_std()),
    }
}

fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    read_length(&text).map_err(serde::de::Error::custom)
}

fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentConfig, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }

    /// The YAML in the documentation of this file.
    fn example() -> String {
        let source = include_str!("config.rs");
        let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
        let block = lines.skip_while(|line| *line != " ```yaml").skip(1);
        block
            .take_while(|line| *line != " ```")
            .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
            .collect()
    }

    #[test]
    fn the_documented_example_is_one() {
        let config = parse(&example()).unwrap();
        config.check().unwrap();
        assert_eq!(config.node_id, "node-1");
        let restart = &config.actions["demo.example.com/restart"];
        assert_eq!((restart.command.len(), restart.timeout), (3, Duration::from_secs(30)));
        assert_eq!(config.attributes["rack"], Value::Null);
    }

    #[test]
    fn an_empty_configuration_is_the_default() {
        assert_eq!(parse("{}").unwrap(), AgentConfig::default());
        AgentConfig::default().check().unwrap();
    }

    #[test]
    fn the_shape_is_checked_with_line_and_column() {
        let error = parse("node_id: a\ncolour: red\n").unwrap_err().to_string();
        assert!(error.contains("colour") && error.contains("line 2 column 1"), "{error}");
        let error = parse("actions: { a/b: { command: [x], timeout: soon } }").unwrap_err();
        assert!(error.to_string().contains("found \"soon\", expected a length"), "{error}");
    }

    #[test]
    fn all_wrong_values_are_reported_at_once() {
        let text = "node_id: ''\nstatus: fine\nattributes: { a: [1] }\nactions:\n  \
                    agent.replicante.io/x: { command: [], timeout: 25h }\n";
        let problems = parse(text).unwrap().check().unwrap_err();
        let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        let at = "/actions/agent.replicante.io~1x";
        let (command, timeout) = (format!("{at}/command"), format!("{at}/timeout"));
        assert_eq!(paths, ["/node_id", "/status", "/attributes/a", at, &command, &timeout]);
    }

    #[test]
    fn more_attributes_than_engines_take_are_refused() {
        let with = |count: usize, bytes: usize| {
            let mut config = AgentConfig::default();
            for number in 0..count {
                config.attributes.insert(number.to_string(), Value::from("x".repeat(bytes)));
            }
            config.check()
        };
        assert!(with(1, 65_000).is_ok() && with(MAX_ATTRIBUTES, 1).is_ok());
        for (count, bytes) in [(1, 65_536), (MAX_ATTRIBUTES + 1, 1)] {
            assert_eq!(with(count, bytes).unwrap_err().0[0].path, "/attributes");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#".repeat(MAX_CONFIG_BYTES as usize + 1)).unwrap();
        let error = AgentConfig::load(file.path()).unwrap_err();
        assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(read_length("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "5", "-5s", "0s", "1ns", "1 fortnight"] {
            assert!(read_length(bad).is_err(), "{bad:?}");
        }
    }
}
