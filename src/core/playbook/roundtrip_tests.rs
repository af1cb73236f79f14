//! What was parsed can be printed, and parses to the same again: from text to text, and from the model back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::approvers::Approvers;
use super::cluster::parse_cluster_whole;
use super::draft::Draft;
use super::model::{Amount, Approval, Cluster, Playbook, Stage, Step};
use super::model_stage::StepRole;
use super::problem::{Problem, code};
use super::read::parse_playbook;
use crate::ids::Digest;
use crate::time::Millis;

/// The draft of a text that has no problem, except for parts that this version can't perform yet.
fn draft(text: &str) -> Result<Draft, TestCaseError> {
    let document = parse_playbook(text.as_bytes());
    let document = document.map_err(|problems| TestCaseError::fail(problems.to_string()))?;
    if let Err(problems) = document.check() {
        only_unsupported(&problems.0)?;
    }
    Ok(document.draft().clone())
}

fn only_unsupported(problems: &[Problem]) -> Result<(), TestCaseError> {
    match problems.iter().find(|problem| problem.code != code::NOT_SUPPORTED) {
        Some(wrong) => Err(TestCaseError::fail(wrong.to_string())),
        None => Ok(()),
    }
}

fn duration(time: Millis) -> Value {
    format!("{}ms", time.0).into()
}

fn word(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// The value without the keys that are null.
fn present(mut value: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.retain(|_, value| !value.is_null());
    }
    value
}

fn print_step(step: &Step) -> Value {
    let retry = step.retry;
    present(json!({
        "name": step.name, "use": step.plugin, "with": step.with.source(),
        "when": step.when.as_ref().map(|expr| expr.source()),
        "require": step.require.as_ref().map(|expr| expr.source()),
        "timeout": step.timeout.map(duration),
        "retry": {"attempts": retry.attempts, "initial": duration(retry.initial),
            "factor": retry.factor, "max": duration(retry.max)},
        "on_error": word(step.on_error),
    }))
}

fn print_steps(stage: &Stage, role: StepRole) -> Value {
    let steps = stage.steps.iter().filter(|step| step.role == role);
    steps.map(print_step).collect::<Vec<_>>().into()
}

fn print_stage(stage: &Stage) -> Value {
    let max_failed = match stage.budget.max_failed {
        Amount::Count(count) => json!(count),
        Amount::Share(share) => json!(format!("{}.{:02}%", share / 100, share % 100)),
    };
    present(json!({
        "name": stage.name, "select": stage.select.as_ref().map(|expr| expr.source()),
        "on": word(stage.on), "always": stage.always,
        "strategy": {"use": stage.strategy.plugin, "with": stage.strategy.with.source()},
        "budget": {"max_failed": max_failed, "scope": word(stage.budget.scope),
            "on_exceeded": word(stage.budget.on_exceeded)},
        "membership": word(stage.membership),
        "steps": print_steps(stage, StepRole::Main),
        "rescue": print_steps(stage, StepRole::Rescue),
        "finally": print_steps(stage, StepRole::Finally),
    }))
}

fn print_approval(playbook: &Playbook) -> Value {
    let Approvers { by, count, not_by_starter, deadline } = &playbook.approvers;
    if playbook.approvers.is_anybody() && playbook.approval == Approval::Required {
        return word(playbook.approval);
    }
    present(json!({
        "by": (!by.is_empty()).then_some(by), "count": count, "not_by_starter": not_by_starter,
        "before_start": playbook.approval == Approval::Required,
        "deadline": deadline.map(|deadline| duration(deadline.after)),
        "then": deadline.map(|deadline| deadline.then),
    }))
}

/// A document that says everything that is in the draft.
fn print(draft: &Draft) -> Value {
    let playbook = &draft.playbook;
    let plugins = draft.plugins.iter().map(|(name, declared)| {
        let source = &declared.source;
        let entry = json!({"source": source.source.to_string(), "digest": source.digest,
            "grants": word(&declared.grants)});
        (name.clone(), present(entry))
    });
    let vcs = playbook.vcs.as_ref().map(|vcs| present(word(vcs)));
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": present(json!({"name": playbook.name, "version": playbook.version, "vcs": vcs})),
        "spec": present(json!({
            "summary": playbook.summary, "approval": print_approval(playbook),
            "concurrency": word(playbook.concurrency), "params": playbook.params,
            "plugins": plugins.collect::<Map<_, _>>(),
            "stages": playbook.stages.iter().map(print_stage).collect::<Vec<_>>(),
        })),
    })
}

