//! `get agents --cluster C`: the agents of a cluster as they are known now. The server asks each of them how it
//! is, so this shows what no record of a run has.

use serde_json::{Map, Value};

use super::choose::{ChooseArgs, MAX_SORTED};
use super::client::Client;
use super::endpoints::{Asked, MAX_PAGE};
use super::error::CliError;
use super::output::{Console, EMPTY, Format, Row};
use super::page::PageArgs;
use super::rows::or_dash;
use super::table::Narrower;
use super::text::{Paint, clean, length, moment, plural, shorten};
use crate::api::wire::{AgentNow, ClusterAgentView, ClusterAgents, Listing, PlatformView};
use crate::run::Outcome;

/// The most characters of the attributes in a table.
const MAX_ATTRIBUTES: usize = 60;

/// The most characters of the attributes in a wide table.
const MAX_WIDE_ATTRIBUTES: usize = 300;

/// The most characters of an attribute that has a line of its own.
pub(super) const MAX_ATTRIBUTES_SHOWN: usize = 300;

impl Row for ClusterAgentView {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["AGENT", "ADDRESS", "SOURCE", HEALTH, AGE, "ATTRIBUTES"];
        if wide {
            headings.extend(["VERSION", "STORE", "SAYS", "SINCE"]);
        }
        headings
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let most = if wide { MAX_WIDE_ATTRIBUTES } else { MAX_ATTRIBUTES };
        let now = self.now.as_ref();
        let mut cells = vec![
            self.id.to_string(),
            self.address.clone(),
            self.source.as_str().to_owned(),
            now.map_or(EMPTY.to_owned(), |now| shorten(&health(now, &self.address), most)),
            now.map_or(EMPTY.to_owned(), |now| length(now.age)),
            attributes(&self.attributes, most),
        ];
        if wide {
            cells.extend([
                or_dash(now.and_then(|now| now.agent_version.as_deref())),
                or_dash(now.and_then(|now| now.store.as_deref())),
                now.map_or(EMPTY.to_owned(), |now| attributes(&now.attributes, most)),
                moment(self.since),
            ]);
        }
        cells
    }

    fn optional() -> &'static [&'static str] {
        &[HEALTH, AGE]
    }

    fn narrower() -> &'static [Narrower] {
        &[
            Narrower::Without("SOURCE"),
            Narrower::Cut,
            Narrower::Without(AGE),
            Narrower::Cut,
            Narrower::Without("ATTRIBUTES"),
            Narrower::Cut,
        ]
    }

    fn paint(&self) -> (&str, Paint) {
        match self.now.as_ref().map(|now| now.status.as_deref()) {
            Some(Some("HEALTHY")) => ("HEALTHY", Paint::Good),
            Some(Some(other)) => (other, Paint::Busy),
            Some(None) => (NO_ANSWER, Paint::Bad),
            None => ("", Paint::Plain),
        }
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// Headings of the columns for what agents say when they are asked.
const HEALTH: &str = "HEALTH";
const AGE: &str = "AGE";

/// What the HTTP client puts around the cause of an error.
const AROUND: [&str; 4] = [
    "client error (Connect): ",
    "client error (SendRequest): ",
    "tcp connect error: ",
    "connection error: ",
];

/// Shown in place of a status when there was no answer.
const NO_ANSWER: &str = "no answer";

/// The status of a node, or why it is not known. The address is left out, as it has a column of its own.
fn health(now: &AgentNow, address: &str) -> String {
    match (&now.status, &now.error) {
        (Some(status), _) => status.clone(),
        (None, Some(error)) => {
            let rest = error.split_once(address).map_or(error.as_str(), |(_, rest)| rest);
            let mut cause = rest.trim_start_matches([':', ' ']);
            while let Some(deeper) = AROUND.iter().find_map(|around| cause.strip_prefix(around)) {
                cause = deeper;
            }
            format!("{NO_ANSWER}: {cause}")
        }
        (None, None) => NO_ANSWER.to_owned(),
    }
}

fn attributes(attributes: &Map<String, Value>, most: usize) -> String {
    let attributes = attributes.iter().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    let attributes = attributes.collect::<Vec<_>>().join(",");
    if attributes.is_empty() { EMPTY.to_owned() } else { shorten(&attributes, most) }
}

/// Which agents are shown.
pub(super) struct Wanted<'a> {
    pub(super) cluster: Option<&'a str>,
    pub(super) choose: &'a ChooseArgs,
    pub(super) page: &'a PageArgs,
}

