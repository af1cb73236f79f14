//! `/api/v1/clusters/{name}/agents`: the agents of a cluster as they are known now, which for a discovered
//! cluster only the driver's `Followers` know.

use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::access::Deed;
use super::agent_query::{Chosen, choose, decide};
use super::ask_agents::{Asked, MAX_ASKED_PAGE, ask_all};
use super::bodies::off_loop;
use super::clusters;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::PAGE_BYTES;
use super::pages::json_bytes;
use super::params::{InPath, InQuery, listing};
use super::selector::{AGENT_ROOTS, SELECTOR, Selector};
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{ClusterAgentView, ClusterAgents, PlatformView};
use crate::driver::{View, Ways};
use crate::playbook::Identity;
use crate::run::{AgentId, KnownAgent, Members};

const ALL: &str = "/api/v1/clusters/{name}/agents";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Lists the agents of a cluster as they are known now, the discovered ones too.";
    vec![
        Endpoint::get(ALL, "listClusterAgents", summary, list)
            .does(Deed::ViewClusters)
            .path::<String>("name", "The cluster.")
            .query::<bool>("ask", "With `true`, each agent of the page is asked how it is; a page has at most 200 then.")
            .query::<String>(
                SELECTOR,
                "Only agents for which this CEL expression is true, such as `agent.attributes.zone == \"a\"`; \
                 `agent` is the agent as this list shows it. With `ask=true` its attributes are also those that \
                 it reports, `agent.node` is what `info/node` says, and an agent is asked before that is decided \
                 if it depends on the answer. An agent that lacks what the expression looks at is left out. A \
                 page may have none though its `next` leads to some.",
            )
            .paged()
            .fails(&[Code::ClusterNotFound])
            .answers::<ClusterAgents>(
                200,
                "A page, by identifier. A platform that does not answer is no error: `platform` says \
                 so, and the agents are those that are known without it.",
            ),
    ]
}

async fn list(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(name): InPath<String>,
    mut query: InQuery,
) -> Result<Weighed<Json<ClusterAgents>>, ApiError> {
    let after: Option<String> = query.take("after", "an identifier")?;
    let ask = query.take("ask", "true or false")?.unwrap_or(false);
    let limit = query.limit()?.min(if ask { MAX_ASKED_PAGE } else { u32::MAX });
    let selector = Selector::take(&mut query, &AGENT_ROOTS)?;
    query.finish()?;
    let share = reads.large().await;
    let known = state.followers.agents(&name).await?.ok_or_else(|| clusters::not_found(&name))?;
    let View { membership, discovery, ways, .. } = known.view;
    let members = Arc::clone(&membership.members);
    let Page { mut items, mut next, undecided } = match selector {
        Some(selector) => {
            let selector = selector.of_cluster(&name);
            wanted(&state, members, Part { after, limit, ask, ways }, selector).await?
        }
        None => all(&state, &members, Part { after, limit, ask, ways }).await,
    };
    fit(&mut items, &mut next, |view| view);
    let answer = Json(ClusterAgents {
        items,
        next,
        undecided,
        followed: known.followed,
        platform: discovery.map(|discovery| PlatformView {
            url: discovery.url,
            cluster: discovery.cluster,
            interval: discovery.interval,
            last_answer: membership.last_answer,
        }),
        mass_absence: membership.mass_absence,
    });
    Ok(Weighed(answer, share))
}

/// Which part of the list is asked for.
struct Part {
    after: Option<String>,
    limit: u32,
    ask: bool,
    ways: Ways,
}

/// A part of the list.
struct Page {
    items: Vec<ClusterAgentView>,
    next: Option<String>,
    undecided: u32,
}

/// The agents of a part of the list.
async fn all(state: &ApiState, members: &Members, part: Part) -> Page {
    let Part { after, limit, ask, ways } = part;
    let page = members.range(beyond(after)).take(limit as usize);
    let view =
        |(id, agent): (&AgentId, &Arc<KnownAgent>)| (view(id, agent), agent.identity.clone());
    let page = listing(page.map(Ok).collect(), limit, |(id, _)| id.to_string(), view);
    let (mut items, mut next): (Vec<(_, Identity)>, _) = (page.items, page.next);
    fit(&mut items, &mut next, |(view, _)| view);
    let items = match ask {
        true => ask_all(state, &ways, items).await.into_iter().map(|asked| asked.agent).collect(),
        false => items.into_iter().map(|(view, _)| view).collect(),
    };
    Page { items, next, undecided: 0 }
}

/// Those that a selector picks.
async fn wanted(
    state: &ApiState,
    members: Arc<Members>,
    part: Part,
    mut selector: Selector,
) -> Result<Page, ApiError> {
    let Part { after, limit, ask, ways } = part;
    let (chosen, selector) = off_loop(move || {
        let chosen = choose(&members, beyond(after), limit, ask, &mut selector);
        chosen.map(|chosen| (chosen, selector))
    })
    .await??;
    let Chosen { mut agents, mut next } = chosen;
    fit(&mut agents, &mut next, |one| &one.view);
    if !ask {
        let items = agents.into_iter().map(|one| one.view).collect();
        return Ok(Page { items, next, undecided: 0 });
    }
    let is_open: Vec<bool> = agents.iter().map(|one| one.is_open).collect();
    let agents = agents.into_iter().map(|one| (one.view, one.identity)).collect();
    let asked: Vec<Asked> = ask_all(state, &ways, agents).await;
    let decided = off_loop(move || decide(asked.into_iter().zip(is_open), selector)).await??;
    Ok(Page { items: decided.picked, next: decided.next.or(next), undecided: decided.undecided })
}

fn beyond(after: Option<String>) -> (Bound<AgentId>, Bound<AgentId>) {
    let from = after.map(AgentId).map_or(Bound::Unbounded, Bound::Excluded);
    (from, Bound::Unbounded)
}

/// An agent as it is known without being asked.
pub(super) fn view(id: &AgentId, agent: &KnownAgent) -> ClusterAgentView {
    ClusterAgentView {
        id: id.clone(),
        address: agent.address.clone(),
        source: agent.source,
        attributes: agent.attributes.clone(),
        since: agent.since,
        now: None,
    }
}

/// Keeps as many items as fit a page, but at least one, and sets `next` to where the list goes on.
fn fit<T>(items: &mut Vec<T>, next: &mut Option<String>, view: impl Fn(&T) -> &ClusterAgentView) {
    let mut bytes = 0;
    let fits = items.iter().take_while(|item| {
        bytes += json_bytes(view(item));
        bytes <= PAGE_BYTES
    });
    let fits = fits.count().max(1);
    if fits < items.len() {
        items.truncate(fits);
        *next = items.last().map(|last| view(last).id.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u32) -> ClusterAgentView {
        let about = "x".repeat(PAGE_BYTES / 4);
        let text = format!(
            r#"{{"id": "node-{number}", "address": "http://a", "source": "declared", "since": "2026-01-01T00:00:00Z", "attributes": {{"a": "{about}"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_page_has_as_many_agents_as_fit_and_one_at_least() {
        let mut items: Vec<_> = (0..10).map(agent).collect();
        let mut next = None;
        fit(&mut items, &mut next, |view| view);
        assert_eq!((items.len(), next.as_deref()), (3, Some("node-2")));
        fit(&mut items, &mut next, |view| view);
        assert_eq!(items.len(), 3);
        items[0].address = "x".repeat(PAGE_BYTES);
        fit(&mut items, &mut next, |view| view);
        assert_eq!((items.len(), next.as_deref()), (1, Some("node-0")));
    }
}
