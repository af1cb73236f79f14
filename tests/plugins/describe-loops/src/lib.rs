//! A step whose description never ends.

wit_bindgen::generate!({ path: "../../../wit", world: "step" });

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};

struct Loops;

impl Guest for Loops {
    fn describe() -> Description {
        loop {
            std::hint::black_box(0);
        }
    }

    fn run(_: StepInput) -> Result<String, StepError> {
        Ok("null".to_owned())
    }
}

export!(Loops);