fn print_cluster(cluster: &Cluster) -> Value {
    let discovery = cluster.discovery.as_ref().map(|from| {
        json!({"url": from.url, "cluster": from.cluster, "interval": duration(from.interval),
            "credentials": from.credentials})
    });
    let discovery = discovery.map(present);
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": cluster.name},
        "spec": present(json!({"agents": cluster.agents, "discovery": discovery,
            "credentials": cluster.credentials})),
    })
}

fn label() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?"
}

fn text() -> impl Strategy<Value = Value> {
    // Everything that a printer has to quote, and characters outside of ASCII.
    "([-a-z0-9 :#'\"%&*!|>?{}\\[\\]\\\\,~é日🚀]|\t|true|null|1e3|\n){0,12}".prop_map(Value::from)
}

fn of(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::sample::select(words).prop_map(Value::from)
}

/// A value, or null.
fn perhaps(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), value]
}

fn time() -> impl Strategy<Value = Value> {
    (1..60_u32, prop::sample::select(&["ms", "s", "m", "h"][..]))
        .prop_map(|(number, unit)| format!("{number}{unit}").into())
}

fn arguments() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        text(),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        Just(Value::Null),
        of(&["${{ params.n + 1 }}", "at ${{ run.id }} of ${{ cluster.name }}", "$${{ x }}"]),
    ];
    let entries = prop::collection::btree_map("[a-zA-Z0-9 :~/]{0,6}", plain, 0..4);
    entries.prop_map(|entries| json!(entries))
}

fn step() -> impl Strategy<Value = Value> {
    let retry = (
        1..1_000_u32,
        perhaps((1..=1_000_u32).prop_map(|n| format!("{n}ms").into())),
        perhaps((1..100_u32).prop_map(|n| json!(f64::from(n) / 2.0 + 0.5))),
        perhaps((2..49_u32).prop_map(|n| format!("{n}d").into())),
    );
    let retry = retry.prop_map(|(attempts, initial, factor, max)| {
        present(json!({"attempts": attempts, "initial": initial, "factor": factor, "max": max}))
    });
    let what = prop_oneof![
        ("[a-z]{1,8}\\.[a-z]{2,5}/[a-z.]{1,9}", arguments())
            .prop_map(|(kind, args)| json!({"action": kind, "args": args})),
        (of(&["own", "other", "built-in"]), arguments())
            .prop_map(|(name, with)| json!({"use": name, "with": with})),
    ];
    let expr = || perhaps(of(&["params.n > 3", "has(agent.attributes.zone)", "'a: b' != run.id"]));
    (what, expr(), expr(), perhaps(time()), perhaps(retry), perhaps(of(&["fail", "continue"])))
        .prop_map(|(mut step, when, require, timeout, retry, on_error)| {
            let more = json!({"when": when, "require": require, "timeout": timeout, "retry": retry,
                "on_error": on_error});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            present(step)
        })
}

fn named(steps: Vec<Value>) -> Vec<Value> {
    named_with("n", steps)
}

fn named_with(prefix: &str, steps: Vec<Value>) -> Vec<Value> {
    let named = steps.into_iter().enumerate().map(|(index, mut one)| {
        one["name"] = json!(format!("{prefix}{index}"));
        one
    });
    named.collect()
}

fn stage() -> impl Strategy<Value = Value> {
    let amount = prop_oneof![
        any::<u32>().prop_map(Value::from),
        (0..=100_u32).prop_map(|n| format!("{n}%").into()),
        (0..100_u32, 0..100_u32).prop_map(|(n, d)| format!("{n}.{d:02}%").into()),
    ];
    let budget =
        (perhaps(amount), perhaps(of(&["stage", "run"])), perhaps(of(&["pause", "abort"])));
    let membership =
        (perhaps(of(&["include", "skip", "abort"])), perhaps(of(&["ignore", "fail", "abort"])));
    let select = perhaps(of(&["agent.id.startsWith('a')", "params.n == 1"]));
    let ending = (prop::collection::vec(step(), 0..2), prop::collection::vec(step(), 0..2));
    let steps = prop::collection::vec(step(), 1..4);
    (budget, membership, select, arguments(), steps, ending).prop_map(
        |(budget, membership, select, with, steps, (rescue, finally))| {
            present(json!({
                "select": select, "strategy": {"use": "rolling", "with": with},
                "budget": present(json!({"max_failed": budget.0, "scope": budget.1,
                    "on_exceeded": budget.2})),
                "membership": present(json!({"added": membership.0, "removed": membership.1})),
                "steps": named(steps),
                "rescue": named_with("r", rescue),
                "finally": named_with("f", finally),
            }))
        },
    )
}