/// Shows agents. Returns where the list goes on.
pub(super) async fn get_agents(
    client: &Client,
    wanted: Wanted<'_>,
    console: &Console,
) -> Result<Option<String>, CliError> {
    let Wanted { cluster, choose, page } = wanted;
    let cluster = named(cluster)?;
    // If only names are shown, no agent needs to be asked, unless it is selected by what it says.
    let ask = console.format != Format::Name || choose.selector.is_some();
    let asked = Asked { cluster, selector: choose.selector.as_deref(), ask };
    let is_sorted = choose.sort_by.is_some();
    let limit = if is_sorted { MAX_SORTED } else { page.limit() };
    let mut all = read_agents(client, asked, page.after.clone(), limit).await?;
    if is_sorted {
        look_further(client, asked, &mut all).await?;
    }
    let items = std::mem::take(&mut all.items);
    let list = Listing { items, next: all.next.take(), damaged: Vec::new() };
    let list = choose.first_sorted(list, page, console)?;
    console.list(&list.items)?;
    say_platform(&all, console);
    if all.undecided > 0 {
        let agents = plural(u64::from(all.undecided), "agent");
        console.say_prose(&format!("{agents} gave no answer, and might be in the list with one"));
    }
    Ok(list.next)
}

/// Reads at most `limit` agents, page by page.
async fn read_agents(
    client: &Client,
    asked: Asked<'_>,
    after: Option<String>,
    limit: usize,
) -> Result<ClusterAgents, CliError> {
    let mut all = client.cluster_agents(asked, after.as_deref(), limit.min(MAX_PAGE)).await?;
    while let Some(after) = all.next.clone().filter(|_| all.items.len() < limit) {
        let wanted = (limit - all.items.len()).min(MAX_PAGE);
        let page = client.cluster_agents(asked, Some(&after), wanted).await?;
        all.items.extend(page.items);
        all.undecided = all.undecided.saturating_add(page.undecided);
        // Agents are ordered by identifier, so a page that leads no further is the last one.
        all.next = page.next.filter(|next| *next > after);
    }
    if let Some(after) = &all.next {
        // A full page has a `next` even if it is the last one.
        let further = client.cluster_agents(Asked { ask: false, ..asked }, Some(after), 1).await?;
        let is_more = !further.items.is_empty() || further.next.is_some();
        all.next = all.next.filter(|_| is_more || asked.selector.is_some());
    }
    Ok(all)
}

/// Looks whether any more agents are selected beyond those that were read, however far on: only a whole list is sorted.
async fn look_further(
    client: &Client,
    asked: Asked<'_>,
    all: &mut ClusterAgents,
) -> Result<(), CliError> {
    while let Some(after) = all.next.clone() {
        let page = client.cluster_agents(asked, Some(&after), 1).await?;
        all.undecided = all.undecided.saturating_add(page.undecided);
        if !page.items.is_empty() {
            return Ok(());
        }
        all.next = page.next.filter(|next| *next > after);
    }
    Ok(())
}

/// Shows one agent.
pub(crate) async fn get_agent(
    client: &Client,
    cluster: Option<&str>,
    agent: &str,
    console: &Console,
) -> Result<(), CliError> {
    let (found, page) = find_agent(client, named(cluster)?, agent).await?;
    console.one(&found)?;
    say_platform(&page, console);
    Ok(())
}

