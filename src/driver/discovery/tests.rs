//! Followers in virtual time, over the memory store and platforms that the test controls.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::agent::platform::FakePlatforms;
use crate::clock::{Clock, TokioClock};
use crate::playbook::parse_cluster;
use crate::run::{AgentId, MassAbsence, Members, Millis, Outcome, Timestamp};
use crate::store::memory::{Damaged, FaultMoment};
use crate::store::{Cluster, MemoryStore, Store, StoreError, StoreOptions};

const URL: &str = "http://platform";
const INTERVAL: Millis = Millis::from_secs(10);
const SECOND: Millis = Millis::from_secs(1);

struct Scene {
    clock: Arc<dyn Clock>,
    store: Arc<MemoryStore>,
    platforms: FakePlatforms,
    followers: Followers,
}

impl Scene {
    /// A cluster `c` with these agents, which takes further members from the platform's cluster `p`.
    async fn new(agents: &[&str]) -> Self {
        let start = Timestamp::from_millis(1_000_000);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let store = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        let platforms = FakePlatforms::new(clock.clone());
        let followers = Followers::new(Arc::new(platforms.clone()), store.clone(), clock.clone());
        let scene = Self { clock, store, platforms, followers };
        scene.apply(agents, Some(URL)).await;
        scene
    }

    async fn apply(&self, agents: &[&str], url: Option<&str>) {
        let agents: Vec<_> = agents.iter().map(|id| json!({"id": id, "address": at(id)})).collect();
        let mut spec = json!({"agents": agents});
        if let Some(url) = url {
            spec["discovery"] = json!({"url": url, "cluster": "p", "interval": "10s"});
        }
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": spec,
        });
        let text = text.to_string();
        let spec = parse_cluster(text.as_bytes()).unwrap();
        let cluster = Cluster { text, spec, applied_at: self.clock.now() };
        self.store.put_cluster(&cluster).await.unwrap();
    }

    fn tell(&self, ids: &[&str]) {
        let nodes: Vec<(&str, String)> = ids.iter().map(|id| (*id, at(id))).collect();
        let nodes: Vec<(&str, &str)> = nodes.iter().map(|(id, at)| (*id, at.as_str())).collect();
        self.platforms.set(URL, "p", &nodes);
    }

    async fn follow(&self) -> Following {
        self.followers.follow("c", Vec::new()).await
    }

    async fn wait(&self, length: Millis) {
        self.clock.sleep(length.to_std()).await;
    }
}

fn at(id: &str) -> String {
    format!("http://{id}")
}

fn ids(members: &Members) -> String {
    members.keys().map(AgentId::as_str).collect::<Vec<_>>().join(" ")
}

fn now(following: &mut Following) -> String {
    ids(&following.now().membership.members)
}

#[tokio::test(start_paused = true)]
async fn a_change_of_membership_is_seen_within_the_interval_and_a_second() {
    let scene = Scene::new(&[]).await;
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let stay: Vec<&str> = names.iter().map(String::as_str).collect();
    scene.tell(&stay);
    // A platform that takes most of a second to answer.
    scene.platforms.set_latency(URL, Millis(900));
    let mut following = scene.follow().await;
    following.clone().members().await.unwrap();
    for (round, shift) in (0..20).zip((0..).step_by(777)) {
        scene.wait(Millis(shift)).await;
        let joined = format!("new-{round}");
        let mut nodes = stay.clone();
        nodes.push(&joined);
        scene.tell(&nodes);
        let took = until(&scene, &mut following, |members| members.contains(&joined)).await;
        assert!(took.0 <= INTERVAL.0 + SECOND.0, "{took:?}");
    }
    // An agent that leaves is believed to be gone after three answers.
    scene.tell(&stay);
    let took = until(&scene, &mut following, |members| !members.contains("new")).await;
    assert!(took.0 <= 3 * INTERVAL.0 + SECOND.0, "{took:?}");
}

