//! How long to wait between looks and after failed requests, and when to give an agent up. This sends no
//! requests: the code that does says how they went.

use super::limits::FollowContext;
use crate::agent::AgentError;
use crate::run::{CallError, Millis};

/// Waits that grow by half each time. Deterministic: so many tasks, started at different moments, look at
/// agents that jitter would gain nothing.
#[derive(Debug)]
pub(super) struct Pace {
    first: u64,
    max: u64,
    next: u64,
}

impl Pace {
    /// The pace of looks.
    pub(super) fn of_looks(ctx: &FollowContext) -> Self {
        Self::new(ctx.limits.poll_initial, ctx.limits.poll_max)
    }

    fn new(first: Millis, max: Millis) -> Self {
        // A wait of zero would never grow, and keep a processor busy.
        let first = first.0.max(1);
        Self { first, max: max.0.max(first), next: first }
    }

    /// Returns the next wait, and lengthens the one after it.
    pub(super) fn next(&mut self) -> Millis {
        let wait = self.next;
        self.next = (wait.saturating_mul(3) / 2).max(wait + 1).min(self.max);
        Millis(wait)
    }

    /// Something changed: look more often again. The wait does not start from the shortest one, since otherwise
    /// an action that reports its progress all the time would be asked all the time.
    pub(super) fn changed(&mut self) {
        self.next = (self.next / 4).max(self.first);
    }
}

/// How long an agent that gives no good answer is asked again. What counts is the time that has passed, not the
/// store's time: when the latter jumps forward, no agent has been silent for longer.
#[derive(Debug)]
pub(super) struct Patience {
    since: Millis,
    /// When the last request was sent or attempted.
    asked: Millis,
    first: u64,
    max: u64,
    next: u64,
}

impl Patience {
    /// Patience that starts now.
    pub(super) fn new(ctx: &FollowContext) -> Self {
        let first = ctx.limits.retry_initial.0.max(1);
        let max = ctx.limits.retry_max.0.max(first);
        let now = ctx.clock.passed();
        Self { since: now, asked: now, first, max, next: first }
    }

    /// The call made progress: the agent gets the full time again.
    pub(super) fn renew(&mut self, ctx: &FollowContext) {
        self.since = ctx.clock.passed();
        self.asked = self.since;
        self.next = self.first;
    }

    /// To be called when a request failed. Returns when it is time for the next one.
    ///
    /// Errors: `Unreachable` when patience has ended, or `Malformed` if the last answer can't be read. Patience
    /// never ends before a request that was sent at the deadline or later has failed too. Time during which the
    /// agent could not be asked because of a shortage on our side does not count.
    pub(super) async fn failed(
        &mut self,
        ctx: &FollowContext,
        error: &AgentError,
    ) -> Result<(), CallError> {
        self.lose(ctx, error);
        let limit = ctx.limits.unreachable_after;
        let passed = ctx.clock.passed().beyond(self.since);
        if passed >= limit {
            let message = format!("{error}; given up after {} s", passed.0 / 1_000);
            return Err(match error {
                AgentError::Malformed { .. } => CallError::Malformed(message),
                AgentError::Connect { .. }
                | AgentError::Short { .. }
                | AgentError::NoAnswer { .. }
                | AgentError::Broken { .. }
                | AgentError::WrongNode(_)
                | AgentError::Barred { .. }
                | AgentError::Refused { .. } => CallError::Unreachable(message),
            });
        }
        let wait = self.next.min(limit.0 - passed.0);
        self.next = self.next.saturating_mul(2).min(self.max);
        ctx.clock.sleep(Millis(wait).to_std()).await;
        self.lose(ctx, error);
        self.asked = ctx.clock.passed();
        Ok(())
    }

    /// Discounts the time since the last request, if a shortage on our side kept us from asking the agent.
    fn lose(&mut self, ctx: &FollowContext, error: &AgentError) {
        if error.is_ours() {
            let now = ctx.clock.passed();
            self.since = self.since.plus(now.beyond(self.asked));
            self.asked = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rarer_up_to_the_limit_and_more_often_after_a_change() {
        let mut pace = Pace::new(Millis(50), Millis(5_000));
        let waits: Vec<_> = (0..14).map(|_| pace.next().0).collect();
        let expected =
            [50, 75, 112, 168, 252, 378, 567, 850, 1_275, 1_912, 2_868, 4_302, 5_000, 5_000];
        assert_eq!(waits, expected);
        pace.changed();
        assert_eq!(pace.next(), Millis(1_250));
        for _ in 0..9 {
            pace.changed();
        }
        assert_eq!(pace.next(), Millis(50));
    }

    #[test]
    fn a_wait_of_zero_grows_too() {
        let mut pace = Pace::new(Millis(0), Millis(3));
        let waits: Vec<_> = (0..5).map(|_| pace.next().0).collect();
        assert_eq!(waits, [1, 2, 3, 3, 3]);
    }
}
