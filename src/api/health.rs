//! `/healthz` says that the process is alive, and asks nobody. `/readyz` says whether it can do its work, for
//! which it asks the store.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Caller, Deed};
use super::endpoint::Endpoint;
use super::engines;
use super::error::{ApiError, Code};
use super::limits::READY_TIMEOUT;
use super::shares::Class;
use super::state::ApiState;
use super::wire::{AccessNow, FileDiffers};
use crate::access::AccessStanding;
use crate::agent::Short;
use crate::policy::{Outside, Standing};
use crate::run::{Digest, RunId, Timestamp};
use crate::store::{MAX_PAGE, Skew};

/// The state of the server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Health {
    /// `ok` from `/healthz`, `ready` from `/readyz`.
    pub(super) status: String,
    /// Version of the server.
    pub(super) version: String,
    /// The store's back end; only from `/readyz`.
    pub(super) store: Option<String>,
    /// Runs that can't go on; only from `/readyz`, and missing if the store did not say. They do not make the server
    /// unready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) troubled: Option<Troubled>,
    /// The resource that the server lacks to send requests to its agents; only from `/readyz`. Its runs wait
    /// for it, and no agent fails because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) short: Option<TooLittle>,
    /// Present when the machine's clock is more than 5 s off the store's; only from `/readyz`. Time in runs is
    /// the store's, so they don't suffer from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<ClockOff>,
    /// Which policy counts; only from `/readyz`, and missing if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<PolicyNow>,
    /// Certificates that expire within 14 days, or have expired; only from `/readyz`, and missing if there are none. They do
    /// not make the server unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certificates: Vec<CertificateEnds>,
    /// What is wrong with the present content of the credentials, as text for people, while what was there before counts;
    /// only from `/readyz`, and missing if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<String>,
    /// Who may do what; only from `/readyz`, and missing if the server asks nobody who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<AccessNow>,
    /// Files of servers that are not the same on all engines that share the store; only from `/readyz`, and missing if there
    /// are none. They do not make the server unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<FileDiffers>,
}

/// A certificate that ends soon.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct CertificateEnds {
    /// Name of the credentials.
    pub(super) name: String,
    /// The file: `cert.pem` or `ca.pem`.
    pub(super) file: String,
    /// Until when it is valid.
    pub(super) expires: Timestamp,
    /// Whether it is no longer valid.
    pub(super) expired: bool,
}

/// Those of a server's credentials that end soon.
fn certificates(state: &ApiState) -> Vec<CertificateEnds> {
    let now = state.own_clock.now();
    let all = state.followers.credentials().expiries().into_iter();
    let near = all.filter(|expiry| expiry.is_near(now));
    near.map(|expiry| CertificateEnds {
        expired: expiry.is_over(now),
        name: expiry.name,
        file: expiry.file.to_owned(),
        expires: expiry.at,
    })
    .collect()
}

/// The policy that counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct PolicyNow {
    /// Name of the policy.
    pub(super) name: String,
    /// Digest of the content of its file.
    pub(super) content: Digest,
    /// Why the present content of the file does not count, as text for people; missing if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    /// Unfinished runs that the policy would not let start any more; missing if there are none. They go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outside: Option<OutsidePolicy>,
}

/// Unfinished runs that the policy would not let start any more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct OutsidePolicy {
    /// Their number.
    pub(super) runs: u32,
    /// The newest of them, at most ten.
    pub(super) first: Vec<RunId>,
    /// Why the first of them would be refused, as text for people.
    pub(super) why: String,
}

impl PolicyNow {
    fn of(standing: Standing) -> Self {
        let Standing { policy, content, problem, outside } = standing;
        let Outside { runs, first, why } = outside.unwrap_or_default();
        let outside = why.map(|why| OutsidePolicy { runs, first, why });
        Self { name: policy.name.clone(), content, problem, outside }
    }
}

/// How far the machine's clock is off.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct ClockOff {
    /// How far, as a sentence for people.
    pub(super) message: String,
    /// By how many milliseconds the machine's clock is ahead of the store's; a negative number means behind.
    pub(super) ahead_ms: i64,
    /// Whether the server takes up runs nevertheless: it does not beyond 60 s.
    pub(super) takes_up_runs: bool,
}

impl ClockOff {
    fn of(skew: Skew) -> Option<Self> {
        skew.is_told().then(|| Self {
            message: format!("the clock of this machine is {skew} the store's"),
            ahead_ms: skew.as_millis(),
            takes_up_runs: !skew.is_too_large(),
        })
    }
}