/// The agent, asked just now, and what else is known of its cluster.
pub(super) async fn find_agent(
    client: &Client,
    cluster: &str,
    agent: &str,
) -> Result<(ClusterAgentView, ClusterAgents), CliError> {
    // A page begins after an identifier. The identifier before this agent is not known, so the list is searched
    // without asking anybody, and then only this agent is asked.
    let mut after: Option<String> = None;
    let mut before: Option<String> = None;
    loop {
        let asked = Asked { cluster, selector: None, ask: false };
        let page = client.cluster_agents(asked, after.as_deref(), MAX_PAGE).await?;
        if let Some(place) = page.items.iter().position(|one| one.id.as_str() == agent) {
            let previous = place.checked_sub(1).and_then(|at| page.items.get(at));
            before = previous.map(|one| one.id.to_string()).or(before);
            let asked = Asked { ask: true, ..asked };
            let asked = client.cluster_agents(asked, before.as_deref(), 1).await?;
            let same = asked.items.iter().find(|one| one.id.as_str() == agent).cloned();
            let known = || page.items.get(place).cloned();
            if let Some(found) = same.or_else(known) {
                return Ok((found, page));
            }
        }
        before = page.items.last().map(|one| one.id.to_string()).or(before);
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
            "{absent} of {} are absent at once; they do not count as gone",
            mass.known
        ));
    }
}

pub(super) fn about_platform(platform: &PlatformView) -> String {
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
    use crate::cli::sample;
    use crate::cli::table::table;
    use crate::run::{AgentId, LastAnswer, Millis, Source};

    #[test]
    fn agents_show_where_they_are_known_from() {
        let agent = |id: &str, source, attributes: serde_json::Value| ClusterAgentView {
            id: AgentId::from(id),
            address: format!("http://{id}"),
            source,
            attributes: attributes.as_object().unwrap().clone(),
            since: sample::moment(),
            now: None,
        };
        let shown = table(
            &[
                agent("a", Source::Declared, json!({"zone": "x", "rack": 1})),
                agent("b", Source::Discovered, json!({})),
            ],
            false,
            false,
        );
        let expected = "\
AGENT  ADDRESS   SOURCE      ATTRIBUTES
a      http://a  declared    zone=x,rack=1
b      http://b  discovered  -
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn agents_that_were_asked_show_how_they_are() {
        let now = |status: Option<&str>, error: Option<&str>| AgentNow {
            asked_at: sample::moment(),
            age: Millis(1_240),
            status: status.map(str::to_owned),
            agent_version: Some("0.1.0".to_owned()),
            store: Some("mongo 7.0".to_owned()),
            attributes: json!({"role": "PRIMARY"}).as_object().unwrap().clone(),
            error: error.map(str::to_owned),
        };
        let agent = |id: &str, now| ClusterAgentView {
            id: AgentId::from(id),
            address: format!("http://{id}"),
            source: Source::Declared,
            attributes: Map::new(),
            since: sample::moment(),
            now: Some(now),
        };
        let agents = [
            agent("a", now(Some("HEALTHY"), None)),
            agent("b", now(None, Some("failed to connect to http://b: refused"))),
        ];
        let expected = "\
AGENT  ADDRESS   SOURCE    HEALTH              AGE   ATTRIBUTES
a      http://a  declared  HEALTHY             1.2s  -
b      http://b  declared  no answer: refused  1.2s  -
";
        assert_eq!(table(&agents, false, false), expected);
        let painted = table(&agents, false, true);
        assert!(painted.contains("\x1b[31mno answer: refused\x1b[0m  1.2s"), "{painted:?}");
        let message = "failed to connect to http://a: client error (Connect): tcp connect error: \
                       Connection refused (os error 111)";
        let expected = "no answer: Connection refused (os error 111)";
        assert_eq!(health(&now(None, Some(message)), "http://a"), expected);
        let broken = now(None, Some("http://a answered 502: bad gateway"));
        assert_eq!(health(&broken, "http://a"), "no answer: answered 502: bad gateway");
        let wide = table(&agents, true, false);
        assert!(wide.contains("0.1.0    mongo 7.0  role=PRIMARY"), "{wide}");
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
