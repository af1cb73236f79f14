//! What strategies see, as text that can be compared.

use replibook_core::run::{AgentRecord, AgentState, Roster};

/// Everything that a strategy can see of a roster, as text.
pub(crate) fn view<'a>(
    roster: &dyn Roster,
    agents: impl Iterator<Item = &'a AgentRecord>,
) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} selected\n", roster.selected());
    for state in AgentState::ALL {
        let first = roster.page(state, None, 2);
        let rest = roster.page(state, first.last(), 1_000);
        writeln!(text, "{} {state}: {first:?} {rest:?}", roster.count(state)).unwrap();
    }
    for agent in agents {
        let Some(record) = roster.record(&agent.agent) else { continue };
        let AgentRecord { agent, address, attributes, node, node_seen_at, state, .. } = record;
        let AgentRecord { batch, batch_label, error, skip_reason, stage, .. } = record;
        let (started, ended) = (record.started_at, record.ended_at);
        let error = error.as_ref().map(|error| (error.reason, &error.message));
        writeln!(
            text,
            "{agent} {address} {state} {stage} {batch:?} {batch_label:?} {error:?} {skip_reason:?} \
             {started:?} {ended:?} {attributes:?} {node} {node_seen_at:?}"
        )
        .unwrap();
    }
    text
}
