//! The rules of the follower, one by one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::*;
use crate::playbook::{Cluster, ClusterAgent, Discovery};
use crate::run::{AgentId, Millis, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_000_000);

/// A follower, and a clock that advances by a second with each thing that happens.
struct Scene {
    follower: Follower,
    now: Timestamp,
}

pub(super) fn node(id: &str, address: &str) -> PlatformNode {
    PlatformNode {
        node_id: Some(id.to_owned()),
        agent_address: Some(address.to_owned()),
        ..PlatformNode::default()
    }
}

/// `a` is `node("a", "http://a")`, `a@x` is `node("a", "http://x")`.
fn nodes(words: &str) -> Vec<PlatformNode> {
    let node_of = |word: &str| {
        let (id, host) = word.split_once('@').unwrap_or((word, word));
        node(id, &format!("http://{host}"))
    };
    words.split_whitespace().map(node_of).collect()
}

pub(super) fn cluster(agents: &str, discovers: bool) -> Cluster {
    let agent = |node: PlatformNode| ClusterAgent {
        id: AgentId(node.node_id.unwrap()),
        address: node.agent_address.unwrap(),
        attributes: Map::new(),
        identity: crate::playbook::Identity::Check,
    };
    let (url, cluster) = ("http://platform".to_owned(), "c".to_owned());
    let discovery = Discovery { url, cluster, interval: Millis::from_secs(10), credentials: None };
    Cluster {
        name: "c".to_owned(),
        agents: nodes(agents).into_iter().map(agent).collect(),
        discovery: discovers.then_some(discovery),
        tls: None,
        credentials: None,
        dialect: None,
        guards: Default::default(),
        cluster_id: None,
    }
}

impl Scene {
    fn new(declared: &str) -> Self {
        let mut scene = Self { follower: Follower::new(), now: START };
        scene.declare(declared, true);
        scene
    }

    fn tick(&mut self) -> Timestamp {
        self.now = self.now.plus(Millis::from_secs(1));
        self.now
    }

    fn declare(&mut self, agents: &str, discovers: bool) {
        let at = self.tick();
        self.follower.declare(&cluster(agents, discovers), at);
    }

    fn hear(&mut self, words: &str) -> LeftOut {
        let at = self.tick();
        self.follower.hear(Heard::Nodes(nodes(words)), at)
    }

    fn know(&mut self, words: &str) {
        let at = self.tick();
        let known = nodes(words).into_iter();
        let known = known.map(|n| (AgentId(n.node_id.unwrap()), n.agent_address.unwrap()));
        self.follower.know(known.collect(), at);
    }

    fn accept(&mut self) {
        self.tick();
        self.follower.accept();
    }

