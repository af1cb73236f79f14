//! What a run says while it waits: for an action that comes after others in its agent's queue, and for an
//! agent that stands still.

use replibook::api::wire::{JournalView, Listing};
use replibook::run::{AgentRecord, Happened, Notice, RunStatus};
use replibook::why::Explanation;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::crash::server::{LIMIT, Server};
use crate::crash::stages::{self, Scene};
use crate::wait;

/// The action of somebody else who uses the agent.
const OTHER: &str = "11111111-2222-4333-8444-555555555555";

/// What `replictl` prints.
async fn replictl(server: &Server, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(words)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Paragraphs may be broken into lines anywhere.
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_says_what_its_actions_wait_behind_and_which_agent_does_not_answer() {
    let scene = Scene::new(2).await;
    let server = Server::start(scene.path(), None, None).await;
    let agent = scene.agents.api(0);
    // This action keeps the first agent busy.
    let other = json!({ "id": OTHER, "kind": "crash.example.com/wait", "args": null });
    let posted = scene.client.0.post(format!("{agent}/action")).json(&other).send().await.unwrap();
    assert!(posted.status().is_success(), "{}", posted.text().await.unwrap());
    let run =
        stages::start_run(&scene.client, &server, &scene.agents, |_| stages::WAITING.to_owned())
            .await;
    scene.agents.let_go(1);
    let api = format!("http://{}/api/v1/runs/{run}", server.address);
    let until_told = async |words: &str| {
        wait::until(words, LIMIT, async || {
            let told: Explanation = scene.client.get(&format!("{api}/explanation")).await;
            told.text.contains(words).then_some(told)
        })
        .await
    };
    let queued = ", behind 1 other in the agent's queue: crash.example.com/wait goes first)";
    let told = until_told(queued).await;
    let [action] = told.actions.as_slice() else { panic!("{told:?}") };
    let id = action.action_id.to_string();
    let known: Value = scene.client.get(&format!("{agent}/action/{id}")).await;
    assert_eq!(known["state"]["phase"], "NEW", "the agent knows it by that: {known}");
    let wide = replictl(&server, &["run", "agents", &run, "-o", "wide"]).await;
    assert!(wide.contains(&id) && wide.contains(" 1 before it (crash.example.com/wait)"), "{wide}");
    let journals: Listing<JournalView> =
        scene.client.get(&format!("{api}/journals?agent=node-1")).await;
    assert_eq!(journals.items[0].actions[0].action_id, action.action_id);

    scene.agents.signal(0, Signal::STOP);
    let told = until_told("1 agent does not answer: node-1 (since ").await;
    assert!(matches!(told.actions[0].notice, Some(Notice::NoAnswer { .. })), "{told:?}");
    let described = replictl(&server, &["describe", "run", &run]).await;
    for part in ["1 agent does not answer: node-1 (since", &format!("action of node-1: {id}")] {
        assert!(described.contains(part), "{part} in {described}");
    }
    let view = scene.client.run(&server.address, &run).await;
    assert_eq!((view.silent.agents, view.status), (1, RunStatus::Running));

    scene.agents.let_go(0);
    scene.agents.signal(0, Signal::CONT);
    let ended = scene.client.until_final(&server.address, &run).await;
    assert_eq!((ended.status, ended.silent.agents), (RunStatus::Done, 0), "{ended:?}");
    let records: Listing<AgentRecord> = scene.client.get(&format!("{api}/agents")).await;
    assert!(records.items.iter().all(|record| record.notice.is_none()), "{records:?}");
    let events = scene.client.events(&server.address, &run).await;
    let of_step = events.iter().filter_map(|event| {
        let Happened::StepEnded { agent, action_id, .. } = &event.what else { return None };
        action_id.filter(|_| agent.as_str() == "node-1")
    });
    assert_eq!(of_step.collect::<Vec<_>>(), [action.action_id]);
    server.stop().await;
    scene.agents.stop().await;
}
