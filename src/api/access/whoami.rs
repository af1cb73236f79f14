//! `/api/v1/auth`: who somebody is, and what they may do.

use axum::Json;
use axum::extract::State;

use super::caller::Caller;
use super::deeds::Deed;
use crate::access::Subject;
use crate::api::endpoint::Endpoint;
use crate::api::error::ApiError;
use crate::api::params::InQuery;
use crate::api::state::ApiState;
use crate::api::wire::{CanI, WhoAmI};
use crate::playbook::access::{Object, Verb};

const WHO: &str = "/api/v1/auth/whoami";
const CAN_I: &str = "/api/v1/auth/can-i";

pub(in crate::api) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(WHO, "whoAmI", "Says who sends the request.", who)
            .does(Deed::AskOneself)
            .answers::<WhoAmI>(200, "Who sends the request, and what they may do at all."),
        Endpoint::get(CAN_I, "canI", "Says whether the sender may do something.", can_i)
            .does(Deed::AskOneself)
            .required_query::<Verb>("verb", "What they want to do.")
            .query::<String>("playbook", "The name of the playbook with which.")
            .query::<String>("cluster", "The name of the cluster on which.")
            .answers::<CanI>(200, "Whether they may. Nothing is said about whether these exist."),
    ]
}

async fn who(
    State(state): State<ApiState>,
    caller: Caller,
    query: InQuery,
) -> Result<Json<WhoAmI>, ApiError> {
    query.finish()?;
    let identity = caller.identity();
    let may = Verb::ALL.into_iter().filter(|verb| caller.rights().may_somewhere(*verb));
    Ok(Json(WhoAmI {
        actor: identity.actor(),
        groups: identity.groups().collect(),
        expires: identity.expires(),
        is_asked: state.keeper.current().now().is_some() && *identity.subject() != Subject::Anybody,
        may: may.collect(),
    }))
}

async fn can_i(caller: Caller, mut query: InQuery) -> Result<Json<CanI>, ApiError> {
    let expected = Verb::ALL.map(Verb::as_str).join(", ");
    let word: Option<String> = query.take("verb", &expected)?;
    let playbook: Option<String> = query.take("playbook", "a name")?;
    let cluster: Option<String> = query.take("cluster", "a name")?;
    query.finish()?;
    let found = word.clone().unwrap_or_default();
    let Some(verb) = Verb::named(&found) else {
        let expected = format!("one of {expected}");
        return Err(ApiError::bad_parameter("query parameter `verb`", &found, &expected));
    };
    let object = match (&playbook, &cluster) {
        (Some(playbook), Some(cluster)) => Object::Run { playbook, cluster },
        (Some(playbook), None) => Object::Playbook(playbook),
        (None, Some(cluster)) => Object::Cluster(cluster),
        (None, None) if verb == Verb::Upload => Object::Shared,
        (None, None) => Object::Server,
    };
    let allowed = caller.rights().may(verb, object);
    Ok(Json(CanI { allowed, somewhere: caller.rights().may_somewhere(verb) }))
}