    /// The members, in the notation of [`nodes`].
    fn members(&self) -> String {
        let members = self.follower.membership().members;
        let word = |(id, agent): (&AgentId, &std::sync::Arc<KnownAgent>)| {
            let host = agent.address.trim_start_matches("http://");
            if host == id.as_str() { id.to_string() } else { format!("{id}@{host}") }
        };
        members.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn doubtful(&self) -> String {
        let doubtful = self.follower.membership().doubtful;
        doubtful.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn mass(&self) -> Option<(u32, u32)> {
        self.follower.membership().mass_absence.map(|mass| (mass.absent, mass.known))
    }
}

const SIX: &str = "a b c d e f";

#[test]
fn an_agent_is_gone_after_three_absences_in_a_row() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    for _ in 1..ABSENCES {
        scene.hear("a b c d e");
    }
    assert_eq!(scene.members(), SIX);
    scene.hear(SIX);
    for _ in 1..ABSENCES {
        scene.hear("a b c d e");
        assert_eq!(scene.members(), SIX, "it had been back");
    }
    scene.hear("a b c d e");
    assert_eq!((scene.members().as_str(), scene.mass()), ("a b c d e", None));
    scene.hear(SIX);
    assert_eq!(scene.members(), SIX, "it returns at once");
}

/// Stores of earlier versions have addresses as they were spelled in documents.
#[test]
fn an_address_that_was_stored_in_another_spelling_is_the_same() {
    let mut scene = Scene::new("a@A:80");
    scene.hear("b@a c@c");
    assert_eq!(scene.members(), "a c", "two names of one agent");
    let since = scene.follower.membership().members[&AgentId::from("a")].since;
    scene.declare("a@a", true);
    assert_eq!(scene.follower.membership().members[&AgentId::from("a")].since, since);
    // The same holds for the members of a run.
    let mut scene = Scene { follower: Follower::new(), now: START };
    scene.know("x@X:80/ y@x");
    scene.declare("", true);
    assert_eq!(scene.members(), "x");
}

#[test]
fn a_failed_answer_and_one_without_the_cluster_change_nobody() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    let members = scene.follower.membership().members;
    scene.hear("a b c d e");
    for heard in [Heard::Failed("refused".to_owned()), Heard::WithoutCluster] {
        for _ in 0..10 {
            let at = scene.tick();
            scene.follower.hear(heard.clone(), at);
        }
    }
    let now = scene.follower.membership();
    assert!(std::sync::Arc::ptr_eq(&members, &now.members));
    let outcome = Outcome::WithoutCluster;
    assert_eq!(now.last_answer, Some(LastAnswer { at: scene.now, outcome }));
    // Such an answer neither counts as an absence, nor ends a row of them.
    scene.hear("a b c d e");
    assert_eq!(scene.members(), SIX);
    scene.hear("a b c d e");
    assert_eq!(scene.members(), "a b c d e");
}

#[test]
fn an_answer_with_nothing_new_is_nothing_new() {
    let mut scene = Scene::new("s");
    scene.hear(SIX);
    let before = scene.follower.membership().members;
    scene.hear("f e d c b a");
    scene.hear("a b c d e");
    let after = scene.follower.membership().members;
    assert!(std::sync::Arc::ptr_eq(&before, &after), "one who is absent once is still a member");
    scene.hear("a@x b c d e f");
    let after = scene.follower.membership().members;
    let (a, b) = (AgentId::from("a"), AgentId::from("b"));
    assert!(std::sync::Arc::ptr_eq(&before[&b], &after[&b]));
    assert_eq!((after[&a].address.as_str(), after[&a].since), ("http://x", before[&a].since));
}

#[test]
fn many_at_once_stay_until_they_return() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    for _ in 0..10 {
        scene.hear("a b c d");
        assert_eq!((scene.members().as_str(), scene.mass()), (SIX, Some((2, 6))));
        assert_eq!(scene.doubtful(), "e f");
    }
    // One of the two returns, and another is missing for the first time: nobody leaves.
    scene.hear("a b c e");
    assert_eq!(scene.mass(), Some((2, 6)));
    for _ in 0..10 {
        scene.hear("a b c d e");
        assert_eq!((scene.members().as_str(), scene.mass()), (SIX, Some((1, 6))));
    }
    scene.hear(SIX);
    assert_eq!((scene.mass(), scene.doubtful().as_str()), (None, ""));
    scene.hear("a b c d e");
    assert_eq!(scene.members(), SIX, "absences are counted anew");
}

#[test]
fn a_fifth_is_not_many() {
    let mut scene = Scene::new("");
    scene.hear("a b c d e");
    for _ in 0..ABSENCES {
        scene.hear("a b c d");
        assert_eq!(scene.mass(), None);
    }
    assert_eq!(scene.members(), "a b c d");
    scene.hear("a b c");
    assert_eq!(scene.mass(), Some((1, 4)));
}

#[test]
fn an_empty_answer_takes_nobody_away() {
    let mut scene = Scene::new("s");
    scene.hear(SIX);
    for _ in 0..10 {
        scene.hear("");
    }
    assert_eq!((scene.members().as_str(), scene.mass()), ("a b c d e f s", Some((6, 6))));
}

