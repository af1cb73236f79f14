use serde_json::json;

use super::*;
use crate::agent::{Asked, FakeAgents, Script, When};
use crate::clock::TokioClock;
use crate::run::Timestamp;

const ADDRESS: &str = "http://agent";
const ID: Uuid = Uuid::from_u128(7);

struct Scene {
    main: FakeAgents,
    stable: FakeAgents,
    found: Found,
}

impl Scene {
    /// An agent that speaks this dialect, and answers 404 to whoever asks about its node in the other.
    fn of(speaks: Dialect) -> Self {
        let agents = || {
            let agents =
                FakeAgents::new(Arc::new(TokioClock::starting_at(Timestamp::from_millis(0))));
            agents.add(ADDRESS, Script::Succeed { when: When::Looks(0), payload: json!(1) });
            agents
        };
        let scene = Self { main: agents(), stable: agents(), found: Found::default() };
        scene.now_speaks(speaks);
        scene
    }

    fn now_speaks(&self, dialect: Dialect) {
        for each in [Dialect::Main, Dialect::Stable] {
            let refuses = (each != dialect).then_some(404);
            self.side(each).set_refuses(ADDRESS, refuses);
        }
    }

    fn side(&self, dialect: Dialect) -> &FakeAgents {
        match dialect {
            Dialect::Main => &self.main,
            Dialect::Stable => &self.stable,
        }
    }

    fn client(&self, told: Option<Dialect>) -> AnyDialect {
        let (main, stable) = (Arc::new(self.main.clone()), Arc::new(self.stable.clone()));
        AnyDialect::new(main, stable, told, self.found.clone())
    }

    fn asked(&self, dialect: Dialect) -> Vec<Asked> {
        self.side(dialect).asked(ADDRESS).into_iter().map(|(_, asked)| asked).collect()
    }
}

fn request() -> ActionRequest {
    ActionRequest {
        id: ID,
        kind: "k".to_owned(),
        args: json!({}).into(),
        created_time: Timestamp::from_millis(0),
        metadata: serde_json::Map::new(),
    }
}

const BOTH: [Dialect; 2] = [Dialect::Main, Dialect::Stable];

#[tokio::test(start_paused = true)]
async fn the_dialect_is_found_out_before_anything_is_sent() {
    for dialect in BOTH {
        let scene = Scene::of(dialect);
        let client = scene.client(None);
        assert_eq!(client.schedule(ADDRESS, &request()).await.unwrap(), Scheduled::Accepted);
        assert_eq!(scene.asked(dialect).last(), Some(&Asked::Post(ID)));
        let other = scene.asked(dialect.other());
        assert!(!other.contains(&Asked::Post(ID)), "{dialect:?}: {other:?}");
        assert!(client.action(ADDRESS, ID).await.unwrap().is_some());
        // It is not asked again, whoever asks.
        let asked =
            scene.asked(Dialect::Main).iter().filter(|asked| **asked == Asked::Node).count();
        let again = ActionRequest { id: Uuid::from_u128(8), ..request() };
        scene.client(None).schedule(ADDRESS, &again).await.unwrap();
        let nodes =
            scene.asked(Dialect::Main).iter().filter(|asked| **asked == Asked::Node).count();
        assert_eq!((asked, nodes), (1, 1), "{dialect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_is_unknown_only_in_the_dialect_of_its_agent() {
    let scene = Scene::of(Dialect::Stable);
    scene.stable.schedule(ADDRESS, &request()).await.unwrap();
    assert!(scene.client(None).action(ADDRESS, ID).await.unwrap().is_some());
    let other = Uuid::from_u128(9);
    assert!(scene.client(None).action(ADDRESS, other).await.unwrap().is_none());
    // As long as nobody can tell, it is not unknown.
    let scene = Scene::of(Dialect::Stable);
    scene.stable.schedule(ADDRESS, &request()).await.unwrap();
    scene.stable.set_unreachable_until(ADDRESS, Timestamp::from_millis(1));
    scene.client(None).action(ADDRESS, ID).await.unwrap_err();
}

/// Such as a proxy that does not find its way to the agent.
#[tokio::test(start_paused = true)]
async fn an_action_is_not_unknown_where_something_else_answers_404_to_everything() {
    for dialect in BOTH {
        let scene = Scene::of(dialect);
        scene.side(dialect).schedule(ADDRESS, &request()).await.unwrap();
        scene.side(dialect).set_refuses(ADDRESS, Some(404));
        let error = scene.client(None).action(ADDRESS, Uuid::from_u128(9)).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { status: 404, .. }), "{dialect:?}: {error}");
        // Once the agent itself can be asked, it tells what it knows.
        scene.now_speaks(dialect);
        assert!(scene.client(None).action(ADDRESS, ID).await.unwrap().is_some());
        assert!(scene.client(None).action(ADDRESS, Uuid::from_u128(9)).await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_to_say_who_it_is_speaks_all_the_same() {
    let scene = Scene::of(Dialect::Stable);
    scene.stable.schedule(ADDRESS, &request()).await.unwrap();
    scene.stable.set_refuses(ADDRESS, Some(401));
    assert!(scene.client(None).action(ADDRESS, ID).await.unwrap().is_some());
    let error = scene.client(None).node(ADDRESS).await.unwrap_err();
    assert!(error.is_denial(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_says_counts() {
    for dialect in BOTH {
        let scene = Scene::of(dialect);
        let client = scene.client(Some(dialect.other()));
        let error = client.node(ADDRESS).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused { status: 404, .. }), "{error}");
        assert_eq!(scene.asked(dialect), []);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_replaced_is_found_again() {
    for dialect in BOTH {
        let scene = Scene::of(dialect);
        let client = scene.client(None);
        client.node(ADDRESS).await.unwrap();
        scene.now_speaks(dialect.other());
        client.node(ADDRESS).await.unwrap();
        client.schedule(ADDRESS, &request()).await.unwrap();
        assert_eq!(scene.asked(dialect.other()).last(), Some(&Asked::Post(ID)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_answer_cannot_be_read_speaks_all_the_same() {
    let scene = Scene::of(Dialect::Stable);
    scene.stable.set_garbled_until(ADDRESS, Timestamp::from_millis(1));
    let error = scene.client(None).node(ADDRESS).await.unwrap_err();
    assert!(matches!(error, AgentError::Malformed { .. }), "{error}");
    tokio::time::advance(std::time::Duration::from_millis(2)).await;
    scene.client(None).schedule(ADDRESS, &request()).await.unwrap();
    assert_eq!(scene.asked(Dialect::Stable).last(), Some(&Asked::Post(ID)));

    // Whoever refuses both says nothing of what it speaks, and is spoken to as most are.
    let scene = Scene::of(Dialect::Main);
    scene.main.set_refuses(ADDRESS, Some(404));
    scene.client(None).schedule(ADDRESS, &request()).await.unwrap();
    assert_eq!(scene.asked(Dialect::Main).last(), Some(&Asked::Post(ID)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_whom_cannot_be_asked() {
    let scene = Scene::of(Dialect::Main);
    scene.main.set_unreachable_until(ADDRESS, Timestamp::from_millis(60_000));
    let error = scene.client(None).schedule(ADDRESS, &request()).await.unwrap_err();
    assert!(matches!(error, AgentError::Connect { .. }) && !error.may_have_taken_effect());
    assert_eq!(scene.main.executions(ADDRESS).len(), 0);
}
