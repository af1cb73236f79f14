//! How the store asks MongoDB: no question scans a collection, and a commit takes two round trips.

use std::sync::{Arc, Mutex};

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use replibook_core::playbook::Concurrency;
use replibook_core::run::{
    AgentId, AgentSeq, AgentState, EngineId, LogLevel, OldLines, RunStatus, Timestamp,
};
use replibook_store::mongodb::MongoOptions;
use replibook_store::{
    Claim, LogCursor, MAX_PAGE, MAX_QUEUED, MongoStore, Object, Plugin, RunFilter, Store,
};

use crate::backends::{ManualClock, options};
use crate::samples::{
    cluster, command, key, line, new_run, new_run_on, one_of_each, page, playbook, plugin,
    put_clusters, run_id,
};
use crate::server::Database;

/// Commands that were sent, in order.
type Sent = Arc<Mutex<Vec<(String, Document)>>>;

async fn watched(database: &Database) -> (MongoStore, Sent) {
    let sent = Sent::default();
    let watch = sent.clone();
    let mut mongo = MongoOptions::new(database.address());
    mongo.time = replibook_store::mongodb::TimeSource::Clock;
    mongo.watch = Some(Arc::new(move |name: &str, command: &Document| {
        watch.lock().unwrap().push((name.to_owned(), command.clone()));
    }));
    let store = MongoStore::open(&mongo, options(), ManualClock::new()).await.unwrap();
    (store, sent)
}

#[tokio::test]
async fn a_commit_is_two_round_trips() {
    let database = Database::new();
    let (store, sent) = watched(&database).await;
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let lease = store.claim(&EngineId("e".to_owned()), 1).await.unwrap().remove(0);
    sent.lock().unwrap().clear();
    store.commit(lease.run, lease.epoch, &one_of_each(lease.run)).await.unwrap();
    let sent = sent.lock().unwrap();
    let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
    // An older server needs one command for each kind of document.
    let old = ["update", "update", "update", "update", "update", "update", "commitTransaction"];
    assert!(names == ["bulkWrite", "commitTransaction"] || names == old, "{names:?}");
}

/// Asks every question that a store can ask, in each of its forms.
async fn ask_everything(store: &MongoStore) {
    let run = run_id(1);
    let (plugin, bytes) = plugin(1);
    let sample = playbook("restart", "1.0.0", &[&plugin]);
    let engine = EngineId("e".to_owned());
    store.put_plugin(&plugin, bytes).await.unwrap();
    let (unpinned, bytes) = crate::samples::plugin(2);
    let unpinned = Plugin { unpinned_at: Some(Timestamp::default()), ..unpinned };
    store.put_plugin(&unpinned, bytes).await.unwrap();
    store.put_playbook(&sample).await.unwrap();
    store.put_cluster(&cluster("a", "")).await.unwrap();
    let all = [Object::Playbook(sample.clone()), Object::Cluster(cluster("elsewhere", ""))];
    store.put_all(&all).await.unwrap();
    put_clusters(store).await;
    let mut new = new_run(1);
    new.idempotency_key = Some("key".to_owned());
    store.create_run(&new).await.unwrap();
    let lease = store.claim(&engine, 10).await.unwrap().remove(0);
    store.renew(&engine).await.unwrap();
    store.lock_cluster(run, lease.epoch).await.unwrap();
    store.queues(&["mongo-eu", "a"].map(str::to_owned)).await.unwrap();
    store.heads(&[run, run_id(2)]).await.unwrap();
    let lines = OldLines { level: LogLevel::Info, from: 0, to: 9, last: 9 };
    store.forget_lines(run, lease.epoch, &lines).await.unwrap();
    let rejecting = new_run_on("elsewhere", 50, Concurrency::Reject, RunStatus::Pending);
    store.create_run(&rejecting).await.unwrap();
    store.commit(run, lease.epoch, &one_of_each(run)).await.unwrap();
    store.submit(&command(2, run, lease.until)).await.unwrap();

    let digest = &plugin.info.digest;
    store.playbook("restart", None).await.unwrap();
    store.playbook("restart", Some(&sample.playbook.version)).await.unwrap();
    for after in [None, Some("a@1.0.0")] {
        store.playbooks(&page(after, 10)).await.unwrap();
    }
    for after in [None, Some("a")] {
        store.clusters(&page(after, 10)).await.unwrap();
    }
    for after in [None, Some(digest.as_str())] {
        store.plugins(&page(after, 10)).await.unwrap();
    }
    store.cluster("a").await.unwrap();
    store.plugin(digest).await.unwrap();
    store.plugin_bytes(digest).await.unwrap();
    store.plugin_by_name("plugin-1", "1.0.0").await.unwrap();
    store.delete_plugin(digest).await.unwrap_err();
    store.renew_plugins(std::slice::from_ref(digest)).await.unwrap();
    let text = run.to_string();
    for filter in every_filter() {
        for after in [None, Some(text.as_str())] {
            store.runs(&filter, &page(after, 10)).await.unwrap();
        }
    }
    store.newest_runs(None, 10).await.unwrap();
    store.run(run).await.unwrap();
    store.run_of_request("key", &new.request).await.unwrap();
    store.delete_cluster("mongo-eu").await.unwrap_err();
    for after in [None, Some(AgentSeq(3))] {
        store.records(run, None, after, 10).await.unwrap();
        store.records(run, Some(AgentState::Done), after, 10).await.unwrap();
    }
    let agent = AgentId::from("node-0");
    store.record(run, &agent).await.unwrap();
    for after in [None, Some(key(0, 0, 1))] {
        store.journals(run, None, after, 10).await.unwrap();
        store.journals(run, Some(AgentSeq(0)), after, 10).await.unwrap();
    }
    for after in [None, Some(LogCursor::of(&line(run, 1, Some(0), 0)))] {
        store.logs(run, None, after.as_ref(), 10).await.unwrap();
        store.logs(run, Some(&agent), after.as_ref(), 10).await.unwrap();
    }
    store.events(run, 3, 10).await.unwrap();
    store.command(command(2, run, lease.until).id).await.unwrap();
    store.waiting_commands(&engine, 10).await.unwrap();
    store.unanswered(run).await.unwrap();
    store.wake().await.unwrap();
    let woken = Claim { limit: 10, only_woken: true, ..Claim::default() };
    store.claim_some(&engine, &woken).await.unwrap();
    store.stamp(run, lease.epoch, lease.until).await.unwrap();
    store.release(run, lease.epoch).await.unwrap();
    store.delete_playbook("restart", &sample.playbook.version).await.unwrap();
    let swept = store.sweep_plugins(9).await.unwrap().unwrap();
    assert_eq!((swept.looked_at, swept.removed), (2, vec![unpinned.info.digest]));
    store.delete_plugin(digest).await.unwrap();
    store.delete_cluster("a").await.unwrap();
}

