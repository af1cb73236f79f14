//! The aliases of a configuration of OpenSSH: each is a node that is reached by its name. What the configuration says
//! about them is OpenSSH's own business.

use serde_json::Map;

use super::hosts::Hosts;
use crate::playbook::inventory::MAX_NODES;
use crate::playbook::{MAX_CLUSTER_BYTES, Problem, Problems, code};

/// Reads the aliases: the words after `Host` that are no patterns.
///
/// # Errors
/// The text is not UTF-8, too large, or has more aliases than an inventory has nodes.
pub(super) fn read_ssh_config(bytes: &[u8]) -> Result<Hosts, Problems> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_CLUSTER_BYTES);
    let Some(text) = text else {
        let problem = Problem::new(code::ENCODING, "", "this is no ssh_config");
        let expected = format!("text in UTF-8, of at most {MAX_CLUSTER_BYTES} bytes");
        return Err(problem.expected(expected).into());
    };
    let mut hosts = Hosts::default();
    let mut seen = std::collections::HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let Some((keyword, rest)) = keyword(line) else { continue };
        match keyword.to_ascii_lowercase().as_str() {
            "host" => {
                for alias in rest.split_whitespace().map(|word| word.trim_matches('"')) {
                    if alias.is_empty() || alias.contains(['*', '?', '!']) || !seen.insert(alias) {
                        continue;
                    }
                    if seen.len() > MAX_NODES {
                        let problem = Problem::new(code::TOO_LARGE, "", "there are too many hosts");
                        let line = u32::try_from(index + 1).ok();
                        let problem = Problem { line, column: Some(1), ..problem };
                        return Err(problem.expected(format!("at most {MAX_NODES}")).into());
                    }
                    hosts.add(alias, Vec::new(), Map::new());
                }
            }
            "include" => hosts.note(format!(
                "the aliases of `Include {rest}` are not among the nodes: give that file, too"
            )),
            _ => {}
        }
    }
    Ok(hosts)
}

/// The keyword of a line and what follows it: they are apart by white space or one `=`.
fn keyword(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    Some((keyword, rest.strip_prefix('=').unwrap_or(rest).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_nodes_and_patterns_are_not() {
        let text = "# my hosts\nHost web-1 web-2\n  HostName 10.0.0.1\nHost *\n  User ann\nhost=db-1\nHost !x web-? \"a-b\" web-1\n\
                    Match host y\n  Port 1\nInclude conf.d/*\n";
        let hosts = read_ssh_config(text.as_bytes()).unwrap();
        let ids: Vec<_> = hosts.nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["web-1", "web-2", "db-1", "a-b"]);
        assert!(hosts.notes()[0].contains("conf.d/*"), "{:?}", hosts.notes());
    }

    #[test]
    fn aliases_are_bounded() {
        let many = (0..=MAX_NODES).map(|n| format!(" h{n}")).collect::<String>();
        let problems = read_ssh_config(format!("\nHost{many}\n").as_bytes()).unwrap_err();
        assert!(problems.to_string().starts_with("2:1: there are too many hosts"), "{problems}");
        assert!(read_ssh_config(b"Host \xff").is_err());
    }
}
