//! Strategies that know nothing of guards, know of them, or do whatever they like.

use replibook_core::run::{AgentId, AgentState, Decision, Millis, Next, PlanInput, Roster};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Names the first that wait, two at a time, whoever is held.
    Rolling,
    /// Names those first that are not held.
    RoutesAround,
    /// Names everybody, always, and wants to be asked again at once.
    EverybodyAlways,
    /// Names everybody, and calls the stage complete.
    EverybodyComplete,
    /// Names the last that wait, one at a time, and never waits for long.
    Backwards,
    /// Like [`Rolling`](Self::Rolling), and has others asked before it decides again.
    Asks,
    /// Names nobody, and waits. While nobody is held, that is refused, so no run is gone through with it.
    Waits,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Rolling,
        Self::RoutesAround,
        Self::EverybodyAlways,
        Self::EverybodyComplete,
        Self::Backwards,
        Self::Asks,
    ];

    pub(crate) fn decide(self, roster: &dyn Roster, input: &PlanInput) -> Decision {
        let pending = roster.page(AgentState::Pending, None, input.max_start);
        let running = roster.count(AgentState::Running);
        let soon = Next::WaitUntil(input.now.plus(Millis(100)));
        let done = pending.is_empty() && running == 0;
        let (start, next) = match self {
            _ if done => (Vec::new(), Next::Complete),
            Self::Rolling | Self::Asks => {
                let free = 2_usize.saturating_sub(running as usize);
                (pending.into_iter().take(free).collect(), Next::Wait)
            }
            Self::RoutesAround => {
                let held = roster.held(None, u32::MAX);
                let (waits, goes): (Vec<AgentId>, Vec<_>) =
                    pending.into_iter().partition(|agent| held.contains(agent));
                let start = goes.into_iter().take(3).collect::<Vec<_>>();
                (if start.is_empty() { waits } else { start }, Next::Wait)
            }
            Self::Waits => (Vec::new(), Next::Wait),
            Self::EverybodyAlways => (pending, soon),
            Self::EverybodyComplete => (pending, Next::Complete),
            Self::Backwards => (pending.last().cloned().into_iter().collect(), soon),
        };
        let refresh = match self {
            Self::Asks => {
                let waits = roster.page(AgentState::Pending, None, 10);
                let ended = roster.page(AgentState::Done, None, 10);
                [waits, ended].concat()
            }
            Self::Rolling
            | Self::Waits
            | Self::RoutesAround
            | Self::EverybodyAlways
            | Self::EverybodyComplete
            | Self::Backwards => Vec::new(),
        };
        let memo = String::new();
        Decision { start, skip: Vec::new(), next, memo, label: None, refresh }
    }
}
