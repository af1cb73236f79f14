//! A strategy that does what its argument `do` says. Most of it is bad.

use std::time::Duration;

use serde_json::Value;

wit_bindgen::generate!({ path: "../../../wit", world: "strategy" });

use exports::replicante::playbook::planning::{
    Decision, Description, Guest, Next, PlanInput, Skipped,
};
use replicante::playbook::failing::fail;
use replicante::playbook::logging::{Level, log};
use replicante::playbook::roster::{AgentState, details, matches, node, page, refresh};

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile-strategy".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Misbehaves.".to_owned(),
            arguments: "{}".to_owned(),
        }
    }

    fn plan(input: PlanInput) -> Result<Decision, String> {
        let arguments: Value = serde_json::from_str(&input.arguments).unwrap();
        let (start, skip, memo) = (vec![], vec![], String::new());
        let mut decision = Decision { start, skip, next: Next::Wait, memo, label: None };
        match arguments["do"].as_str().unwrap() {
            "trap" => panic!("boom"),
            "loop" => loop {
                std::hint::black_box(0);
            },
            "refuse" => return Err("no reason".to_owned()),
            "give-up" => fail("no way on"),
            "sleep" => std::thread::sleep(Duration::from_secs(1)),
            "memo" => decision.memo = "m".repeat(65_537),
            "flood" => decision.start = vec![String::new(); 4_000_000],
            "giant-memo" => decision.memo = "m".repeat(20 << 20),
            "giant-details" => drop(details(&"x".repeat(20 << 20))),
            "giant-page" => drop(page(AgentState::Pending, Some(&"x".repeat(20 << 20)), 1)),
            "giant-expression" => drop(matches("node-0", &"x".repeat(20 << 20))),
            "giant-refresh" => drop(refresh(&["x".repeat(20 << 20)])),
            "refresh" => {
                let ids = page(AgentState::Pending, None, 1_000);
                let last = ids.last().cloned();
                refresh(&ids).unwrap();
                refresh(&ids).unwrap();
                refresh(&page(AgentState::Pending, last.as_deref(), 1)).unwrap();
            }
            "expressions" => (0..65).for_each(|number| {
                matches("node-0", &format!("{number} == 1")).unwrap();
            }),
            "evaluations" => loop {
                std::hint::black_box(matches("node-0", "agent.id == 'a'").unwrap());
            },
            "fresh" => {
                let ids = page(AgentState::Pending, None, 3);
                let of_zone_b = |id| matches(id, "agent.attributes.zone == 'b'");
                decision.start =
                    ids.iter().filter(|id| of_zone_b(id) == Ok(true)).cloned().collect();
                refresh(&ids[1..]).unwrap();
                refresh(&ids[1..2]).unwrap();
                let unknown = refresh(&[ids[0].clone(), "nobody".to_owned()]).unwrap_err();
                let wrong = ["agent.", "agent.attributes.rack", "agent.id", "agent.id == 'node-0'"]
                    .map(|expression| format!("{:?}", matches("node-0", expression)));
                let nobody = matches("nobody", "true").unwrap_err();
                let views: Vec<_> = ids.iter().map(|id| node(id).unwrap()).collect();
                let none = node("nobody").is_none();
                decision.memo =
                    format!("{unknown}\n{}\n{nobody}\n{views:?}\n{none}", wrong.join("\n"));
                decision.next = Next::WaitUntil(input.now);
            }
            "skip" => {
                let skipped = Skipped { id: "node-0".to_owned(), reason: "r".repeat(1_025) };
                decision.skip = vec![skipped];
            }
            "recursion" => decision.label = Some(deeper(1).to_string()),
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "log" => (0..1_000_000).for_each(|line| log(Level::Debug, &line.to_string())),
            "calls" => loop {
                std::hint::black_box(page(AgentState::Pending, None, u32::MAX));
            },
            "look" => {
                log(Level::Debug, "looking");
                let ids = page(AgentState::Pending, None, u32::MAX);
                decision.label = Some(ids.len().to_string());
                let after = page(AgentState::Pending, ids.first().map(String::as_str), 1);
                decision.start = after;
                let unknown = details("nobody").is_none();
                decision.memo = format!("{unknown} {:?}", details(&ids[0]));
                decision.next = Next::WaitUntil(input.now + 1_000.0);
            }
            other => panic!("found {other}"),
        }
        Ok(decision)
    }
}

/// Recursion that takes hardly any memory, so that the native stack ends first.
#[inline(never)]
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    (deeper(depth + 1) ^ depth).rotate_left(7).wrapping_mul(depth | 1)
}

export!(Hostile);