/// How long it takes until the members are as wanted.
async fn until(scene: &Scene, following: &mut Following, wanted: impl Fn(&str) -> bool) -> Millis {
    let since = scene.clock.now();
    while !wanted(&now(following)) {
        let passed = scene.clock.now().since(since);
        assert!(passed < Millis::from_secs(600), "{}", now(following));
        following.changed().await;
    }
    scene.clock.now().since(since)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_can_not_be_read_is_said_to_who_waits_for_its_members() {
    let scene = Scene::new(&["s"]).await;
    scene.apply(&["s"], None).await;
    for was_known in [false, true] {
        let following = scene.follow().await;
        if was_known {
            following.clone().members().await.unwrap();
        }
        scene.store.damage(Damaged::Cluster("c".to_owned()));
        let from = scene.clock.now();
        let error = following.clone().members().await.unwrap_err();
        assert!(error.contains("a cluster (c) in the store is damaged"), "{error}");
        assert!(error.contains("apply the cluster again"), "{error}");
        assert!(scene.clock.now().since(from) <= Millis::from_secs(30));
        // A store that does not answer makes the start wait instead.
        scene.store.faults().fail_calls(FaultMoment::Before);
        let waiting = tokio::spawn(following.clone().members());
        scene.wait(Millis::from_secs(60)).await;
        assert!(!waiting.is_finished());
        scene.store.faults().heal();
        assert!(waiting.await.unwrap().unwrap_err().contains("is damaged"));
        scene.apply(&["s"], None).await;
        assert_eq!(ids(&following.members().await.unwrap().members), "s");
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_listen_share_one_follower_and_the_last_one_ends_it() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    let mut first = scene.follow().await;
    let second = scene.follow().await;
    let members = second.clone().members().await.unwrap().members;
    assert_eq!(ids(&members), "a s");
    assert_eq!(now(&mut first), "a s");
    scene.wait(Millis(INTERVAL.0 * 10 + 1)).await;
    let asked = scene.platforms.asked(URL).len();
    assert_eq!(asked, 11, "once for each interval");
    drop((first, second));
    scene.wait(Millis(INTERVAL.0 * 10)).await;
    assert_eq!(scene.platforms.asked(URL).len(), asked);
    // The next follower begins anew.
    scene.tell(&["b"]);
    assert_eq!(ids(&scene.follow().await.members().await.unwrap().members), "b s");
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_fails_is_asked_ever_more_rarely_and_changes_nobody() {
    let scene = Scene::new(&[]).await;
    scene.tell(&["a", "b"]);
    let mut following = scene.follow().await;
    following.clone().members().await.unwrap();
    scene.platforms.fail(URL, Some("connection reset"));
    let before = scene.platforms.asked(URL).len();
    scene.wait(Millis::from_secs(600)).await;
    let asked = scene.platforms.asked(URL).len() - before;
    assert!((14..30).contains(&asked), "{asked} questions in ten minutes");
    assert_eq!(now(&mut following), "a b");
    let Some(Outcome::Failed { message }) =
        following.now().membership.last_answer.map(|last| last.outcome)
    else {
        panic!("expected a failure")
    };
    assert!(message.ends_with("failed to get an answer from http://platform: connection reset"));
    scene.platforms.fail(URL, None);
    scene.tell(&["a", "b", "c"]);
    scene.wait(Millis::from_secs(61)).await;
    assert_eq!(now(&mut following), "a b c");
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_hangs_is_given_up_and_holds_up_nothing() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    scene.platforms.set_latency(URL, Millis::from_secs(3_600));
    let mut following = scene.follow().await;
    scene.wait(SECOND).await;
    scene.apply(&["s", "t"], Some(URL)).await;
    scene.wait(Millis(LOOK.0 + 100)).await;
    assert_eq!(now(&mut following), "s t");
    let start = scene.clock.now();
    let error = following.members().await.unwrap_err();
    assert_eq!(
        error,
        "the platform at http://platform told no members of its cluster p within 30 s: \
         http://platform gave no answer within 10 s"
    );
    assert_eq!(scene.clock.now().since(start), Millis::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_start_needs_a_good_answer_and_waits_for_it() {
    let scene = Scene::new(&["s"]).await;
    scene.platforms.set(URL, "other", &[]);
    let following = scene.follow().await;
    let error = following.clone().members().await.unwrap_err();
    assert!(error.ends_with("p within 30 s: it does not know the cluster"), "{error}");
    // The platform comes back while the start waits.
    let late = async {
        scene.wait(Millis::from_secs(8)).await;
        scene.tell(&["a"]);
    };
    let (members, ()) = tokio::join!(following.clone().members(), late);
    assert_eq!(ids(&members.unwrap().members), "a s");
    // Members that are known, but not confirmed by the last answer, do not suffice.
    scene.platforms.fail(URL, Some("no"));
    scene.wait(INTERVAL).await;
    let error = following.clone().members().await.unwrap_err();
    assert!(error.ends_with("failed to get an answer from http://platform: no"), "{error}");
    scene.store.delete_cluster("c").await.unwrap();
    assert_eq!(following.members().await.unwrap_err(), "cluster c does not exist");
}

#[tokio::test(start_paused = true)]
async fn a_start_asks_a_platform_anew_that_failed_before() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    scene.platforms.fail(URL, Some("no"));
    let following = scene.follow().await;
    // By now the platform is asked once a minute.
    scene.wait(Millis::from_secs(600)).await;
    scene.platforms.fail(URL, None);
    let start = scene.clock.now();
    let members = following.clone().members().await.unwrap().members;
    assert_eq!(ids(&members), "a s");
    assert!(scene.clock.now().since(start) <= Millis::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_asking_a_platform_that_comes_back_a_little_later() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    scene.platforms.fail(URL, Some("no"));
    let following = scene.follow().await;
    scene.wait(Millis::from_secs(600)).await;
    let heal = async {
        scene.wait(Millis::from_secs(20)).await;
        scene.platforms.fail(URL, None);
    };
    let start = scene.clock.now();
    let (members, ()) = tokio::join!(following.members(), heal);
    assert_eq!(ids(&members.unwrap().members), "a s");
    assert!(scene.clock.now().since(start) <= Millis::from_secs(22));
}

#[tokio::test(start_paused = true)]
async fn members_from_before_are_known_as_soon_as_they_are_told() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    let _first = scene.follow().await.members().await.unwrap();
    let known = vec![(AgentId::from("b"), at("b"))];
    let mut following = scene.followers.follow("c", known).await;
    scene.wait(INTERVAL).await;
    assert!(now(&mut following).contains('b'), "one answer makes nobody disappear");
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_is_seen_and_a_start_sees_it_at_once() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    let mut following = scene.follow().await;
    following.clone().members().await.unwrap();
    scene.apply(&["s", "t"], Some(URL)).await;
    assert_eq!(ids(&following.clone().members().await.unwrap().members), "a s t");
    scene.apply(&["u"], Some(URL)).await;
    scene.wait(Millis(LOOK.0 + 1)).await;
    assert_eq!(now(&mut following), "a u");
    // The cluster changes to another platform, and then to none.
    let other = "http://other";
    scene.platforms.set(other, "p", &[("a", "http://a"), ("b", "http://b")]);
    scene.apply(&["u"], Some(other)).await;
    scene.followers.changed("c");
    scene.wait(Millis(10)).await;
    assert_eq!((now(&mut following).as_str(), scene.platforms.asked(other).len()), ("a b u", 1));
    scene.apply(&["u"], None).await;
    assert_eq!(ids(&following.clone().members().await.unwrap().members), "u");
    // Removing the object leaves everything as it was.
    scene.store.delete_cluster("c").await.unwrap();
    scene.wait(Millis::from_secs(60)).await;
    assert_eq!(now(&mut following), "u");
    assert!(following.now().missing);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    scene.store.faults().fail_calls(FaultMoment::Before);
    let following = scene.follow().await;
    let heal = async {
        scene.wait(Millis::from_secs(120)).await;
        scene.store.faults().heal();
    };
    let (members, ()) = tokio::join!(following.members(), heal);
    assert_eq!(ids(&members.unwrap().members), "a s");
}

#[tokio::test(start_paused = true)]
async fn members_from_before_are_doubted_and_a_person_may_accept_that_they_are_gone() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    let known = ["a", "b", "c", "d"].map(|id| (AgentId::from(id), at(id)));
    let mut following = scene.followers.follow("c", known.to_vec()).await;
    scene.wait(Millis(INTERVAL.0 * 5)).await;
    let mass = following.now().membership.mass_absence.unwrap();
    assert_eq!((mass.absent, mass.known), (3, 4));
    assert_eq!(now(&mut following), "a b c d s");
    // Somebody accepts an absence as it was before.
    following.accept(MassAbsence { absent: 2, known: 4 }).await;
    scene.wait(Millis(INTERVAL.0 * 2)).await;
    assert_eq!(following.now().membership.mass_absence, Some(mass));
    following.accept(mass).await;
    following.changed().await;
    assert_eq!(
        (now(&mut following).as_str(), following.now().membership.mass_absence),
        ("a s", None)
    );
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_asks_once_for_a_while() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    assert!(scene.followers.agents("nothing").await.unwrap().is_none());
    for _ in 0..5 {
        let known = scene.followers.agents("c").await.unwrap().unwrap();
        assert_eq!((ids(&known.view.membership.members).as_str(), known.followed), ("a s", false));
        assert_eq!(known.view.discovery.unwrap().url, URL);
    }
    assert_eq!(scene.platforms.asked(URL).len(), 1);
    scene.wait(Millis::from_secs(5)).await;
    scene.platforms.set_latency(URL, SECOND);
    let many = (0..50).map(|_| scene.followers.agents("c"));
    let answers = futures::future::join_all(many).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_some()));
    assert_eq!(scene.platforms.asked(URL).len(), 2, "one asks for all");
    scene.platforms.set_latency(URL, Millis(0));
    scene.wait(Millis::from_secs(5)).await;
    scene.platforms.fail(URL, Some("no"));
    let known = scene.followers.agents("c").await.unwrap().unwrap();
    assert_eq!(ids(&known.view.membership.members), "s");
    assert!(matches!(known.view.membership.last_answer.unwrap().outcome, Outcome::Failed { .. }));
    // An answer that comes while the object is changed is returned once, and not kept.
    scene.wait(Millis::from_secs(5)).await;
    scene.platforms.set_latency(URL, SECOND);
    let change = async {
        scene.wait(Millis(500)).await;
        scene.apply(&["t"], Some(URL)).await;
        scene.followers.changed("c");
    };
    let (before, ()) = tokio::join!(scene.followers.agents("c"), change);
    assert_eq!(ids(&before.unwrap().unwrap().view.membership.members), "s");
    let after = scene.followers.agents("c").await.unwrap().unwrap();
    assert_eq!(ids(&after.view.membership.members), "t");
    scene.platforms.set_latency(URL, Millis(0));
    // While the cluster is followed, no question is needed.
    scene.platforms.fail(URL, None);
    let following = scene.follow().await;
    following.clone().members().await.unwrap();
    let asked = scene.platforms.asked(URL).len();
    assert!(scene.followers.agents("c").await.unwrap().unwrap().followed);
    assert_eq!(scene.platforms.asked(URL).len(), asked);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_slowly_is_waited_for() {
    let scene = Scene::new(&[]).await;
    scene.tell(&["a", "b"]);
    // Longer than the start of a run waits for an answer to begin.
    scene.platforms.set_slow(URL, Millis::from_secs(100));
    let following = scene.follow().await;
    let since = scene.clock.now();
    let membership = following.members().await.unwrap();
    assert_eq!(ids(&membership.members), "a b");
    assert_eq!(scene.clock.now().since(since), Millis::from_secs(100));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_that_comes_slowly_is_told_how_long_that_was() {
    let scene = Scene::new(&[]).await;
    scene.platforms.fail(URL, Some("no"));
    scene.platforms.set_slow(URL, Millis::from_secs(100));
    let following = scene.follow().await;
    let since = scene.clock.now();
    let error = following.members().await.unwrap_err();
    let seconds = scene.clock.now().since(since).0 / 1_000;
    assert!(seconds > 100, "{seconds} s");
    assert!(error.contains(&format!(" within {seconds} s: ")), "{error}, after {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_waits_for_no_answer_longer_than_for_its_beginning() {
    let scene = Scene::new(&["s"]).await;
    scene.tell(&["a"]);
    let looked = async || {
        let since = scene.clock.now();
        let known = scene.followers.agents("c").await.unwrap().unwrap();
        let Some(Outcome::Failed { message }) =
            known.view.membership.last_answer.map(|answer| answer.outcome)
        else {
            panic!("expected a failure");
        };
        assert_eq!(ids(&known.view.membership.members), "s");
        assert_eq!(scene.clock.now().since(since).to_std(), PLATFORM_TIMEOUT);
        message
    };
    scene.platforms.set_slow(URL, Millis::from_secs(100));
    assert_eq!(looked().await, "http://platform did not send all of its answer within 10 s");
    scene.wait(Millis::from_secs(5)).await;
    scene.platforms.set_latency(URL, Millis::from_secs(100));
    assert_eq!(looked().await, "http://platform gave no answer within 10 s");
}

#[test]
fn only_what_is_mended_by_that_is_to_be_applied_anew() {
    let newer = StoreError::NewerSchema { found: 9, known: 1 };
    assert_eq!(
        task::advice(&newer),
        "the store has schema version 9; this version knows at most 1"
    );
}
