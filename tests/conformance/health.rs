//! The strategy `zone-by-zone` with `healthy`: it has agents asked afresh, reads what they said, and
//! evaluates an expression for each of them.

use replibook_core::run::{AgentState, Decision, Digest, Next, PlanInput, PluginLine, Timestamp};
use replibook_host::PlanOutcome;
use serde_json::{Value, json};

use crate::conformance::languages;
use crate::fixtures::*;

const HEALTHY: &str = r#"agent.node.node_status == "HEALTHY" && agent.node.lag < 10"#;

/// A stage that goes on as in a run, with a second between decisions.
struct Stage {
    plugin: Digest,
    arguments: Value,
    agents: Agents,
    memo: String,
    now: Timestamp,
    /// What agents say when they are asked. An agent that is not in this list says that it is well.
    nodes: Vec<(String, Value)>,
    decided: Vec<(Decision, Vec<PluginLine>)>,
}

impl Stage {
    fn new(plugin: &Digest, arguments: &Value, zones: &[&str]) -> Self {
        let agents = Agents::with(zones.iter().map(|zone| json!({ "zone": zone })).collect());
        let (plugin, arguments) = (plugin.clone(), arguments.clone());
        let (memo, now) = (String::new(), START);
        Self { plugin, arguments, agents, memo, now, nodes: vec![], decided: vec![] }
    }

    fn say(mut self, nodes: &[(&str, Value)]) -> Self {
        self.nodes = nodes.iter().map(|(id, node)| ((*id).to_owned(), node.clone())).collect();
        self
    }

    async fn ask(&self) -> PlanOutcome {
        let (stage, arguments) = ("all".to_owned(), self.arguments.clone());
        let (memo, now) = (self.memo.clone(), self.now);
        let input = PlanInput { stage, arguments, memo, now, max_start: 260 };
        host().plan(&self.plugin, input, std::sync::Arc::new(self.agents.clone())).await
    }

    /// Asks the strategy, carries out its decision, and refreshes the agents that it wants to be asked.
    /// Agents in flight end at once.
    async fn step(&mut self) -> Result<Next, String> {
        let outcome = self.ask().await;
        let decision = outcome.result.map_err(|error| error.to_string())?;
        self.now = Timestamp::from_millis(self.now.as_millis() + 1_000);
        self.memo.clone_from(&decision.memo);
        for agent in &decision.start {
            self.agents.set(agent, AgentState::Done);
        }
        for agent in &decision.refresh {
            let said = self.nodes.iter().find(|(id, _)| id == agent.as_str());
            let well = json!({ "node_status": "HEALTHY", "lag": 3 });
            let node = said.map_or(well, |(_, node)| node.clone());
            self.agents.say(agent.as_str(), node, Some(self.now));
        }
        let next = decision.next.clone();
        self.decided.push((decision, outcome.logs));
        Ok(next)
    }

    /// Goes on until the strategy asks for approval, or ends the stage or the run.
    async fn run(&mut self) -> Result<Next, String> {
        for _ in 0..100 {
            match self.step().await? {
                Next::Wait | Next::WaitUntil(_) => {}
                end => return Ok(end),
            }
        }
        panic!("the stage never ends: {:?}", self.decided.last())
    }

    /// The agents that were asked, decision by decision.
    fn asked(&self) -> Vec<Vec<&str>> {
        let asked = self.decided.iter().map(|(decision, _)| &decision.refresh);
        let asked = asked.filter(|agents| !agents.is_empty());
        asked.map(|agents| agents.iter().map(|agent| agent.as_str()).collect()).collect()
    }

    fn lines(&self) -> Vec<&str> {
        self.decided.iter().flat_map(|(_, lines)| lines).map(|line| line.message.as_str()).collect()
    }
}

/// Plays the same stage in every language: what `play` returns must be the same in all of them.
async fn in_every_language(
    arguments: Value,
    zones: &[&str],
    nodes: &[(&str, Value)],
    play: impl AsyncFn(&mut Stage, &str),
) {
    let mut expected = None;
    for (language, plugin) in languages::all("zone-by-zone").await {
        let mut stage = Stage::new(&plugin.digest, &arguments, zones).say(nodes);
        play(&mut stage, language).await;
        assert_eq!(&stage.decided, expected.get_or_insert(stage.decided.clone()), "{language}");
    }
}

