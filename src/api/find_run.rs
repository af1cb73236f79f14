//! `/api/v1/runs/find`: finds the run that a person means. Steering a run begins with this, so it has the same
//! share of requests as steering: it reads no run, and its answer is tiny.

use axum::Json;
use axum::extract::State;

use super::access::{Caller, Deed, sights};
use super::endpoint::Endpoint;
use super::error::ApiError;
use super::params::InQuery;
use super::shapes::PartOfId;
use super::state::ApiState;
use super::wire::FoundRuns;
use crate::run::RunId;
use crate::store::MAX_PAGE;

const FIND: &str = "/api/v1/runs/find";

/// Number of newest runs that are searched: one page of identifiers of 16 bytes each.
const LOOKED_AT: u32 = MAX_PAGE;

/// Identifiers in an answer: more are no use to a person who meant one run.
const MAX_FOUND: usize = 10;

/// The fewest digits of a part: with fewer, a run that is started meanwhile could match instead of the one that
/// was meant.
pub const MIN_DIGITS: usize = 6;

/// Digits of a complete identifier.
pub const MAX_DIGITS: usize = 32;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Finds the newest run, or the runs whose identifiers contain a part.";
    vec![
        Endpoint::get(FIND, "findRuns", summary, find)
            .does(Deed::ViewRuns)
            .urgent()
            .query::<PartOfId>(
                "part",
                "Consecutive digits of the identifier, without dashes, among the newest 1,000 runs; without it, the \
                 newest run is found.",
            )
            .answers::<FoundRuns>(200, "Which runs: none, one, or several."),
    ]
}

async fn find(
    State(state): State<ApiState>,
    caller: Caller,
    mut query: InQuery,
) -> Result<Json<FoundRuns>, ApiError> {
    let seen = sights(&caller);
    let part: Option<String> = query.take("part", "digits")?;
    query.finish()?;
    let Some(part) = part else {
        return Ok(Json(found(state.store.newest_runs(seen.as_deref(), 1).await?)));
    };
    let is_part = (MIN_DIGITS..=MAX_DIGITS).contains(&part.len())
        && part.chars().all(|c| c.is_ascii_hexdigit());
    if !is_part {
        let expected = format!("from {MIN_DIGITS} to {MAX_DIGITS} hexadecimal digits");
        return Err(ApiError::bad_parameter("query parameter `part`", &part, &expected));
    }
    let part = part.to_ascii_lowercase();
    let mut ids = state.store.newest_runs(seen.as_deref(), LOOKED_AT).await?;
    ids.retain(|id| id.0.simple().to_string().contains(&part));
    Ok(Json(found(ids)))
}

fn found(mut ids: Vec<RunId>) -> FoundRuns {
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    ids.truncate(MAX_FOUND);
    FoundRuns { ids, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_few_identifiers_however_many_there_are() {
        let ids = |n| (1..=n).map(|n| RunId(uuid::Uuid::from_u128(n))).collect::<Vec<_>>();
        let all = found(ids(LOOKED_AT.into()));
        assert_eq!((all.count, all.ids.len()), (LOOKED_AT, MAX_FOUND));
        assert_eq!(found(ids(2)).ids, ids(2));
    }
}
