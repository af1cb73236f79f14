//! `/healthz` and `/readyz`

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::READY_TIMEOUT;
use super::state::ApiState;

/// That the server is there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`, or `ready`.
    pub(super) status: String,
    /// Version of the server.
    pub(super) version: String,
    /// The store's back end; only of a server that is ready.
    pub(super) store: Option<String>,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/healthz", "getHealth", "Says that the process is alive.", healthz)
            .answers::<Health>(200, "It is."),
        Endpoint::get("/readyz", "getReady", "Says whether the server can do its work.", readyz)
            .answers::<Health>(200, "It can: the store answers."),
    ]
}

async fn healthz() -> Json<Health> {
    Json(health("ok", None))
}

async fn readyz(State(state): State<ApiState>) -> Result<Json<Health>, ApiError> {
    let not_ready = |why: String| ApiError::new(Code::NotReady, why);
    match tokio::time::timeout(READY_TIMEOUT, state.store.ping()).await {
        Ok(Ok(())) => Ok(Json(health("ready", Some(state.store.name())))),
        Ok(Err(error)) => Err(not_ready(error.to_string()).caused_by(error)),
        Err(_) => {
            let seconds = READY_TIMEOUT.as_secs();
            Err(not_ready(format!("the store did not answer within {seconds} s")))
        }
    }
}

fn health(status: &str, store: Option<&str>) -> Health {
    Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.map(str::to_owned),
    }
}
