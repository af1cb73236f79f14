//! The strategy `all-at-once`: starts every agent as soon as it may start.

// The kit brings the allocator.
use replibook_plugin_kit as _;

wit_bindgen::generate!({ path: "../../wit", world: "strategy" });

use exports::replicante::playbook::planning::{Decision, Description, Guest, Next, PlanInput};
use replicante::playbook::roster::{AgentState, counts, page};

struct AllAtOnce;

impl Guest for AllAtOnce {
    fn describe() -> Description {
        Description {
            name: "all-at-once".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Starts every agent at once.".to_owned(),
            arguments: r#"{ "type": "object", "additionalProperties": false }"#.to_owned(),
        }
    }

    fn plan(input: PlanInput) -> Result<Decision, String> {
        let counts = counts();
        let start = match counts.pending {
            0 => Vec::new(),
            _ => page(AgentState::Pending, None, input.max_start),
        };
        let next = match start.is_empty() && counts.running == 0 {
            true => Next::Complete,
            false => Next::Wait,
        };
        let label = (!start.is_empty()).then(|| "all".to_owned());
        Ok(Decision { start, skip: Vec::new(), next, memo: String::new(), label })
    }
}

export!(AllAtOnce);
