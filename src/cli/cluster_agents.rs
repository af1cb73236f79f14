//! `get agents --cluster C`: the agents of a cluster as they are known now.

use super::client::Client;
use super::endpoints::MAX_PAGE;
use super::error::CliError;
use super::output::{Console, Row};
use super::text::{clean, moment, plural, shorten};
use crate::api::wire::{ClusterAgentView, ClusterAgents, PlatformView};
use crate::run::Outcome;

/// Characters of the attributes in a table.
const MAX_ATTRIBUTES: usize = 60;

/// The same in a wide table.
const MAX_WIDE_ATTRIBUTES: usize = 300;

impl Row for ClusterAgentView {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["AGENT", "ADDRESS", "SOURCE", "ATTRIBUTES", "SINCE"]
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let most = if wide { MAX_WIDE_ATTRIBUTES } else { MAX_ATTRIBUTES };
        let attributes = self.attributes.iter().map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={text}"),
            None => format!("{name}={value}"),
        });
        let attributes = attributes.collect::<Vec<_>>().join(",");
        vec![
            self.id.to_string(),
            self.address.clone(),
            self.source.as_str().to_owned(),
            if attributes.is_empty() { "-".to_owned() } else { shorten(&attributes, most) },
            moment(self.since),
        ]
    }

    fn name(&self) -> String {
        format!("agent/{}", self.id)
    }
}

/// Shows the agents after `after`, at most `limit`; where to go on.
pub(crate) async fn get_agents(
    client: &Client,
    cluster: Option<&str>,
    after: Option<String>,
    limit: usize,
    console: &Console,
) -> Result<Option<String>, CliError> {
    let cluster = named(cluster)?;
    let mut all = client.cluster_agents(cluster, after.as_deref(), limit.min(MAX_PAGE)).await?;
    while let Some(after) = all.next.take().filter(|_| all.items.len() < limit) {
        let wanted = (limit - all.items.len()).min(MAX_PAGE);
        let page = client.cluster_agents(cluster, Some(&after), wanted).await?;
        // Agents are in order of their identifiers, so that a page that leads nowhere is the last.
        let leads_on = page.items.last().is_some_and(|last| last.id.as_str() > after.as_str());
        all.items.extend(page.items);
        all.next = page.next.filter(|_| leads_on);
    }
    let next =
        all.items.last().filter(|_| all.items.len() >= limit).map(|last| last.id.to_string());
    console.list(&all.items)?;
    say_platform(&all, console);
    Ok(next)
}

/// Shows one agent.
pub(crate) async fn get_agent(
    client: &Client,
    cluster: Option<&str>,
    agent: &str,
    console: &Console,
) -> Result<(), CliError> {
    let cluster = named(cluster)?;
    let mut after: Option<String> = None;
    loop {
        let page = client.cluster_agents(cluster, after.as_deref(), MAX_PAGE).await?;
        if let Some(found) = page.items.iter().find(|one| one.id.as_str() == agent) {
            console.one(found)?;
            say_platform(&page, console);
            return Ok(());
        }
        let leads_on = |next: &String| after.as_ref().is_none_or(|after| next > after);
        match page.next.filter(leads_on) {
            Some(next) => after = Some(next),
            None => {
                let message = format!("cluster {cluster:?} has no agent {agent:?}");
                return Err(CliError::NotFound(message));
            }
        }
    }
}

fn named(cluster: Option<&str>) -> Result<&str, CliError> {
    let missing =
        || CliError::Usage("agents are those of a cluster: add --cluster NAME".to_owned());
    cluster.ok_or_else(missing)
}

fn say_platform(all: &ClusterAgents, console: &Console) {
    if let Some(platform) = &all.platform {
        console.say(&clean(&about_platform(platform)));
    }
    if let Some(mass) = all.mass_absence {
        let absent = plural(u64::from(mass.absent), "agent");
        console.say(&format!(
            "{absent} of {} are absent at once; they are not taken for gone",
            mass.known
        ));
    }
}

fn about_platform(platform: &PlatformView) -> String {
    let PlatformView { url, cluster, last_answer, .. } = platform;
    let came = match last_answer {
        None => "was not asked yet".to_owned(),
        Some(last) => {
            let at = moment(last.at);
            match &last.outcome {
                Outcome::Ok { nodes, left_out: 0 } => {
                    format!("answered at {at} with {}", plural(u64::from(*nodes), "node"))
                }
                Outcome::Ok { nodes, left_out } => format!(
                    "answered at {at} with {}, {left_out} of which can't be used",
                    plural(u64::from(*nodes), "node")
                ),
                Outcome::WithoutCluster => format!("answered at {at} without the cluster"),
                Outcome::Failed { message } => format!("failed at {at}: {message}"),
            }
        }
    };
    format!("platform {url}, cluster {cluster}: {came}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::output::table;
    use crate::cli::sample;
    use crate::run::{AgentId, LastAnswer, Millis, Source};

    #[test]
    fn agents_show_where_they_are_known_from() {
        let agent = |id: &str, source, attributes: serde_json::Value| ClusterAgentView {
            id: AgentId::from(id),
            address: format!("http://{id}"),
            source,
            attributes: attributes.as_object().unwrap().clone(),
            since: sample::moment(),
        };
        let shown = table(
            &[
                agent("a", Source::Declared, json!({"zone": "x", "rack": 1})),
                agent("b", Source::Discovered, json!({})),
            ],
            false,
            false,
        );
        let expected = format!(
            "AGENT  ADDRESS   SOURCE      ATTRIBUTES     SINCE\n\
             a      http://a  declared    zone=x,rack=1  {at}\n\
             b      http://b  discovered  -              {at}\n",
            at = moment(sample::moment())
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_came_of_the_last_question_is_said() {
        let about = |outcome: Option<Outcome>| {
            about_platform(&PlatformView {
                url: "http://p".to_owned(),
                cluster: "eu".to_owned(),
                interval: Millis::from_secs(10),
                last_answer: outcome.map(|outcome| LastAnswer { at: sample::moment(), outcome }),
            })
        };
        let at = moment(sample::moment());
        let start = "platform http://p, cluster eu:";
        assert_eq!(about(None), format!("{start} was not asked yet"));
        let ok = Outcome::Ok { nodes: 3, left_out: 1 };
        let expected = format!("{start} answered at {at} with 3 nodes, 1 of which can't be used");
        assert_eq!(about(Some(ok)), expected);
        let failed = Outcome::Failed { message: "refused".to_owned() };
        assert_eq!(about(Some(failed)), format!("{start} failed at {at}: refused"));
    }
}
