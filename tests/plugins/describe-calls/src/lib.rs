//! A step that performs an effect while it describes itself.

wit_bindgen::generate!({ path: "../../../wit", world: "step" });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::agent;

struct Calls;

impl Guest for Calls {
    fn describe() -> Description {
        let name = agent::info().map(|info| info.id).unwrap_or_default();
        let text = String::new;
        Description { name, version: text(), summary: text(), arguments: text() }
    }

    fn run(_: StepInput) -> Result<String, StepError> {
        Ok("null".to_owned())
    }
}

export!(Calls);