/// A resource that the server lacks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct TooLittle {
    /// Which resource, as a sentence for people.
    pub(super) message: String,
    /// For how many seconds it has been lacking.
    pub(super) seconds: u64,
}

/// Runs that can't go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Troubled {
    /// Their number; 1,000 stands for 1,000 or more.
    pub(super) runs: u32,
    /// The oldest of them, at most ten.
    pub(super) first: Vec<RunId>,
}

/// How many runs in trouble are named; the list of runs has the others.
const NAMED: usize = 10;

fn access_now(standing: AccessStanding) -> AccessNow {
    let AccessStanding { access, content, problem } = standing;
    AccessNow { name: access.name.clone(), content, problem }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/healthz", "getHealth", "Says that the process is alive.", healthz)
            .does(Deed::Ask)
            .of_class(Class::AtOnce)
            .answers::<Health>(200, "The process is alive."),
        Endpoint::get("/readyz", "getReady", "Says whether the server can do its work.", readyz)
            .does(Deed::Ask)
            .fails(&[Code::NotReady])
            .of_class(Class::Probe)
            .answers::<Health>(200, "The server is ready: its store answers."),
    ]
}

/// Answers without asking the store, so that it says something about the process alone.
pub(super) async fn healthz() -> Json<Health> {
    Json(health("ok", None))
}

/// What is said to those who may not view everything.
const NOT_READY: &str = "the server can't work with its store";

/// What is said beside whether the server is ready tells of runs and files, so it is for those who may view everything.
async fn readyz(State(state): State<ApiState>, caller: Caller) -> Result<Json<Health>, ApiError> {
    // Errors of a store name hosts and files.
    let not_ready = |why: String| {
        let said = if caller.views_all() { why } else { NOT_READY.to_owned() };
        ApiError::new(Code::NotReady, said)
    };
    let answered = tokio::time::timeout(READY_TIMEOUT, state.store.ping()).await;
    if let Some(broken) = state.store.broken() {
        // Some runs may be lost, and no later try brings them back.
        return Err(not_ready(broken));
    }
    match answered {
        Ok(Ok(())) => {
            let ready = health("ready", Some(state.store.name()));
            if !caller.views_all() {
                return Ok(Json(ready));
            }
            let short = state
                .shortage
                .now()
                .map(|Short { message, since }| TooLittle { message, seconds: since.as_secs() });
            let clock = ClockOff::of(state.skew());
            let policy = state.policy.standing().map(PolicyNow::of);
            let access = state.keeper.current().standing().map(access_now);
            let (troubled, files) = tokio::join!(troubled(&state), differing(&state));
            let certificates = certificates(&state);
            let credentials = state.followers.credentials().problems();
            Ok(Json(Health {
                troubled,
                short,
                clock,
                policy,
                access,
                certificates,
                credentials,
                files,
                ..ready
            }))
        }
        Ok(Err(error)) => Err(not_ready(error.to_string()).caused_by(error)),
        Err(_) => {
            let seconds = READY_TIMEOUT.as_secs();
            Err(not_ready(format!("the store did not answer within {seconds} s")))
        }
    }
}

/// The runs that can't go on, if that is known: not to know it does not make the server unready.
async fn troubled(state: &ApiState) -> Option<Troubled> {
    let asked = state.store.troubles(None, MAX_PAGE);
    let Ok(Ok(troubles)) = tokio::time::timeout(READY_TIMEOUT, asked).await else { return None };
    let first = troubles.iter().take(NAMED).map(|trouble| trouble.run).collect();
    Some(Troubled { runs: u32::try_from(troubles.len()).unwrap_or(u32::MAX), first })
}

/// The files that are not the same on all engines, as far as that is known: not to know it does not make the server unready.
async fn differing(state: &ApiState) -> Vec<FileDiffers> {
    let asked = tokio::time::timeout(READY_TIMEOUT, engines::views(state)).await;
    let Ok(Ok(views)) = asked else { return Vec::new() };
    FileDiffers::among(&views)
}

fn health(status: &str, store: Option<&str>) -> Health {
    Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.map(str::to_owned),
        troubled: None,
        short: None,
        clock: None,
        policy: None,
        access: None,
        certificates: Vec::new(),
        credentials: Vec::new(),
        files: Vec::new(),
    }
}
