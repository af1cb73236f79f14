//! Has an agent perform an action, once, and follows the action to its end. All decisions about sending a POST
//! (again) are in this file, because one wrong branch performs an action twice.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::limits::FollowContext;
use super::pace::{Pace, Patience};
use crate::agent::wire::{schedule_time, schedule_time_with};
use crate::agent::{ActionPhase, ActionRequest, ActionStatus, AgentError, Said, ask};
use crate::playbook::{MAX_JSON_DEPTH, MAX_RENDERED_BYTES};
use crate::run::{CallError, Expected, JsonText, Millis, WrongNode, json_text_depth};
use replibook_core::mutant;

/// What was committed about a call before this process follows it, possibly again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start<'a> {
    /// The call may have been performed before: its POST may have been sent.
    pub again: bool,
    /// The agent is known to have accepted the action.
    pub accepted: bool,
    /// No POST may be sent: an action that the agent does not know counts as lost, once an earlier POST can no
    /// longer be on its way.
    pub look_only: bool,
    /// Bytes of the arguments with which the action was sent, for a call that may send nothing and so comes
    /// without them. `None` if that is not known.
    pub bytes: Option<usize>,
    /// Who has to answer at the address; `None` if anybody may.
    pub expected: Option<Expected<'a>>,
    /// Nobody has yet checked who is at the address: the agent is identified before anything is sent.
    pub unidentified: bool,
}

/// Has the agent at `address` perform `request`, and returns the payload of the action.
///
/// Flow: `may_post` is asked, then the POST is sent, then the agent is looked at in growing intervals until the
/// action is final. When a POST may have been sent before (`start.again`, or an earlier POST got no answer),
/// the agent is looked at first. The POST is then sent only if the agent does not know the action at a moment
/// when the earlier POST can no longer be on its way.
///
/// `may_post` is asked right before each POST. While it says no, nothing is sent, without a limit: the caller
/// drops this future when the run is lost. `on_accepted` is called at most once: when the agent is seen to know
/// the action and has not said that it is final. An action that is final at the first look needs no such note,
/// since its answer follows at once.
///
/// Guarantees: two POSTs of one identifier are never on their way at once; after an acceptance there is no
/// POST. Assumption: the agent keeps actions until they were looked at.
///
/// Errors:
///
/// - `Failed`: the action ended in FAILED, or its payload exceeds what may come in.
/// - `Refused`: the request had no effect and never will.
/// - `Lost`: the action was accepted, and the agent does not know it any more.
/// - `Unreachable`: no progress for `unreachable_after`; the action may go on.
/// - `NotTaken`: no progress either, but there is no action: no request was ever taken, or a look showed that
///   none arrived.
/// - `Malformed`: an answer can't be read. If it answers a look, the call ends at once, and the action may go
///   on. If it answers the POST, the call ends when a look has shown that the agent does not know the action,
///   since another POST would end no better. If nothing may be sent (`start.look_only`), looking again is all
///   that can be done, so such an answer ends the call only when its patience ends.
///
/// The call has no end while the action is NEW or RUNNING: a time-out is up to the caller.
pub async fn run_action<G, F>(
    ctx: &FollowContext,
    address: &str,
    request: &ActionRequest,
    start: Start<'_>,
    on_accepted: impl FnMut() + Send,
    may_post: G,
) -> Result<JsonText, CallError>
where
    G: Fn() -> F + Send + Sync,
    F: Future<Output = bool> + Send,
{
    let now = ctx.clock.passed();
    let known = match (start.accepted, start.again || start.look_only) {
        (true, _) => Known::Yes,
        (false, true) => Known::Perhaps { settled: now.plus(settle(ctx, earlier(request, start))) },
        (false, false) => Known::No,
    };
    let mut follow = Follow {
        ctx,
        address,
        request,
        known,
        look_only: start.look_only,
        garbled: None,
        noted: start.accepted,
        on_accepted,
        pace: Pace::of_looks(ctx),
        patience: Patience::new(ctx),
        seen: None,
        expected: start.expected,
        unidentified: start.unidentified,
    };
    loop {
        match follow.known {
            Known::No if start.look_only => return Err(follow.lost()),
            Known::No if follow.garbled.is_some() => {
                return Err(CallError::Malformed(follow.garbled.unwrap_or_default()));
            }
            Known::No if follow.unidentified => follow.identify().await?,
            Known::No => follow.post(&may_post).await?,
            Known::Perhaps { settled } => {
                if let Some(end) = follow.look_before_post(settled).await? {
                    return end;
                }
            }
            Known::Yes => {
                if let Some(end) = follow.look().await? {
                    return end;
                }
            }
        }
    }
}

