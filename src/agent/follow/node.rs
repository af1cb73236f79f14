//! Calls about the node of an agent: what it says about itself, and waiting for its status. These may be
//! repeated at will, unlike the POST of an action, so they need none of the care taken there.

use std::time::Duration;

use super::limits::FollowContext;
use super::pace::{Pace, Patience};
use crate::agent::{AgentError, Said, ask};
use crate::run::{CallError, Expected, Millis, NodeInfo, Timestamp, Wanted};

/// Time that the last look of a wait gets at least, so that a wait that is resumed after its deadline (the
/// engine was down) still looks once properly.
const LAST_LOOK: Millis = Millis::from_secs(1);

/// What the agent says now about its node, and about as much of its store and shards as `wanted` says. An agent
/// that does not answer is asked again.
///
/// Errors: `Refused`; `Malformed` at once, when the answer can't be read or exceeds what may come in;
/// `Unreachable` after `unreachable_after`.
pub async fn info(
    ctx: &FollowContext,
    address: &str,
    wanted: Wanted,
) -> Result<NodeInfo, CallError> {
    let mut patience = Patience::new(ctx);
    loop {
        let said = ask(ctx.client.as_ref(), address, wanted).await;
        match said.and_then(|Said { info, missing }| missing.map_or(Ok(info), Err)) {
            Ok(info) => return Ok(info),
            Err(error @ (AgentError::Refused { .. } | AgentError::Barred { .. })) => {
                return Err(CallError::Refused(error.to_string()));
            }
            Err(error @ AgentError::Malformed { .. }) => {
                return Err(CallError::Malformed(error.to_string()));
            }
            Err(error) => patience.failed(ctx, &error).await?,
        }
    }
}

/// Waits until the status of the node is one of `statuses`, and returns the status found. The wait ends
/// `timeout` after `since`, and looks at least once. An agent that gives no answer or a bad one is asked again
/// until then: a node that restarts takes its agent with it, and meanwhile whatever stands before it answers.
/// If another node than `expected` answers, that does not count.
///
/// The wait does not end while we ourselves are short of something that a look needs, because then nobody was
/// asked.
///
/// Errors: `Refused`, at once if we are denied access (401, 403), and at the end of the wait if each look was
/// refused (a wrong path in the address); otherwise `TimedOut`, with what was seen last.
pub async fn wait_status(
    ctx: &FollowContext,
    address: &str,
    statuses: &[String],
    since: Timestamp,
    timeout: Millis,
    expected: Option<Expected<'_>>,
) -> Result<String, CallError> {
    let deadline = since.plus(timeout);
    let mut pace = Pace::of_looks(ctx);
    let mut seen = None;
    let mut only_refused = true;
    loop {
        let rest = deadline.since(ctx.clock.now()).max(LAST_LOOK);
        let found = look(ctx, address, rest.to_std(), expected).await;
        if let Ok(status) = &found
            && statuses.contains(status)
        {
            return Ok(status.clone());
        }
        if let Err(Missed::Denied(message)) = found {
            return Err(CallError::Refused(message));
        }
        only_refused &= matches!(found, Err(Missed::Refused(_)));
        let now = ctx.clock.now();
        if now >= deadline && !matches!(found, Err(Missed::Unasked(_))) {
            let wanted = statuses.join(" or ");
            let last = match found {
                Ok(status) => format!("its status was {status}"),
                Err(
                    Missed::Denied(message)
                    | Missed::Refused(message)
                    | Missed::Unasked(message)
                    | Missed::Else(message),
                ) => message,
            };
            let message =
                format!("{address} was not {wanted} within {} ms; at last, {last}", timeout.0);
            return Err(match only_refused {
                true => CallError::Refused(message),
                false => CallError::TimedOut(message),
            });
        }
        let found = found.ok();
        if found != seen {
            if seen.is_some() {
                pace.changed();
            }
            seen = found;
        }
        let wait = pace.next().min(deadline.since(now).max(ctx.limits.retry_initial));
        ctx.clock.sleep(wait.to_std()).await;
    }
}

/// What a look gave instead of a status, as human-readable text.
enum Missed {
    /// The agent denies us access (401, 403).
    Denied(String),
    /// The agent refused the request for another reason.
    Refused(String),
    /// The agent was not asked, because of a shortage on our side.
    Unasked(String),
    /// Any other failure, and an answer of another node.
    Else(String),
}

impl From<AgentError> for Missed {
    fn from(error: AgentError) -> Self {
        let message = error.to_string();
        match error {
            AgentError::Refused { .. } if error.is_denial() => Self::Denied(message),
            AgentError::Refused { .. } | AgentError::Barred { .. } => Self::Refused(message),
            AgentError::Short { .. } => Self::Unasked(message),
            AgentError::Connect { .. }
            | AgentError::NoAnswer { .. }
            | AgentError::Broken { .. }
            | AgentError::WrongNode(_)
            | AgentError::Malformed { .. } => Self::Else(message),
        }
    }
}

/// One look, cut off after `limit`: the status, or what happened instead.
async fn look(
    ctx: &FollowContext,
    address: &str,
    limit: Duration,
    expected: Option<Expected<'_>>,
) -> Result<String, Missed> {
    let wanted = expected.map(|expected| expected.wanted()).unwrap_or_default();
    tokio::select! {
        biased;
        answer = ask(ctx.client.as_ref(), address, wanted) => match answer {
            Ok(Said { info, .. }) => expected
                .map_or(Ok(()), |expected| expected.check_info(address, &info))
                .map(|()| info.status)
                .map_err(|wrong| Missed::Else(wrong.to_string())),
            Err(error) => Err(error.into()),
        },
        () = ctx.clock.sleep(limit) => {
            Err(Missed::Else(format!("{address} did not answer in time")))
        }
    }
}