/// Every combination of filters by which runs can be listed.
fn every_filter() -> Vec<RunFilter> {
    let mut filters = Vec::new();
    for cluster in [None, Some("mongo-eu".to_owned())] {
        for statuses in [vec![], vec![RunStatus::Running], RunStatus::ALL.to_vec()] {
            for (playbook, version) in [(None, None), (Some(()), None), (Some(()), Some(()))] {
                for from in [None, Some(run_id(1))] {
                    filters.push(RunFilter {
                        cluster: cluster.clone(),
                        statuses: statuses.clone(),
                        playbook: playbook.map(|()| "restart".to_owned()),
                        version: version.map(|()| "1.0.0".parse().unwrap()),
                        from,
                        seen: None,
                    });
                }
            }
        }
    }
    filters
}

/// An index covers all that the filter asks for, so the server reads no run that does not fit.
#[tokio::test]
async fn a_page_of_runs_reads_those_that_fit_and_no_others() {
    let database = Database::new();
    let (store, sent) = watched(&database).await;
    put_clusters(&store).await;
    for n in 1..30 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    let raw = database.open().await;
    for filter in every_filter() {
        sent.lock().unwrap().clear();
        store.runs(&filter, &page(None, 10)).await.unwrap();
        let sent: Vec<_> = std::mem::take(&mut *sent.lock().unwrap());
        let questions: Vec<_> = sent.iter().flat_map(|(name, c)| questions(name, c)).collect();
        let [question] = questions.as_slice() else { panic!("{questions:?}") };
        let plan = raw.run_command(doc! { "explain": question }).await.unwrap();
        // The rest of the answer is about plans that were only tried.
        let winning = plan.get_document("queryPlanner").unwrap().get("winningPlan").unwrap();
        let (mut stages, mut keys) = (Vec::new(), Vec::new());
        collect_stages(winning, &mut stages);
        collect_keys(winning, &mut keys);
        assert!(!stages.iter().any(|stage| stage == "SORT"), "{filter:?}: {plan}");
        // If all statuses fit, an index without the status is as good.
        let any_status = filter.statuses.len() == RunStatus::ALL.len();
        let wanted = [
            ("cluster", filter.cluster.is_some()),
            ("status", !filter.statuses.is_empty()),
            ("snapshot.playbook.name", filter.playbook.is_some()),
            ("snapshot.playbook.version", filter.version.is_some()),
        ];
        assert!(!keys.is_empty(), "{filter:?}: {plan}");
        for key in &keys {
            for (field, is_wanted) in wanted {
                let may_differ = any_status && field == "status";
                let found = key.contains_key(field);
                assert!(may_differ || found == is_wanted, "{filter:?}: {key}: {plan}");
            }
        }
    }
}

/// The keys of the indexes that a plan uses.
fn collect_keys(plan: &Bson, keys: &mut Vec<Document>) {
    for item in plan.as_array().into_iter().flatten() {
        collect_keys(item, keys);
    }
    for (key, value) in plan.as_document().into_iter().flatten() {
        if let ("keyPattern", Bson::Document(found)) = (key.as_str(), value) {
            keys.push(found.clone());
        }
        collect_keys(value, keys);
    }
}