prop_compose! {
    fn approvers()(
        by in prop::sample::subsequence(vec!["group:id/dba", "user:id/a@b.c", "token:ci"], 0..=3),
        count in perhaps((1..4_u32).prop_map(Value::from)),
        flags in (perhaps(any::<bool>().prop_map(Value::from)), any::<bool>()),
        deadline in prop::option::of(of(&["2h", "90m", "1500ms"])),
        then in of(&["cancel", "pause"]),
    ) -> Value {
        // As many as must approve are named, or a group is.
        let few = by.len() < 3 && !by.contains(&"group:id/dba");
        present(json!({
            "by": (!by.is_empty()).then_some(&by),
            "count": count.as_u64().filter(|_| by.is_empty() || !few),
            "before_start": flags.0, "not_by_starter": flags.1,
            "then": deadline.as_ref().map(|_| then), "deadline": deadline,
        }))
    }
}

prop_compose! {
    fn playbook()(
        name in label(),
        team in prop::option::of(label()),
        version in of(&["1.0.0", "0.1.0-rc.1+build.5", "99.0.1"]),
        vcs in perhaps((text(), perhaps(text()), perhaps(text())).prop_map(|(at, commit, path)|
            present(json!({"repository": at, "commit": commit, "path": path})))),
        summary in perhaps(text()),
        approval in perhaps(prop_oneof![of(&["granted", "required"]), approvers()]),
        concurrency in perhaps(of(&["queue", "reject", "allow"])),
        source in of(&["file:a b.wasm", "store:own@1.2.3", "oci://a.example:5000/own/x:v1"]),
        digest in perhaps(text().prop_map(|text| word(Digest::of(text.to_string().as_bytes())))),
        actions in prop::collection::vec(of(&["*", "a.example/*", "b.example/x"]), 0..3),
        http in prop::sample::subsequence(vec!["https://a.example", "http://[::1]:80"], 0..=2),
        stages in prop::collection::vec(stage(), 1..4),
    ) -> Value {
        let name = team.map_or(name.clone(), |team| format!("{team}/{name}"));
        json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": present(json!({"name": name, "version": version, "vcs": vcs})),
            "spec": present(json!({
                "summary": summary, "approval": approval, "concurrency": concurrency,
                "params": {"properties": {"n": {"type": "integer", "default": 1}}},
                "plugins": {
                    "own": present(json!({"source": source, "digest": digest,
                        "grants": {"actions": actions, "http": http}})),
                    "other": {"source": "file:other.wasm"},
                },
                "stages": named(stages),
            })),
        })
    }
}

prop_compose! {
    fn cluster()(
        name in label(),
        attributes in prop::collection::vec(
            prop::collection::btree_map("[a-z ]{0,5}", prop_oneof![text(), Just(Value::Null),
                any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from)], 0..3), 0..4),
        interval in perhaps(prop_oneof![Just(json!("1s")), Just(json!("90m"))]),
        is_discovered in any::<bool>(),
        credentials in perhaps(prop_oneof![Just(json!("mongo-eu")), Just(json!("A_b.1"))]),
    ) -> Value {
        let agents = attributes.into_iter().enumerate().map(|(index, attributes)| {
            json!({"id": format!("node-{index}"), "address": format!("http://10.0.0.{index}:80/x/"),
                "attributes": attributes})
        });
        let discovery = is_discovered.then(|| {
            present(json!({"url": "https://a.example/p/", "cluster": "c/1", "interval": interval,
                "credentials": credentials}))
        });
        json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": name},
            "spec": present(json!({"agents": agents.collect::<Vec<_>>(), "discovery": discovery,
                "credentials": credentials})),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_playbook_prints_and_parses_to_the_same(document in playbook()) {
        let first = draft(&document.to_string())?;
        for again in [document.clone(), print(&first)] {
            for text in [format!("{again:#}"), serde_yaml::to_string(&again).unwrap()] {
                let second = draft(&text)?;
                prop_assert_eq!(&second.playbook, &first.playbook, "{}", text);
                prop_assert_eq!(&second.plugins, &first.plugins, "{}", text);
            }
        }
    }

    #[test]
    fn a_cluster_prints_and_parses_to_the_same(document in cluster()) {
        let parse = |text: &str| {
            let (cluster, problems) = parse_cluster_whole(text.as_bytes()).map_err(|problems|
                TestCaseError::fail(problems.to_string()))?;
            only_unsupported(&problems)?;
            Ok::<_, TestCaseError>(cluster)
        };
        let first = parse(&document.to_string())?;
        for again in [document.clone(), print_cluster(&first)] {
            for text in [format!("{again:#}"), serde_yaml::to_string(&again).unwrap()] {
                prop_assert_eq!(&parse(&text)?, &first, "{}", text);
            }
        }
    }
}