#[test]
fn a_mass_absence_that_a_person_accepts_is_believed() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    scene.hear("a b c");
    scene.accept();
    assert_eq!((scene.members().as_str(), scene.mass()), (SIX, None), "after one absence");
    assert_eq!(scene.doubtful(), "d e f");
    scene.hear("a b c d");
    assert_eq!((scene.members().as_str(), scene.mass()), (SIX, None), "e and f are accepted");
    assert_eq!(scene.doubtful(), "e f");
    scene.hear("a b c d");
    assert_eq!(scene.members(), "a b c d");
    scene.hear("a b");
    assert_eq!(scene.mass(), Some((2, 4)), "the next one has to be accepted again");
    for _ in 0..ABSENCES {
        scene.hear("a b");
    }
    scene.accept();
    assert_eq!(scene.members(), "a b", "after many absences they leave at once");
}

#[test]
fn the_cluster_object_leaves_no_doubt_of_one_who_was_accepted_as_gone() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    scene.hear("a b c");
    scene.accept();
    assert_eq!(scene.doubtful(), "d e f");
    scene.declare("e", true);
    assert_eq!(scene.doubtful(), "d f");
    scene.declare("", false);
    scene.declare("e f", false);
    assert_eq!((scene.members(), scene.doubtful()), ("e f".into(), String::new()));
}

#[test]
fn a_changed_address_is_taken_over_and_two_may_change_places() {
    let mut scene = Scene::new("");
    scene.hear("a b c");
    let since = scene.now;
    scene.hear("a@x b c");
    assert_eq!(scene.members(), "a@x b c");
    scene.hear("a@b b@x c");
    assert_eq!(scene.members(), "a@b b@x c");
    let members = scene.follower.membership().members;
    assert_eq!(members[&AgentId::from("a")].since, since);
}

#[test]
fn an_address_is_taken_over_only_from_an_agent_that_is_gone() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    // `f` is missing, and other agents have its address and that of the next agent.
    for _ in 1..ABSENCES {
        let left_out = scene.hear("a b c d@e e@f");
        assert_eq!(scene.members(), SIX);
        let told = left_out.first.join("\n");
        assert!(told.contains("node e: its address http://f is still that of agent f"), "{told}");
        assert!(told.contains("node d: its address http://e is still that of agent e"), "{told}");
    }
    scene.hear("a b c d@e e@f");
    assert_eq!(scene.members(), "a b c d e", "now f is gone");
    scene.hear("a b c d@e e@f");
    assert_eq!(scene.members(), "a b c d@e e@f");
}

#[test]
fn a_node_that_can_not_be_used_is_neither_present_nor_absent() {
    let mut scene = Scene::new("");
    scene.hear(SIX);
    let without = "a b c d e";
    scene.hear(without);
    scene.hear(without);
    for _ in 0..10 {
        let at = scene.tick();
        let mut answer = nodes(without);
        answer.push(node("f", "nowhere"));
        let left_out = scene.follower.hear(Heard::Nodes(answer), at);
        assert_eq!((scene.members().as_str(), left_out.count), (SIX, 1));
    }
    scene.hear(without);
    assert_eq!(scene.members(), without, "it is the third absence");
}

#[test]
fn agents_of_the_cluster_object_count_over_discovered_ones() {
    let mut scene = Scene::new("a@own s");
    scene.hear("a b c@s");
    assert_eq!(scene.members(), "a@own b s", "by identifier and by address");
    for _ in 0..10 {
        scene.hear("b");
    }
    assert_eq!((scene.members().as_str(), scene.mass()), ("a@own b s", None));
    let members = scene.follower.membership().members;
    assert_eq!(members[&AgentId::from("a")].source, Source::Declared);
    assert_eq!(members[&AgentId::from("b")].source, Source::Discovered);
}

