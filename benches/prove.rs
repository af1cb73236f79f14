//! How fast proofs of strategies are: `make bench BENCHES=prove`.
//!
//! Everything that may happen is tried over all fleets of up to six agents in up to three groups, with up to two failures. The
//! strategies are the plugins themselves, asked on one thread.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::time::{Duration, Instant};

use replibook::playbook::Template;
use replibook::plugin::{HostConfig, PluginHost};
use replibook::prove::{Bounds, Plugin, Proof, Scene, Wanted, prove};
use serde_json::{Value, json};
use support::{Table, heading, note};

/// The stack of the thread that asks plugins.
const STACK_BYTES: usize = 8 * 1024 * 1024;

fn main() {
    heading("prove");
    let with_all = Bounds { agents: 6, seeds: 0, changes: 3, ..Bounds::default() };
    let failures = Bounds { joins: 0, leaves: 0, pauses: 0, ..with_all };
    let two = json!({ "batch": 2 });
    let zones = json!({ "by": "zone" });
    let mut table = Table::new(["strategy", "bounds", "fleets", "states", "questions", "time"]);
    for (name, arguments, one_group, what, bounds) in [
        ("rolling", two.clone(), false, "failures", failures),
        ("rolling", two, false, "failures, joins, leaves, pauses", with_all),
        ("grouped", zones, true, "failures", Bounds { agents: 5, ..failures }),
    ] {
        let (proof, took) = measured(name, arguments, one_group, bounds);
        assert!(proof.proved, "{name}: {proof:#?}");
        table.row([
            name.to_owned(),
            format!("{} agents, {what}", bounds.agents),
            proof.covered.fleets.to_string(),
            proof.covered.states.to_string(),
            proof.covered.questions.to_string(),
            format!("{:.2} s", took.as_secs_f64()),
        ]);
    }
    table.print();
    note("one thread; what the strategy never asks about is no part of a state");
}

fn measured(name: &str, with: Value, one_group: bool, bounds: Bounds) -> (Proof, Duration) {
    let one_group = one_group.then(|| "zone".to_owned());
    let wanted = Wanted { in_flight: Some(2), one_group, ..Wanted::default() };
    let arguments = Template::parse(with).unwrap();
    let scene = Scene::new(arguments, vec!["zone".to_owned()], wanted, bounds);
    let host = PluginHost::start(HostConfig::default()).unwrap();
    let builtin = host.builtins().iter().find(|builtin| builtin.info.name == name).unwrap();
    let digest = builtin.info.digest.clone();
    let work = move || {
        let start = Instant::now();
        let proof = prove(scene, &Plugin { host: &host, digest }, &|_| {}).unwrap();
        (proof, start.elapsed())
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(work).unwrap().join().unwrap()
}
