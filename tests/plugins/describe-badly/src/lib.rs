//! A strategy that describes itself with a name that is not valid.

wit_bindgen::generate!({ path: "../../../wit", world: "strategy" });

use exports::replicante::playbook::planning::{Decision, Description, Guest, PlanInput};

struct Nameless;

impl Guest for Nameless {
    fn describe() -> Description {
        Description {
            name: "No Name".to_owned(),
            version: "0.1.0".to_owned(),
            summary: String::new(),
            arguments: "{}".to_owned(),
        }
    }

    fn plan(_: PlanInput) -> Result<Decision, String> {
        Err(String::new())
    }
}

export!(Nameless);
