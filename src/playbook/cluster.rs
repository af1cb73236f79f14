//! Clusters: YAML → [`Cluster`].

use std::collections::HashMap;

use super::document::{ClusterFile, Kind};
use super::model::{Cluster, ClusterAgent, Discovery, Tls};
use super::names;
use super::problem::{Problem, Problems, code};
use super::read::read_as;
use super::text::{Limits, Text};
use super::units;
use crate::run::{AgentId, Millis};

/// How often a platform is asked when a cluster does not say.
const DEFAULT_INTERVAL: Millis = Millis::from_secs(10);

/// Reads a cluster and reports everything that is wrong with it at once.
pub fn parse_cluster(text: &[u8]) -> Result<Cluster, Problems> {
    let text = Text::read(text, Limits::CLUSTER)?;
    let (file, mut problems, repaired) = read_as::<ClusterFile>(&text, Kind::Cluster)?;
    let mut rules = Vec::new();
    let cluster = file.map(|file| resolve(file, &mut rules));
    problems.extend(rules.into_iter().filter(|problem| !repaired.contains(&problem.path)));
    text.check(problems)?;
    cluster.ok_or_else(|| Problem::new(code::BAD_VALUE, "", "the document can't be read").into())
}

fn resolve(file: ClusterFile, problems: &mut Vec<Problem>) -> Cluster {
    let spec = file.spec;
    let mut ids = HashMap::new();
    let mut addresses = HashMap::new();
    let agents = spec.agents.into_iter().enumerate().map(|(index, agent)| {
        let path = |key: &str| format!("/spec/agents/{index}/{key}");
        let mut bad = |key: &str, message: &str, found: &str, expected: &str| {
            let problem = Problem::new(code::BAD_VALUE, path(key), message);
            problems.push(problem.found(format!("{found:?}")).expected(expected));
        };
        if !names::is_identifier(&agent.id) {
            bad("id", "not a valid identifier", &agent.id, names::IDENTIFIER_EXPECTED);
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
        // Two names for one agent would have it worked on twice.
        if !address.is_empty()
            && let Some(other) = addresses.insert(address.clone(), index)
        {
            let message = format!("agent {other} of the list has the same address");
            problems.push(Problem::new(code::DUPLICATE, path("address"), message).found(&address));
        }
        ClusterAgent { id: AgentId(agent.id), address, attributes: agent.attributes }
    });
    let agents = agents.collect();
    let discovery = spec.discovery.map(|discovery| {
        let text = discovery.interval;
        let interval = text.as_deref().map_or(Some(DEFAULT_INTERVAL), units::parse_duration);
        if interval.is_none() {
            let path = "/spec/discovery/interval";
            let problem = Problem::new(code::BAD_VALUE, path, "not a valid length of time");
            let found = text.unwrap_or_default();
            problems.push(problem.found(format!("{found:?}")).expected(units::DURATION_EXPECTED));
        }
        not_supported(problems, "discovery");
        let interval = interval.unwrap_or(DEFAULT_INTERVAL);
        Discovery { url: discovery.url, cluster: discovery.cluster, interval }
    });
    let tls = spec.tls.map(|tls| {
        not_supported(problems, "tls");
        Tls { ca: tls.ca, cert: tls.cert, key: tls.key }
    });
    Cluster { name: file.metadata.name, agents, discovery, tls }
}

/// What is written down and not performed would be worse than refused.
fn not_supported(problems: &mut Vec<Problem>, key: &str) {
    let message = format!("{key} is not supported by this version yet");
    problems.push(Problem::new(code::NOT_SUPPORTED, format!("/spec/{key}"), message));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster of the largest size that is meant to work stays within the limits.
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
}
