//! `/api/v1/clusters/{name}/agents`: the agents of a cluster as they are known now.

use std::ops::Bound;

use axum::Json;
use axum::extract::State;

use super::ask_agents::{MAX_ASKED_PAGE, ask_all};
use super::clusters;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::params::{InPath, InQuery, listing};
use super::state::ApiState;
use super::wire::{ClusterAgentView, ClusterAgents, PlatformView};
use crate::run::AgentId;

const ALL: &str = "/api/v1/clusters/{name}/agents";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Lists the agents of a cluster as they are known now, the discovered ones too.";
    vec![
        Endpoint::get(ALL, "listClusterAgents", summary, list)
            .path::<String>("name", "The cluster.")
            .query::<bool>("ask", "With `true` each agent of the page is asked how it is; a page has 200 at most then.")
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
    InPath(name): InPath<String>,
    mut query: InQuery,
) -> Result<Json<ClusterAgents>, ApiError> {
    let after: Option<String> = query.take("after", "an identifier")?;
    let ask = query.take("ask", "true or false")?.unwrap_or(false);
    let limit = query.limit()?.min(if ask { MAX_ASKED_PAGE } else { u32::MAX });
    query.finish()?;
    let known = state.followers.agents(&name).await?.ok_or_else(|| clusters::not_found(&name))?;
    let (membership, discovery) = (known.view.membership, known.view.discovery);
    let from = after.map(AgentId).map_or(Bound::Unbounded, Bound::Excluded);
    let page = membership.members.range((from, Bound::Unbounded)).take(limit as usize);
    let view = |(id, agent): (&AgentId, &std::sync::Arc<crate::run::KnownAgent>)| {
        let view = ClusterAgentView {
            id: id.clone(),
            address: agent.address.clone(),
            source: agent.source,
            attributes: agent.attributes.clone(),
            since: agent.since,
            now: None,
        };
        (view, agent.identity.clone())
    };
    let page = listing(page.map(Ok).collect(), limit, |(id, _)| id.to_string(), view);
    let items = match ask {
        true => ask_all(&state, page.items).await,
        false => page.items.into_iter().map(|(view, _)| view).collect(),
    };
    Ok(Json(ClusterAgents {
        items,
        next: page.next,
        followed: known.followed,
        platform: discovery.map(|discovery| PlatformView {
            url: discovery.url,
            cluster: discovery.cluster,
            interval: discovery.interval,
            last_answer: membership.last_answer,
        }),
        mass_absence: membership.mass_absence,
    }))
}