#[test]
fn members_are_taken_in_the_order_of_the_cluster_object_and_then_by_identifier() {
    let mut scene = Scene::new("z m node-10 node-2");
    scene.hear("b a y");
    let members = in_order(&scene.follower.membership().members);
    let order: Vec<String> = members.into_iter().map(|(id, _)| id.0).collect();
    assert_eq!(order, ["z", "m", "node-10", "node-2", "a", "b", "y"]);
    let before = scene.follower.membership().members;
    scene.declare("m z node-10 node-2", true);
    let after = scene.follower.membership().members;
    assert_eq!(in_order(&after)[0].0.as_str(), "m");
    assert!(difference(&before, &after).is_empty(), "another order is no change of members");
}

#[test]
fn an_applied_cluster_counts_at_once() {
    let mut scene = Scene::new("a b");
    scene.hear("a c");
    scene.declare("b@x d", true);
    assert_eq!(scene.members(), "a b@x c d", "the platform knows of a");
    scene.declare("d", true);
    assert_eq!(scene.members(), "a c d");
    scene.declare("d", false);
    assert_eq!(scene.members(), "d");
    let at = scene.tick();
    scene.follower.hear(Heard::Nodes(nodes("a c")), at);
    assert_eq!(scene.members(), "d", "an answer that was on its way");
    assert_eq!(scene.follower.membership().last_answer, None);
}

#[test]
fn another_platform_is_asked_before_all_is_known_and_nobody_leaves_with_the_old_one() {
    let mut scene = Scene::new("s");
    scene.hear(SIX);
    let mut object = cluster("s", true);
    object.discovery.as_mut().unwrap().interval = Millis::from_secs(99);
    scene.follower.declare(&object, START);
    assert_eq!(scene.follower.membership().phase, Phase::Settled, "it is the same platform");
    object.discovery.as_mut().unwrap().cluster = "d".to_owned();
    scene.follower.declare(&object, START);
    let now = scene.follower.membership();
    assert_eq!((now.phase, now.last_answer), (Phase::Asking, None));
    scene.hear("x y");
    assert_eq!((scene.members().as_str(), scene.mass()), ("a b c d e f s x y", Some((6, 8))));
}

#[test]
fn what_a_run_knows_is_doubted_as_what_a_platform_told() {
    let mut scene = Scene { follower: Follower::new(), now: START };
    scene.know(SIX);
    assert_eq!(scene.follower.membership().phase, Phase::Reading);
    scene.declare("s", true);
    assert_eq!((scene.members(), scene.doubtful()), ("a b c d e f s".into(), SIX.into()));
    assert_eq!(scene.follower.membership().phase, Phase::Asking);
    for _ in 1..ABSENCES {
        scene.hear("a b c d e@x");
        assert_eq!((scene.members().as_str(), scene.mass()), ("a b c d e@x f s", None));
        assert_eq!(scene.doubtful(), "f");
    }
    scene.know("e f g@x");
    assert_eq!(scene.members(), "a b c d e@x f s", "e is at the address of g");
    scene.hear("a b c d e@x");
    assert_eq!((scene.members(), scene.doubtful()), ("a b c d e@x s".into(), String::new()));
    // A run that is taken over later knows an agent that is gone here.
    scene.know("f g");
    assert_eq!(scene.members(), "a b c d e@x f g s");
    scene.hear("a b c d e@x g");
    assert_eq!(scene.doubtful(), "f");
    scene.declare("f s", true);
    assert_eq!(scene.doubtful(), "", "the Cluster object leaves no doubt");
    // Without a platform only the Cluster object counts.
    scene.declare("s", false);
    scene.know("y z");
    assert_eq!(
        (scene.members().as_str(), scene.follower.membership().phase),
        ("s", Phase::Settled)
    );
    assert_eq!(scene.doubtful(), "");
}

