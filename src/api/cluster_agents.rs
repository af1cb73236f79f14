//! `/api/v1/clusters/{name}/agents`: the agents of a cluster as they are known now, which for a discovered
//! cluster only the driver's `Followers` know.

use std::ops::Bound;

use axum::Json;
use axum::extract::State;

use super::ask_agents::{MAX_ASKED_PAGE, ask_all};
use super::clusters;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::PAGE_BYTES;
use super::pages::json_bytes;
use super::params::{InPath, InQuery, listing};
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{ClusterAgentView, ClusterAgents, PlatformView};
use crate::run::AgentId;

const ALL: &str = "/api/v1/clusters/{name}/agents";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Lists the agents of a cluster as they are known now, the discovered ones too.";
    vec![
        Endpoint::get(ALL, "listClusterAgents", summary, list)
            .path::<String>("name", "The cluster.")
            .query::<bool>("ask", "With `true`, each agent of the page is asked how it is; a page has at most 200 then.")
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
    query.finish()?;
    let share = reads.large().await;
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
    let (mut items, mut next) = (page.items, page.next);
    fit(&mut items, &mut next, |(view, _)| view);
    let mut items: Vec<_> = match ask {
        true => ask_all(&state, items).await,
        false => items.into_iter().map(|(view, _)| view).collect(),
    };
    fit(&mut items, &mut next, |view| view);
    let answer = Json(ClusterAgents {
        items,
        next,
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