/// How long it takes to send the request that an earlier process may have sent.
fn earlier(request: &ActionRequest, start: Start<'_>) -> Duration {
    if !start.look_only {
        return schedule_time(request);
    }
    let arguments = start.bytes.unwrap_or(MAX_RENDERED_BYTES).max(request.args.bytes());
    schedule_time_with(request, arguments)
}

/// How long a request that takes `sending` to send may still be on its way, if it was sent at this moment or
/// earlier. A process that takes over does not know how much time has passed, and waits for all of this. That
/// is enough however the clocks were set meanwhile, since the earlier process sent no request after this one
/// began.
fn settle(ctx: &FollowContext, sending: Duration) -> Millis {
    if mutant!(SettledTooSoon) {
        return Millis::from_secs(1);
    }
    let sending = u64::try_from(sending.as_millis()).unwrap_or(u64::MAX);
    Millis(ctx.limits.settle.0.saturating_add(sending))
}

/// Whether the agent knows the action.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It does not: no POST was sent, or none arrived.
    No,
    /// A POST may have been sent, and arrives before `settled` or never. `settled` is a moment of the clock
    /// that nobody sets: the time in runs jumps with the store's time, which makes no request arrive sooner.
    Perhaps { settled: Millis },
    /// The agent has shown that it knows the action.
    Yes,
}

/// The end of the call, if it has come: what the action gave, or why it failed.
type End = Option<Result<JsonText, CallError>>;

struct Follow<'a, A> {
    ctx: &'a FollowContext,
    address: &'a str,
    request: &'a ActionRequest,
    known: Known,
    /// Whether no POST may be sent.
    look_only: bool,
    /// The answer to the POST, if it could not be read.
    garbled: Option<String>,
    /// Whether `on_accepted` was called or need not be.
    noted: bool,
    on_accepted: A,
    pace: Pace,
    patience: Patience,
    /// Hash of what the last look showed.
    seen: Option<u64>,
    /// Who has to be at the address; `None` if anybody may.
    expected: Option<Expected<'a>>,
    /// Nobody has yet checked who is at the address, and nothing was sent.
    unidentified: bool,
}

