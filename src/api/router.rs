//! The router: all endpoints, and around each of them what holds for every request, in an order that matters.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};

use super::access::{self, Deed, Way};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::guard::{self, Timeout};
use super::shares::Class;
use super::state::ApiState;
use super::{
    abandon, agents, apply_all, cluster_agents, clusters, commands, engines, events, exec,
    explanation, find_run, gzip, health, imports, journals, login, logs, metrics, openapi, output,
    plan, playbooks, plugins, retry, runs, signatures, start, weigh,
};

/// Every endpoint of the API.
pub(super) fn endpoints() -> Vec<Endpoint> {
    [
        playbooks::endpoints(),
        plugins::endpoints(),
        signatures::endpoints(),
        imports::endpoints(),
        clusters::endpoints(),
        cluster_agents::endpoints(),
        apply_all::endpoints(),
        start::endpoints(),
        exec::endpoints(),
        plan::endpoints(),
        runs::endpoints(),
        find_run::endpoints(),
        commands::endpoints(),
        retry::endpoints(),
        abandon::endpoints(),
        explanation::endpoints(),
        engines::endpoints(),
        agents::endpoints(),
        output::endpoints(),
        journals::endpoints(),
        logs::endpoints(),
        events::endpoints(),
        health::endpoints(),
        metrics::endpoints(),
        openapi::endpoints(),
        access::auth_endpoints(),
        access::audit_endpoints(),
        login::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The router of the whole API, over `state`.
pub fn router(state: ApiState) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let codes = Arc::new(endpoint.codes());
        let timeout = Extension(Timeout(endpoint.timeout));
        let packed = endpoint.handler.layer::<_, Infallible>(from_fn(gzip::compress));
        let reads = (state.reads.clone(), endpoint.class.waits_for_memory());
        let weighed = packed.layer::<_, Infallible>(from_fn_with_state(reads, weigh::weigh));
        let limited = weighed.layer::<_, Infallible>(from_fn(guard::limit));
        let limited = limited.layer::<_, Infallible>(timeout);
        let part = (state.shares.clone(), endpoint.class);
        let shared = limited.layer::<_, Infallible>(from_fn_with_state(part, guard::share));
        let arrived = if endpoint.class == Class::Urgent && endpoint.body.is_some() {
            let bodies = state.bodies.clone();
            shared.layer::<_, Infallible>(from_fn_with_state(bodies, guard::arrive))
        } else {
            shared
        };
        // What names no deed is for those who may do everything.
        let way = Way { path: endpoint.path, deed: endpoint.deed.unwrap_or(Deed::DrainEngine) };
        let entered = from_fn_with_state((state.clone(), way), access::enter);
        let entered = arrived.layer::<_, Infallible>(entered);
        let handler = entered.layer::<_, Infallible>(from_fn_with_state(codes, guard::described));
        router = router.route(endpoint.path, handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(state.secure, guard::check_page))
        .layer(from_fn_with_state(state.names.clone(), guard::check_host))
        .layer(from_fn_with_state(state.secure, guard::keep_browsers_careful))
        .layer(from_fn_with_state(state.clone(), metrics::observe))
        .with_state(state)
}

async fn not_found(method: Method, uri: Uri) -> ApiError {
    let detail = format!("there is nothing at {method} {}; see /openapi.json", uri.path());
    ApiError::new(Code::RouteNotFound, detail)
}

async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let detail = format!("{method} is not allowed at {}; see the header `allow`", uri.path());
    ApiError::new(Code::MethodNotAllowed, detail)
}
