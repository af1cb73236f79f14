//! Every document in `tests/playbooks/` has a golden file beside it: `NAME.json` with what it resolves to, or
//! `NAME.err` with what is wrong with it. `UPDATE_EXPECT=1` writes these files again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
// The core itself does no I/O (src/core/clippy.toml).
#![allow(clippy::disallowed_methods, reason = "these tests read files")]

#[path = "support/root.rs"]
mod root;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use expect_test::expect_file;
use proptest::prelude::*;
use replibook_core::playbook::access::parse_access;
use replibook_core::playbook::inventory::parse_inventory;
use replibook_core::playbook::policy::parse_policy;
use replibook_core::playbook::{
    Kind, Playbook, PlaybookDocument, PluginInfo, PluginKind, Problems, check_params, json_schema,
    kind_of, parse_cluster, parse_playbook, resolve, warnings,
};
use replibook_core::run::Digest;
use root::root;
use serde_json::{Value, json};

fn plugin(kind: PluginKind, name: &str, arguments: Value) -> PluginInfo {
    PluginInfo {
        digest: Digest::of(name.as_bytes()),
        kind,
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        summary: String::new(),
        arguments,
        size: 1,
        calls: Vec::new(),
    }
}

/// Plugins that look like the built-in ones.
fn builtins() -> Vec<PluginInfo> {
    let none = json!({"type": "object", "additionalProperties": false});
    let rolling = json!({"type": "object", "additionalProperties": false, "properties": {
        "batch": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]{1,3}(\\.[0-9]{1,2})?%$"},
        "mode": {"enum": ["batch", "window"]},
    }});
    let action = json!({"type": "object", "additionalProperties": false, "required": ["kind"],
        "properties": {"kind": {"type": "string"}, "args": {"type": "object"}}});
    let wait = json!({"type": "object", "additionalProperties": false, "properties": {
        "statuses": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "timeout_ms": {"type": "integer", "minimum": 1},
    }});
    let http = json!({"type": "object", "additionalProperties": false, "required": ["url"],
        "properties": {"url": {"type": "string"}, "headers": {"type": "object"}, "body": {}}});
    let signal = json!({"type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {"name": {"type": "string"}}});
    vec![
        plugin(PluginKind::Strategy, "rolling", rolling),
        plugin(PluginKind::Strategy, "all-at-once", none),
        plugin(PluginKind::Step, "action", action),
        plugin(PluginKind::Step, "wait-healthy", wait),
        plugin(PluginKind::Step, "http", http),
        plugin(PluginKind::Step, "wait-signal", signal),
    ]
}

/// What is known of the plugins that a document names. The name decides: nothing is known of one that begins
/// with `unknown`, one with `strategy` in it is a strategy, and any other is a step.
fn known(doc: &PlaybookDocument) -> BTreeMap<String, PluginInfo> {
    let arguments = json!({"type": "object", "additionalProperties": false, "properties": {
        "moved": {"type": "integer"}, "target": {"type": "string"}, "zones": {"type": "array"}}});
    let plugins = doc.plugins().into_iter().filter(|plugin| !plugin.name.starts_with("unknown"));
    let infos = plugins.map(|named| {
        let kind = match named.name.contains("strategy") {
            true => PluginKind::Strategy,
            false => PluginKind::Step,
        };
        let info = plugin(kind, &named.name, arguments.clone());
        (named.name, info)
    });
    infos.collect()
}

fn resolved(text: &[u8]) -> Result<Playbook, Problems> {
    let doc = parse_playbook(text)?;
    resolve(&doc, &known(&doc), &builtins())
}

fn answer(text: &[u8]) -> Result<String, Problems> {
    let value = match kind_of(text)? {
        Kind::Playbook => serde_json::to_value(resolved(text)?),
        Kind::Cluster => serde_json::to_value(parse_cluster(text)?),
        Kind::Policy => serde_json::to_value(parse_policy(text)?),
        Kind::Access => serde_json::to_value(parse_access(text)?),
        Kind::Inventory => serde_json::to_value(parse_inventory(text)?),
    };
    Ok(format!("{:#}\n", value.expect("a model is JSON")))
}

fn documents() -> Vec<PathBuf> {
    let folder = root().join("tests/playbooks");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    paths.sort();
    paths
}

#[test]
fn documents_resolve_to_their_golden_answers() {
    let paths = documents();
    assert!(paths.len() >= 40, "found {} documents", paths.len());
    for path in paths {
        let (golden, other, found) = match answer(&fs::read(&path).unwrap()) {
            Ok(model) => ("json", "err", model),
            Err(problems) => ("err", "json", format!("{problems}\n")),
        };
        let other = path.with_extension(other);
        assert!(!other.exists(), "expected no {}: its document has the other end", other.display());
        expect_file![path.with_extension(golden)].assert_eq(&found);
    }
}

#[test]
fn every_problem_has_a_place_and_a_code() {
    for path in documents() {
        let Err(Problems(problems)) = answer(&fs::read(&path).unwrap()) else { continue };
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(problem.line.is_some() && problem.column.is_some(), "{path:?}: {problem:?}");
            assert!(
                !problem.code.is_empty() && !problem.message.is_empty(),
                "{path:?}: {problem:?}"
            );
        }
    }
}