impl<A: FnMut() + Send> Follow<'_, A> {
    /// Sends the POST, once.
    async fn post<G, F>(&mut self, may_post: &G) -> Result<(), CallError>
    where
        G: Fn() -> F + Send + Sync,
        F: Future<Output = bool> + Send,
    {
        let mut waited = false;
        while !may_post().await {
            self.ctx.clock.sleep(self.ctx.limits.guard_wait.to_std()).await;
            // The wait for the guard is not the agent's fault.
            self.patience.renew(self.ctx);
            waited = true;
        }
        if waited && self.expected.is_some() && !mutant!(IdentityKept) {
            self.unidentified = true;
            return Ok(());
        }
        match self.ctx.client.schedule(self.address, self.request).await {
            Ok(_accepted_or_known) => {
                self.known = Known::Yes;
                self.patience.renew(self.ctx);
                self.wait().await;
                Ok(())
            }
            Err(error @ (AgentError::Refused { .. } | AgentError::Barred { .. })) => {
                Err(CallError::Refused(error.to_string()))
            }
            Err(error @ AgentError::Malformed { .. }) => {
                self.known = Known::Perhaps { settled: self.settled_after(&error) };
                self.garbled = Some(error.to_string());
                Ok(())
            }
            Err(AgentError::Broken { status: 425, message, .. }) if mutant!(TooEarlyRefuses) => {
                Err(CallError::Refused(message))
            }
            Err(error) => {
                if error.may_have_taken_effect() {
                    self.known = Known::Perhaps { settled: self.settled_after(&error) };
                }
                // Whatever answers there next may be another node.
                self.unidentified = self.expected.is_some() && !mutant!(IdentityKept);
                self.patience.failed(self.ctx, &error).await.map_err(|end| self.not_taken(end))
            }
        }
    }

    /// The error when patience ends with an agent that took no request, or that was seen not to have taken one.
    fn not_taken(&self, end: CallError) -> CallError {
        match (self.known, end) {
            (Known::No, CallError::Unreachable(message)) => CallError::NotTaken(message),
            (Known::Perhaps { .. }, CallError::Unreachable(message)) if mutant!(UnsentAssumed) => {
                CallError::NotTaken(message)
            }
            (Known::No | Known::Perhaps { .. } | Known::Yes, end) => end,
        }
    }

    /// Until when the request that ended in `error` may still reach the agent.
    fn settled_after(&self, error: &AgentError) -> Millis {
        let now = self.ctx.clock.passed();
        match error {
            // A proxy that gives up answers as if it were the agent, which may still receive the request.
            AgentError::NoAnswer { .. }
            | AgentError::Broken { .. }
            | AgentError::Malformed { .. } => {
                now.plus(settle(self.ctx, schedule_time(self.request)))
            }
            // It was refused or never sent: nothing of it is on its way.
            AgentError::Connect { .. }
            | AgentError::Short { .. }
            | AgentError::Refused { .. }
            | AgentError::Barred { .. }
            | AgentError::WrongNode(_) => now,
        }
    }

    /// Checks who is at the address before anything is sent there.
    async fn identify(&mut self) -> Result<(), CallError> {
        match self.who_answers().await {
            Ok(Ok(())) => self.unidentified = false,
            Ok(Err(wrong)) => return Err(CallError::WrongNode(wrong.to_string())),
            Err(error) if error.retryable() => {
                self.patience.failed(self.ctx, &error).await.map_err(|end| self.not_taken(end))?;
            }
            // Whoever says nothing about its node contradicts nobody.
            Err(_) => self.unidentified = false,
        }
        Ok(())
    }

    /// Whether the expected agent answers, or any agent if none is expected. An error if no agent answers.
    async fn who_answers(&self) -> Result<Result<(), WrongNode>, AgentError> {
        let wanted = self.expected.map(|expected| expected.wanted()).unwrap_or_default();
        let Said { info, .. } = ask(self.ctx.client.as_ref(), self.address, wanted).await?;
        Ok(self.expected.map_or(Ok(()), |expected| expected.check_info(self.address, &info)))
    }

    /// "Not known" counts only if the agent itself says so. If another node is at the address, the action may
    /// go on unseen, and must not be sent again. The same holds behind a proxy that answers 404 to everything:
    /// whoever can't describe its node proves nothing.
    async fn is_unknown_to_agent(&mut self) -> Result<bool, CallError> {
        let error = match self.who_answers().await {
            Ok(Ok(())) => return self.is_unknown_still().await,
            Err(error) if !error.retryable() && mutant!(ProxyBelieved) => return Ok(true),
            Ok(Err(wrong)) => AgentError::WrongNode(wrong),
            Err(error) => error,
        };
        self.patience.failed(self.ctx, &error).await?;
        Ok(false)
    }

    /// Asks the agent once more, now that it has identified itself: the answer before may have come from a
    /// proxy that has found its way to the agent since.
    async fn is_unknown_still(&mut self) -> Result<bool, CallError> {
        match self.ctx.client.action(self.address, self.request.id).await {
            Ok(found) => Ok(found.is_none()),
            Err(error) => {
                self.patience.failed(self.ctx, &error).await?;
                Ok(false)
            }
        }
    }

    /// Looks whether an earlier POST arrived. An agent that does not know the action does not renew the
    /// patience: otherwise an agent that fails at each POST would be asked for ever.
    async fn look_before_post(&mut self, settled: Millis) -> Result<End, CallError> {
        let asked = self.ctx.clock.passed();
        match self.ctx.client.action(self.address, self.request.id).await {
            Ok(Some(status)) => {
                self.known = Known::Yes;
                self.pace = Pace::of_looks(self.ctx);
                Ok(self.take(status).await)
            }
            Ok(None) if asked >= settled || mutant!(SettleSkipped) => {
                if self.is_unknown_to_agent().await? {
                    self.known = Known::No;
                    self.unidentified = false;
                    self.pace = Pace::of_looks(self.ctx);
                }
                Ok(None)
            }
            Ok(None) => {
                // Most late requests arrive well before the latest possible moment.
                let rest = settled.beyond(self.ctx.clock.passed());
                self.ctx.clock.sleep(self.pace.next().min(rest).to_std()).await;
                Ok(None)
            }
            Err(error) => self.look_failed(&error).await,
        }
    }

    /// Looks at an action that the agent has accepted.
    async fn look(&mut self) -> Result<End, CallError> {
        match self.ctx.client.action(self.address, self.request.id).await {
            Ok(Some(status)) => Ok(self.take(status).await),
            Ok(None) => match self.is_unknown_to_agent().await? {
                true if mutant!(LostSentAgain) => {
                    self.known = Known::No;
                    Ok(None)
                }
                true => Err(self.lost()),
                false => Ok(None),
            },
            Err(error) => {
                self.note();
                self.look_failed(&error).await
            }
        }
    }

    fn lost(&self) -> CallError {
        CallError::Lost(format!("{} does not know {} any more", self.address, self.request.id))
    }

    /// Handles a failed look. A failure or a refusal is followed by another look: it says nothing about the
    /// action, which may go on, and may come from a proxy before an agent that restarts. An answer that can't
    /// be read is an error at once, unless nothing may be sent.
    async fn look_failed(&mut self, error: &AgentError) -> Result<End, CallError> {
        if matches!(error, AgentError::Malformed { .. }) && !self.look_only {
            return Err(CallError::Malformed(error.to_string()));
        }
        self.patience.failed(self.ctx, error).await?;
        Ok(None)
    }

    /// Takes what a look showed: the end, or a wait until the next look.
    async fn take(&mut self, status: ActionStatus) -> End {
        match status.phase {
            ActionPhase::Done => Some(self.payload(status)),
            ActionPhase::Failed => {
                let none = || "(the agent gave no message)".to_owned();
                Some(Err(CallError::Failed(status.error.unwrap_or_else(none))))
            }
            ActionPhase::New | ActionPhase::Running => {
                self.note();
                self.patience.renew(self.ctx);
                let seen = Some(fingerprint(&status));
                if self.seen != seen {
                    // The first look is no change: the pace has just begun.
                    if self.seen.is_some() {
                        self.pace.changed();
                    }
                    self.seen = seen;
                }
                self.wait().await;
                None
            }
        }
    }

    fn payload(&self, status: ActionStatus) -> Result<JsonText, CallError> {
        let ActionStatus { payload, unread, .. } = status;
        if let Some(what) = unread {
            return Err(CallError::Failed(format!(
                "the action ended in DONE, but its payload can't be taken in: {what}"
            )));
        }
        if json_text_depth(payload.as_str()) > MAX_JSON_DEPTH {
            return Err(CallError::Failed(format!(
                "the action ended in DONE, but its payload is nested more than {MAX_JSON_DEPTH} deep"
            )));
        }
        let limit = self.ctx.limits.payload_bytes;
        let found = payload.bytes();
        if found <= limit {
            return Ok(payload);
        }
        Err(CallError::Failed(format!(
            "the action ended in DONE, but its payload has {found} bytes; expected at most {limit}"
        )))
    }

    fn note(&mut self) {
        if !self.noted {
            self.noted = true;
            (self.on_accepted)();
        }
    }

    async fn wait(&mut self) {
        let wait = self.pace.next();
        self.ctx.clock.sleep(wait.to_std()).await;
    }
}

/// Tells two looks apart without keeping the payload of each action that is followed.
fn fingerprint(status: &ActionStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    (status.phase == ActionPhase::Running).hash(&mut hasher);
    status.payload.as_str().hash(&mut hasher);
    hasher.finish()
}
