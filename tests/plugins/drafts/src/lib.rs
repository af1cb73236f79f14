//! A step that has its arguments of `wasi:config`, and logs them with `wasi:logging`.

use serde_json::{Value, json};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:drafts;
        world drafts {
            include replicante:playbook/step@0.1.0;
            import wasi:logging/logging@0.1.0-draft;
            import wasi:config/store@0.2.0-rc.1;
        }
        package wasi:logging@0.1.0-draft {
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
        }
        package wasi:config@0.2.0-rc.1 {
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
    ",
    world: "test:drafts/drafts",
    generate_all,
});

use exports::replicante::playbook::working::{Description, Guest, StepError, StepInput};
use replicante::playbook::timer;
use wasi::config::store;
use wasi::logging::logging::{Level, log};

struct Drafts;

impl Guest for Drafts {
    fn describe() -> Description {
        // There are no arguments yet, and a runtime may look for some all the same.
        assert!(store::get_all().unwrap().is_empty());
        log(Level::Info, "", "describes itself");
        Description {
            name: "drafts".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Has its arguments of wasi:config.".to_owned(),
            arguments: "{}".to_owned(),
        }
    }

    fn run(_: StepInput) -> Result<String, StepError> {
        let all = store::get_all().unwrap();
        for (key, value) in &all {
            log(Level::Warn, "settings", &format!("{key} is {value}"));
        }
        timer::sleep(1_000);
        log(Level::Critical, "", "slept");
        let get = |key: &str| store::get(key).unwrap();
        let result: Value = json!({
            "all": all, "grace": get("grace"), "mode": get("mode"), "nodes": get("nodes"), "other": get("other"),
        });
        Ok(result.to_string())
    }
}

export!(Drafts);
