//! Makes a valid [`Cluster`] from YAML or JSON. It is separate from the reading of playbooks since it has other
//! limits, and no expressions.

use std::collections::HashMap;

use super::document::Kind;
use super::document_cluster::{ClusterFile, DiscoveryFile};
use super::guards;
use super::model::{Cluster, ClusterAgent, Discovery};
use super::names;
use super::problem::{Problem, Problems, code};
use super::read::{Read, read_as};
use super::text::{Limits, Text};
use super::units;
use super::unsupported;
use crate::ids::AgentId;
use crate::time::Millis;

/// How often a platform is asked when the cluster sets no interval.
const DEFAULT_INTERVAL: Millis = Millis::from_secs(10);

/// The shortest interval at which a platform is asked: many clusters may ask the same platform.
const MIN_INTERVAL: Millis = Millis::from_secs(1);

/// Reads a cluster and reports everything that is wrong with it at once.
///
/// # Example
/// ```
/// use replibook_core::playbook::parse_cluster;
///
/// let text = "
/// apiVersion: replicante.io/v1
/// kind: Cluster
/// metadata: { name: eu }
/// spec:
///   agents:
///     - { id: node-1, address: 'HTTP-ADDRESS', attributes: { zone: a } }
/// ";
/// let cluster = parse_cluster(text.replace("HTTP-ADDRESS", "http://Node-1:80/").as_bytes())?;
/// assert_eq!(cluster.agents[0].address, "http://node-1");
/// assert_eq!(cluster.agents[0].attributes["zone"], "a");
///
/// let problems = parse_cluster(text.as_bytes()).unwrap_err();
/// assert!(problems.to_string().starts_with("7:30: /spec/agents/0/address: not a valid address"));
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn parse_cluster(text: &[u8]) -> Result<Cluster, Problems> {
    let (cluster, problems) = parse_cluster_whole(text)?;
    Problems::check(problems)?;
    Ok(cluster)
}

/// Like [`parse_cluster`], but gives what could be read of the cluster along with its problems.
pub(super) fn parse_cluster_whole(text: &[u8]) -> Result<(Cluster, Vec<Problem>), Problems> {
    let text = Text::read(text, Limits::CLUSTER)?;
    let Read { file, mut problems, suspects } = read_as::<ClusterFile>(&text, Kind::Cluster)?;
    let mut rules = Vec::new();
    let cluster = resolve(file, &mut rules);
    problems.extend(rules.into_iter().filter(|problem| !suspects.explain(problem)));
    text.locate(&mut problems);
    Ok((cluster, problems))
}

fn resolve(file: ClusterFile, problems: &mut Vec<Problem>) -> Cluster {
    let mut spec = file.spec;
    let guards = guards::guards(&mut spec, problems);
    let mut ids = HashMap::new();
    let mut addresses = HashMap::new();
    let agents = spec.agents.into_iter().enumerate().map(|(index, agent)| {
        let path = |key: &str| format!("/spec/agents/{index}/{key}");
        let mut bad = |key: &str, message: &str, found: &str, expected: &str| {
            let problem = Problem::new(code::BAD_VALUE, path(key), message);
            problems.push(problem.found(format!("{found:?}")).expected(expected));
        };
        if !names::is_agent_identifier(&agent.id) {
            // Most wrong ones are no identifiers at all: then there is no need to tell of `@run`.
            let expected = match names::is_identifier(&agent.id) {
                true => names::AGENT_EXPECTED,
                false => names::IDENTIFIER_EXPECTED,
            };
            bad("id", "not a valid identifier", &agent.id, expected);
        }
        let address = names::parse_address(&agent.address);
        if address.is_none() {
            bad("address", "not a valid address", &agent.address, names::ADDRESS_EXPECTED);
        }
        let address = address.unwrap_or_default();
        if let Some(other) = ids.insert(agent.id.clone(), index) {
            let message = format!("agent {other} of the list has the same identifier");
            problems.push(Problem::new(code::DUPLICATE, path("id"), message).found(&agent.id));
        }
        // One agent under two identifiers would be worked on twice.
        if !address.is_empty()
            && let Some(other) = addresses.insert(address.clone(), index)
        {
            let message = format!("agent {other} of the list has the same address");
            problems.push(Problem::new(code::DUPLICATE, path("address"), message).found(&address));
        }
        let (attributes, identity) = (agent.attributes, agent.identity.into());
        ClusterAgent { id: AgentId(agent.id), address, attributes, identity }
    });
    let agents = agents.collect();
    let discovery = spec.discovery.map(|file| discovery(file, problems));
    // Only what earlier versions stored has it.
    let tls = None;
    problems.extend(spec.tls.map(|_| unsupported::tls()));
    let (credentials, dialect) = (spec.credentials, spec.dialect);
    let cluster_id = spec.cluster_id.inspect(|id| {
        if !names::is_identifier(id) {
            let path = "/spec/cluster_id".to_owned();
            let problem = Problem::new(code::BAD_VALUE, path, "not a valid identifier");
            problems.push(problem.found(format!("{id:?}")).expected(names::IDENTIFIER_EXPECTED));
        }
    });
    let name = file.metadata.name;
    Cluster { name, agents, discovery, tls, credentials, dialect, cluster_id, guards }
}

