//! `/api/v1/audit`: the audit of this server, for those who may do everything.

use axum::Json;
use axum::extract::State;

use super::deeds::Deed;
use crate::access::audit::{AuditEntry, AuditPage};
use crate::api::bodies::off_loop;
use crate::api::endpoint::Endpoint;
use crate::api::error::{ApiError, Code};
use crate::api::params::InQuery;
use crate::api::state::ApiState;
use crate::api::wire::{DamagedView, Listing};

const ALL: &str = "/api/v1/audit";

pub(in crate::api) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ALL, "listAudit", "Lists who wanted to change what, newest first.", list)
            .does(Deed::ReadAudit)
            .paged_by::<u64>()
            .fails(&[Code::NoAudit])
            .answers::<Listing<AuditEntry>>(
                200,
                "A page of the audit of this server. Other servers of the same store have their own.",
            ),
    ]
}

async fn list(
    State(state): State<ApiState>,
    mut query: InQuery,
) -> Result<Json<Listing<AuditEntry>>, ApiError> {
    let after: Option<u64> = query.take("after", "a whole number")?;
    let limit = query.limit()?;
    query.finish()?;
    let Some(audit) = state.keeper.audit().cloned() else {
        let detail = "this server writes no audit; replibook serve --audit FILE has it do so";
        return Err(ApiError::new(Code::NoAudit, detail));
    };
    let page = off_loop(move || audit.page(after, limit as usize)).await?;
    let AuditPage { entries, next, unreadable } = page.map_err(ApiError::internal)?;
    let damaged = (unreadable > 0).then(|| DamagedView {
        what: "lines of the audit".to_owned(),
        why: format!("{unreadable} can't be read"),
    });
    Ok(Json(Listing {
        items: entries,
        next: next.map(|next| next.to_string()),
        damaged: damaged.into_iter().collect(),
    }))
}
