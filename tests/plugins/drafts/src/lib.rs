//! A step that has its arguments of `wasi:config`, and logs them with `wasi:logging`.

use serde_json::{Value, json};

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package test:drafts;
        world drafts {
            include replicante:playbook/step@0.1.0;
            import wasi:logging/logging;
            import wasi:logging/logging@0.1.0-draft;
            import wasi:config/runtime@0.2.0-draft;
            import wasi:config/store@0.2.0-draft;
            import wasi:config/store@0.2.0-draft-2024-09-27;
            import wasi:config/store@0.2.0-rc.1;
        }
        package wasi:logging {
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
        }
        package wasi:logging@0.1.0-draft {
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
        }
        package wasi:config@0.2.0-draft {
            interface runtime {
                variant config-error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, config-error>;
                get-all: func() -> result<list<tuple<string, string>>, config-error>;
            }
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
        package wasi:config@0.2.0-draft-2024-09-27 {
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
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
use wasi::config0_2_0_draft::{runtime, store as draft};
use wasi::config0_2_0_draft_2024_09_27::store as dated;
use wasi::config0_2_0_rc_1::store;
use wasi::logging::logging as unversioned;
use wasi::logging0_1_0_draft::logging::{Level, log};

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
        // The other drafts have the same.
        assert_eq!(runtime::get_all().unwrap(), all);
        assert_eq!(draft::get_all().unwrap(), all);
        assert_eq!(dated::get_all().unwrap(), all);
        for (key, value) in &all {
            let value = Some(value);
            assert_eq!(runtime::get(key).unwrap().as_ref(), value);
            assert_eq!(draft::get(key).unwrap().as_ref(), value);
            assert_eq!(dated::get(key).unwrap().as_ref(), value);
        }
        timer::sleep(1_000);
        unversioned::log(unversioned::Level::Debug, "unversioned", "slept");
        log(Level::Critical, "", "slept");
        let get = |key: &str| store::get(key).unwrap();
        let result: Value = json!({
            "all": all, "grace": get("grace"), "mode": get("mode"), "nodes": get("nodes"), "other": get("other"),
        });
        Ok(result.to_string())
    }
}

export!(Drafts);