#[tokio::test]
async fn the_agents_of_each_zone_are_asked_once_it_is_done() {
    let arguments = json!({ "healthy": HEALTHY, "max_parallel": 3 });
    in_every_language(arguments, &["b", "a", "b"], &[], async |stage, language| {
        assert_eq!(stage.run().await, Ok(Next::Complete), "{language}");
        assert_eq!(stage.asked(), [vec!["node-1"], vec!["node-0", "node-2"]], "{language}");
        assert_eq!(stage.lines(), ["zone a is done", "zone b is done"], "{language}");
        assert_eq!(stage.memo, r#"{"zones":[]}"#, "{language}");
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_not_well_stops_the_run_and_is_named() {
    let nodes = [
        ("node-0", json!({ "node_status": "UNAVAILABLE", "lag": 0 })),
        ("node-1", Value::Null),
        ("node-2", json!({ "node_status": "HEALTHY", "lag": 99 })),
    ];
    let arguments = json!({ "healthy": HEALTHY, "max_parallel": 9 });
    in_every_language(arguments, &["a", "a", "a", "a", "b"], &nodes, async |stage, language| {
        let why = "zone a is not well: node-0 is UNAVAILABLE, node-1 did not answer, \
             node-2 is HEALTHY";
        assert_eq!(stage.run().await, Ok(Next::Abort(why.to_owned())), "{language}");
        assert_eq!(stage.agents.in_state(AgentState::Pending), ["node-4".into()], "{language}");
    })
    .await;
}

#[tokio::test]
async fn a_person_may_let_the_run_go_on_and_is_not_asked_twice() {
    let ill = json!({ "node_status": { "UNKNOWN": "starting" }, "lag": 0 });
    let nodes = [("node-0", ill.clone()), ("node-2", ill)];
    let arguments = json!({ "healthy": HEALTHY, "on_ill": "approval", "max_parallel": 2 });
    in_every_language(arguments, &["a", "b", "c"], &nodes, async |stage, language| {
        let question = |zone: &str, node: u8, go_on: &str| {
            let told = format!("zone {zone} is not well: node-{node} is UNKNOWN; {go_on}?");
            Ok(Next::Approval(told))
        };
        assert_eq!(stage.run().await, question("a", 0, "go on with the other 2"), "{language}");
        let all_the_same = question("c", 2, "end the stage all the same");
        assert_eq!(stage.run().await, all_the_same, "{language}");
        assert_eq!(stage.run().await, Ok(Next::Complete), "{language}");
        assert_eq!(stage.lines(), ["zone b is done"], "{language}");
    })
    .await;
}

#[tokio::test]
async fn of_many_that_are_not_well_ten_are_named() {
    let ids: Vec<String> = (0..13).map(|number| format!("node-{number}")).collect();
    let nodes: Vec<_> = ids.iter().map(|id| (id.as_str(), Value::Null)).collect();
    let arguments = json!({ "healthy": HEALTHY, "max_parallel": 13 });
    in_every_language(arguments, &["a"; 13], &nodes, async |stage, language| {
        let named: Vec<_> = (0..10).map(|node| format!("node-{node} did not answer")).collect();
        let why = format!("zone a is not well: {} and 3 more", named.join(", "));
        assert_eq!(stage.run().await, Ok(Next::Abort(why)), "{language}");
    })
    .await;
}

/// The host asks at most 1,000 agents for one decision. Here a zone has more, with agents of another zone in
/// between.
#[tokio::test]
async fn a_zone_of_more_agents_than_are_asked_at_a_time_is_asked_in_parts() {
    let zones: Vec<&str> = (0..1_400).map(|number| ["a", "a", "a", "b"][number % 4]).collect();
    let done = async |stage: &mut Stage| {
        for agent in stage.agents.in_state(AgentState::Pending) {
            stage.agents.set(&agent, AgentState::Done);
        }
        stage.memo = r#"{"zones":["a"]}"#.to_owned();
    };
    let arguments = json!({ "healthy": HEALTHY });
    in_every_language(arguments.clone(), &zones, &[], async |stage, language| {
        done(stage).await;
        assert_eq!(stage.run().await, Ok(Next::Complete), "{language}");
        let asked: Vec<_> = stage.asked().iter().map(Vec::len).collect();
        assert_eq!(asked, [1_000, 50], "{language}");
        assert_eq!(stage.asked()[1][0], "node-1333", "{language}");
    })
    .await;
    let nodes = [("node-1398", Value::Null)];
    in_every_language(arguments, &zones, &nodes, async |stage, language| {
        done(stage).await;
        let why = "zone a is not well: node-1398 did not answer".to_owned();
        assert_eq!(stage.run().await, Ok(Next::Abort(why)), "{language}");
    })
    .await;
}

#[tokio::test]
async fn who_was_done_after_the_others_were_asked_for_is_asked_too() {
    let arguments = json!({ "healthy": HEALTHY });
    in_every_language(arguments, &["a", "a"], &[], async |stage, language| {
        stage.agents.set(&"node-0".into(), AgentState::Done);
        stage.agents.set(&"node-1".into(), AgentState::Removed);
        stage.memo = r#"{"zones":["a"]}"#.to_owned();
        assert!(matches!(stage.step().await, Ok(Next::WaitUntil(_))), "{language}");
        // This agent has returned, and was done before it left.
        stage.agents.set(&"node-1".into(), AgentState::Done);
        assert_eq!(stage.run().await, Ok(Next::Complete), "{language}");
        assert_eq!(stage.asked(), [["node-0"], ["node-1"]], "{language}");
    })
    .await;
}

#[tokio::test]
async fn an_expression_that_can_not_be_worked_out_is_an_error_of_the_strategy() {
    for (healthy, why) in
        [("agent.node.lag <", "Syntax error"), ("agent.node.no.such", "no"), ("1", "true or false")]
    {
        let arguments = json!({ "healthy": healthy });
        let mut expected = None;
        for (language, plugin) in languages::all("zone-by-zone").await {
            let mut stage = Stage::new(&plugin.digest, &arguments, &["a"]);
            let error = stage.run().await.unwrap_err();
            assert!(error.contains("agent node-0: ") && error.contains(why), "{language}: {error}");
            assert_eq!(&error, expected.get_or_insert(error.clone()), "{language}");
        }
    }
}