#[test]
fn a_platform_with_ever_new_names_fills_no_memory() {
    let mut scene = Scene::new("");
    let many = |prefix: &str, count: usize| {
        let nodes =
            (0..count).map(|n| node(&format!("{prefix}{n}"), &format!("http://{prefix}{n}")));
        Heard::Nodes(nodes.collect())
    };
    let at = scene.tick();
    assert_eq!(scene.follower.hear(many("a", MAX_FOUND), at).count, 0);
    let left_out = scene.follower.hear(many("b", 10), at);
    assert_eq!((left_out.count, left_out.first.len()), (10, MAX_TOLD));
    assert!(left_out.first[0].contains("more than 100000 agents are known"), "{left_out:?}");
    assert_eq!(scene.follower.membership().members.len(), MAX_FOUND);
}

#[test]
fn class_and_group_are_attributes_and_their_change_is_no_move() {
    let mut scene = Scene::new("");
    let classed = |class: &str| {
        Heard::Nodes(vec![PlatformNode {
            node_class: Some(class.to_owned()),
            node_group: Some("eu".to_owned()),
            ..node("a", "http://a")
        }])
    };
    scene.follower.hear(classed("small"), START);
    let before = scene.follower.membership().members;
    let attributes = json!(before[&AgentId::from("a")].attributes);
    assert_eq!(attributes, json!({"node_class": "small", "node_group": "eu"}));
    scene.follower.hear(classed("large"), START);
    let after = scene.follower.membership().members;
    assert_eq!(after[&AgentId::from("a")].attributes["node_class"], "large");
    assert!(difference(&before, &after).is_empty());
}

#[test]
fn a_member_that_is_told_at_the_address_of_a_declared_agent_stays() {
    let mut scene = Scene::new("s");
    scene.hear("a b");
    for _ in 0..2 * ABSENCES {
        let left_out = scene.hear("a@s b");
        assert!(left_out.first[0].contains("is that of a declared agent"), "{left_out:?}");
        assert_eq!(scene.members(), "a b s");
    }
    scene.hear("a@x b");
    assert_eq!(scene.members(), "a@x b s");
}

#[test]
fn a_declared_agent_has_what_its_platform_tells_below_what_its_object_says() {
    let mut scene = Scene::new("s t");
    let mut object = cluster("s t", true);
    object.agents[0].attributes.insert("node_group".to_owned(), json!("mine"));
    scene.follower.declare(&object, START);
    let grouped = |id: &str| PlatformNode {
        node_class: Some("m5".to_owned()),
        node_group: Some("theirs".to_owned()),
        ..node(id, &format!("http://{id}"))
    };
    let told = || Heard::Nodes(vec![grouped("s"), grouped("t")]);
    scene.follower.hear(told(), START);
    let members = scene.follower.membership().members;
    let of = |id: &str| Value::Object(members[&AgentId::from(id)].attributes.clone());
    assert_eq!(of("s"), json!({"node_class": "m5", "node_group": "mine"}));
    assert_eq!(of("t"), json!({"node_class": "m5", "node_group": "theirs"}));
    scene.follower.hear(told(), START);
    assert!(Arc::ptr_eq(&members, &scene.follower.membership().members), "nothing is new");
}

#[test]
fn agents_are_compared_with_the_cluster_that_the_object_or_the_platform_names() {
    let mut scene = Scene::new("a");
    scene.hear("b");
    let of = |scene: &Scene| -> Vec<Option<String>> {
        let members = scene.follower.membership().members;
        members.values().map(|agent| agent.identity.cluster_id().map(str::to_owned)).collect()
    };
    assert_eq!(of(&scene), [Some("c".to_owned()), Some("c".to_owned())], "that of the platform");
    let named = Cluster { cluster_id: Some("rs0".to_owned()), ..cluster("a", true) };
    scene.follower.declare(&named, START);
    assert_eq!(of(&scene), [Some("rs0".to_owned()), Some("rs0".to_owned())]);
    let mut alone = cluster("a", false);
    scene.follower.declare(&alone, START);
    assert_eq!(of(&scene), [None], "nothing is known of it");
    alone.cluster_id = Some("rs1".to_owned());
    alone.agents[0].identity = crate::playbook::Identity::Ignore;
    scene.follower.declare(&alone, START);
    assert_eq!(of(&scene), [None], "it is ignored");
}