const MINIMAL: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: restart, version: 1.0.0 }
spec:
  params: PARAMS
  stages:
    - name: all
      strategy: { use: all-at-once }
      steps: [{ name: wait, use: wait-healthy }]
";

#[test]
fn parameters_are_checked_and_their_defaults_filled_in() {
    let params = "{ type: object, required: [who], additionalProperties: false, properties: {
        grace: { type: integer, minimum: 0, default: 30 }, who: { type: string } } }";
    let playbook = resolved(MINIMAL.replace("PARAMS", params).as_bytes()).unwrap();
    let check = |given: Value| check_params(&playbook, given.as_object().unwrap().clone());
    assert_eq!(
        Value::from(check(json!({"who": "me"})).unwrap()),
        json!({"who": "me", "grace": 30})
    );
    let problems = check(json!({"grace": -1, "whoo": "me"})).unwrap_err();
    let found: Vec<(&str, &str)> =
        problems.0.iter().map(|p| (p.code.as_str(), p.path.as_str())).collect();
    assert_eq!(found, [("bad-value", "/grace"), ("unknown-key", "/whoo"), ("missing-key", "/who")]);
    let large = check(json!({"who": "x".repeat(300 * 1024)})).unwrap_err();
    assert_eq!(large.0[0].code, "too-large");
    let none = resolved(MINIMAL.replace("  params: PARAMS\n", "").as_bytes()).unwrap();
    assert!(check_params(&none, Default::default()).is_ok());
    assert!(check_params(&none, json!({"a": 1}).as_object().unwrap().clone()).is_err());
}

#[test]
fn layout_and_comments_are_not_content() {
    let one = MINIMAL.replace("PARAMS", "{}");
    let other = one.replace("  stages:", "  # the stages\n\n  \"stages\":");
    let content = |text: &str| parse_playbook(text.as_bytes()).unwrap().content();
    assert_eq!(content(&one), content(&other));
    assert_ne!(content(&one), content(&one.replace("1.0.0", "1.0.1")));
}

#[test]
fn a_step_that_has_agents_act_without_a_grant_is_warned_of() {
    let text = |grants: &str| {
        format!(
            "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {{ name: a, version: 1.0.0 }}\n\
             spec:\n  plugins:\n    mover:\n      source: file:mover.wasm\n{grants}  stages:\n    \
             - name: all\n      strategy: {{ use: rolling }}\n      steps: [{{ name: a, use: mover }}]\n"
        )
    };
    let warned = |text: &str, calls: &[&str], kind| {
        let doc = parse_playbook(text.as_bytes()).unwrap();
        let calls = calls.iter().map(|&call| call.to_owned()).collect();
        let info = PluginInfo { calls, ..plugin(kind, "mover", json!({})) };
        warnings(&doc, &[("mover".to_owned(), info)].into())
    };
    let acts = ["agent.run-action"];
    let found = warned(&text(""), &acts, PluginKind::Step);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].path.as_str(), found[0].line), ("/spec/plugins/mover", Some(7)));
    assert!(found[0].message.contains("not-granted"), "{found:?}");
    let granted = text("      grants: { actions: [\"a/*\"] }\n");
    assert_eq!(warned(&granted, &acts, PluginKind::Step), []);
    assert_eq!(warned(&text(""), &[], PluginKind::Step), [], "it has nobody act");
    assert_eq!(warned(&text(""), &acts, PluginKind::Strategy), [], "that is an error already");
    let doc = parse_playbook(text("").as_bytes()).unwrap();
    assert_eq!(warnings(&doc, &BTreeMap::new()), [], "nothing is known of it");
}

#[test]
fn others_can_place_their_problems() {
    let text = MINIMAL.replace("params: PARAMS", "plugins: { x: { source: 'file:x.wasm' } }");
    let doc = parse_playbook(text.as_bytes()).unwrap();
    let problem = doc.problem_at("/spec/plugins/x/source", "not-uploaded", "no bytes".to_owned());
    assert_eq!(problem.to_string(), "6:27: /spec/plugins/x/source: no bytes");
}

/// Editors read the schemas from these files.
#[test]
fn the_published_schemas_are_those_of_the_types() {
    for kind in Kind::ALL {
        let file = format!("schemas/{}.json", kind.as_str().to_lowercase());
        let file = root().join(file);
        expect_file![file].assert_eq(&format!("{:#}\n", json_schema(kind)));
    }
}