#[tokio::test]
async fn no_question_scans_a_collection() {
    let database = Database::new();
    let (store, sent) = watched(&database).await;
    put_clusters(&store).await;
    // So many other runs that looking at all of them would not be as good.
    for n in 2..30 {
        store.create_run(&new_run(n)).await.unwrap();
    }
    for lease in store.claim(&EngineId("other".to_owned()), 100).await.unwrap() {
        let mut writes = one_of_each(lease.run);
        writes.commands = vec![command(lease.run.0.as_u128() + 100, lease.run, lease.until)];
        store.commit(lease.run, lease.epoch, &writes).await.unwrap();
    }
    sent.lock().unwrap().clear();
    ask_everything(&store).await;

    let raw = database.open().await;
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    let mut asked = 0;
    for (name, command) in sent {
        for question in questions(&name, &command) {
            let plan = raw.run_command(doc! { "explain": &question }).await.unwrap();
            let mut stages = Vec::new();
            collect_stages(&Bson::Document(plan.clone()), &mut stages);
            assert!(!stages.is_empty(), "{question}: {plan}");
            // A page of a whole list, without any filter, uses an index too.
            if stages.iter().any(|stage| stage == "COLLSCAN") {
                let collection = question.values().next().and_then(Bson::as_str).unwrap();
                let indexes = raw.collection::<Document>(collection).list_index_names().await;
                panic!("{question}: {stages:?} in spite of {indexes:?}");
            }
            asked += 1;
        }
    }
    assert!(asked > 80, "only {asked} were looked at");
}

#[tokio::test]
async fn a_long_queue_costs_one_question_more_and_not_one_for_each_cluster() {
    const CLUSTERS: u128 = 40;
    let database = Database::new();
    let (store, sent) = watched(&database).await;
    put_clusters(&store).await;
    store.create_run(&new_run(1)).await.unwrap();
    let raw = database.open().await;
    let runs = raw.collection::<Document>("runs");
    let one = runs.find_one(doc! {}).await.unwrap().unwrap();
    let queued = |n: u128, cluster: String| {
        let bytes = run_id(n).0.into_bytes().to_vec();
        let id = Binary { subtype: BinarySubtype::Uuid, bytes };
        let mut run = one.clone();
        run.insert("_id", id);
        run.insert("cluster", cluster);
        run
    };
    let long = (2..u128::from(MAX_PAGE) + 7).map(|n| queued(n, "long".to_owned()));
    let others = (0..CLUSTERS).map(|n| queued(10_000 + n, format!("c-{n}")));
    runs.insert_many(long.chain(others)).await.unwrap();
    let names = (0..CLUSTERS).map(|n| format!("c-{n}")).chain(["long".to_owned()]);
    let names: Vec<_> = names.collect();
    sent.lock().unwrap().clear();
    let queues = store.queues(&names).await.unwrap();
    let questions = sent.lock().unwrap().iter().filter(|(name, _)| name == "find").count();
    // One question for the locks, one for the runs that hold them, and two pages of queued runs.
    assert!(questions <= 4, "{questions}");
    for (n, queue) in (0..CLUSTERS).zip(&queues) {
        assert_eq!(queue.queued, [run_id(10_000 + n)], "{}", queue.cluster);
    }
    let first: Vec<_> = (2..u128::from(MAX_QUEUED) + 4).map(run_id).collect();
    assert_eq!(queues.last().unwrap().queued, first);
}

/// The parts of a command that can be explained, without those that belong to its session.
fn questions(name: &str, command: &Document) -> Vec<Document> {
    let of = |names: &[&str]| {
        let known = |(key, _): &(&String, &Bson)| names.contains(&key.as_str());
        command.iter().filter(known).map(|(k, v)| (k.clone(), v.clone())).collect::<Document>()
    };
    match name {
        "find" => vec![of(&["find", "filter", "sort", "limit", "projection"])],
        "update" => vec![of(&["update", "updates"])],
        "delete" => vec![of(&["delete", "deletes"])],
        "findAndModify" => vec![of(&["findAndModify", "query", "sort", "update", "remove"])],
        "bulkWrite" => {
            let namespaces = command.get_array("nsInfo").unwrap();
            let ops = command.get_array("ops").unwrap().iter().filter_map(Bson::as_document);
            ops.map(|op| {
                let number = op.get_i32("update").unwrap();
                let namespace = namespaces[usize::try_from(number).unwrap()].as_document().unwrap();
                let collection = namespace.get_str("ns").unwrap().split_once('.').unwrap().1;
                let update = doc! { "q": op.get("filter"), "u": op.get("updateMods") };
                doc! { "update": collection, "updates": [update] }
            })
            .collect()
        }
        _ => vec![],
    }
}

fn collect_stages(plan: &Bson, stages: &mut Vec<String>) {
    for item in plan.as_array().into_iter().flatten() {
        collect_stages(item, stages);
    }
    for (key, value) in plan.as_document().into_iter().flatten() {
        if let (true, Bson::String(stage)) = (key == "stage", value) {
            stages.push(stage.clone());
        }
        // Plans that were considered and not chosen do not matter.
        if key != "rejectedPlans" {
            collect_stages(value, stages);
        }
    }
}