fn discovery(file: DiscoveryFile, problems: &mut Vec<Problem>) -> Discovery {
    let mut bad = |key: &str, message: &str, found: &str, expected: &str| {
        let problem = Problem::new(code::BAD_VALUE, format!("/spec/discovery/{key}"), message);
        problems.push(problem.found(format!("{found:?}")).expected(expected));
    };
    let url = names::parse_address(&file.url).unwrap_or_else(|| {
        bad("url", "not a valid address", &file.url, names::ADDRESS_EXPECTED);
        String::new()
    });
    if !names::is_identifier(&file.cluster) {
        bad("cluster", "not a valid identifier", &file.cluster, names::IDENTIFIER_EXPECTED);
    }
    let mut interval = DEFAULT_INTERVAL;
    if let Some(text) = file.interval {
        match units::parse_duration(&text) {
            Some(asked) if asked >= MIN_INTERVAL => interval = asked,
            Some(_) => bad("interval", "this is too often", &text, "at least 1s"),
            None => bad("interval", "not a valid length of time", &text, units::DURATION_EXPECTED),
        }
    }
    Discovery { url, cluster: file.cluster, interval, credentials: file.credentials }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster of the largest size that is supported stays within the limits.
    #[test]
    fn a_hundred_thousand_agents_fit() {
        let mut text = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {name: big}\nspec:\n  agents:\n".to_owned();
        for n in 0..100_000 {
            let address = format!("http://10.{}.{}.{}:8000", n / 65_536, n / 256 % 256, n % 256);
            text.push_str(&format!(
                "  - {{id: node-{n}, address: '{address}', attributes: {{zone: a, rack: {n}}}}}\n"
            ));
        }
        let cluster = parse_cluster(text.as_bytes()).unwrap();
        assert_eq!(cluster.agents.len(), 100_000);
        assert_eq!(cluster.agents[99_999].attributes["rack"], 99_999);
    }

    /// However much is wrong with a document, the work grows only with the size of its text.
    #[test]
    fn problems_without_number_are_cut() {
        let head = "apiVersion: replicante.io/v1\nkind: Cluster\nmetadata: {name: big}\nspec:\n  agents:\n    - id: a b\n";
        let numbers = format!("{head}      attributes:\n{}", "        ? .nan\n        : .nan\n");
        let keys = (0..100_000).map(|n| format!("      k{n}: 1\n")).collect::<String>();
        for text in
            [format!("{head}{keys}"), format!("{numbers}  x: [{}]\n", ".nan, ".repeat(100_000))]
        {
            let Problems(problems) = parse_cluster(text.as_bytes()).unwrap_err();
            assert_eq!(problems.len(), super::super::problem::MAX_PROBLEMS + 1);
            assert!(
                problems.iter().any(|problem| problem.path == "/spec/agents/0/id"),
                "{problems:?}"
            );
        }
    }
}