#[test]
fn a_long_list_of_plugins_is_not_repeated_with_each_problem() {
    let expected = |plugins: usize| {
        let entries = (0..plugins).map(|n| format!("own-{n}: {{ source: 'file:x.wasm' }}"));
        let entries = entries.collect::<Vec<_>>().join(", ");
        let text = MINIMAL.replace("params: PARAMS", &format!("plugins: {{ {entries} }}"));
        let text = text.replace("use: wait-healthy", "use: nope");
        resolved(text.as_bytes()).unwrap_err().0.remove(0).expected
    };
    assert!(expected(16).unwrap().starts_with("one of own-0, own-1, own-10, "));
    assert_eq!(expected(17), None);
}

/// The document is made here, so that no file has ten megabytes.
#[test]
fn ten_megabytes_are_refused_at_once() {
    let text = format!("{MINIMAL}# {}", "x".repeat(10 << 20));
    let found = answer(text.as_bytes()).unwrap_err().to_string();
    let expected = format!(
        "the document is too large; found {} bytes; expected at most 1048576 bytes",
        text.len()
    );
    assert_eq!(found, expected);
}

fn label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?"
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(words).prop_map(Value::from)
}

fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..1000_u32).prop_map(Value::from),
        (0..=100_u32).prop_map(|n| json!(format!("{n}%")))
    ]
}

fn step() -> impl Strategy<Value = Value> {
    let action = ("[a-z]{1,8}\\.[a-z]{2,5}/[a-z.]{1,9}", any::<i64>(), any::<bool>(), label());
    let action = action.prop_map(|(kind, n, templated, text)| {
        let value = if templated { json!("${{ params.n + 1 }}") } else { json!(n) };
        json!({"action": kind, "args": {"n": value, "t": format!("{text} ${{{{ agent.id }}}}")}})
    });
    let wait =
        (1..100_000_u32).prop_map(|n| json!({"use": "wait-healthy", "with": {"timeout_ms": n}}));
    let own = any::<i32>().prop_map(|n| json!({"use": "own-step", "with": {"moved": n}}));
    let when =
        prop::option::of(one_of(&["params.n > 3", "has(agent.attributes.zone)", "run.id != ''"]));
    let on_error = prop::option::of(one_of(&["fail", "continue"]));
    (prop_oneof![action, wait, own], when, on_error).prop_map(|(mut step, when, on_error)| {
        let keys = [("when", when), ("on_error", on_error)];
        for (key, value) in keys.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            step[key] = value;
        }
        step
    })
}

prop_compose! {
    fn document()(
        name in label(),
        version in (0..99_u8, 0..99_u8, 0..99_u8),
        team in prop::option::of(label()),
        stage in label(),
        max_failed in amount(),
        batch in 1..50_u32,
        steps in prop::collection::vec((label(), step()), 1..6),
        modes in (one_of(&["granted", "required"]), one_of(&["queue", "reject", "allow"]),
            one_of(&["include"]), one_of(&["ignore"])),
        budget in (one_of(&["stage", "run"]), one_of(&["pause", "abort"])),
        select in prop::option::of(one_of(&["agent.id.startsWith('a')", "params.n == 1"])),
    ) -> Value {
        let steps: Vec<Value> = steps.into_iter().enumerate().map(|(index, (label, mut step))| {
            step["name"] = json!(format!("{label}{index}"));
            step
        }).collect();
        let mut stage = json!({
            "name": stage,
            "strategy": {"use": "rolling", "with": {"batch": batch}},
            "budget": {"max_failed": max_failed, "scope": budget.0, "on_exceeded": budget.1},
            "membership": {"added": modes.2, "removed": modes.3},
            "steps": steps,
        });
        if let Some(select) = select {
            stage["select"] = select;
        }
        let name = team.map_or(name.clone(), |team| format!("{team}/{name}"));
        json!({
            "apiVersion": "replicante.io/v1",
            "kind": "Playbook",
            "metadata": {"name": name, "version": format!("{}.{}.{}", version.0, version.1, version.2)},
            "spec": {
                "approval": modes.0,
                "concurrency": modes.1,
                "params": {"properties": {"n": {"type": "integer", "default": 1}}},
                "plugins": {"own-step": {"source": "file:own.wasm", "grants": {"actions": ["a/*"]}}},
                "stages": [stage],
            },
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A run's snapshot is kept as JSON, and must come back as the same playbook.
    #[test]
    fn a_resolved_playbook_survives_json(document in document()) {
        let playbook = resolved(document.to_string().as_bytes());
        let playbook = playbook.map_err(|problems| TestCaseError::fail(problems.to_string()))?;
        let text = serde_json::to_string(&playbook).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Playbook>(&text).unwrap(), &playbook);
        let yaml = serde_yaml::to_string(&document).unwrap();
        prop_assert_eq!(resolved(yaml.as_bytes()).unwrap(), playbook);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "([-a-z:{}\\[\\],&*!|>'\"#%@` \n0-9<?]|apiVersion|stages){0,60}") {
        let _ = parse_playbook(text.as_bytes());
        let _ = parse_cluster(text.as_bytes());
        let _ = parse_policy(text.as_bytes());
        let _ = parse_access(text.as_bytes());
        let _ = parse_inventory(text.as_bytes());
    }
}
