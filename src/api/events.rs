//! `/api/v1/runs/{id}/events`: the history of a run, as pages or as a stream that follows the run.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;

use super::access::{Caller, Deed, withdrawn};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::follow::follow;
use super::limits::{EVENT_BYTES, STREAM_KEEP_ALIVE};
use super::pages::{List, page};
use super::params::{self, InPath, InQuery};
use super::runs;
use super::shapes::Limit;
use super::shares::Class;
use super::state::ApiState;
use super::weigh::Reads;
use super::wire::Listing;
use crate::run::{RunEvent, RunId};
use crate::web::Client;

const ALL: &str = "/api/v1/runs/{id}/events";
const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary =
        "Lists the events of a run; as `text/event-stream` it goes on until the run ends.";
    vec![
        Endpoint::get(ALL, "listEvents", summary, list)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .header::<u64>("Last-Event-ID", "For a stream: only what comes after this sequence.")
            .query::<u64>("after", "Only what comes after this sequence.")
            .query::<Limit>("limit", "How many items a page has at most; not for a stream.")
            .fails(&[Code::TooManyStreams])
            .answers::<Listing<RunEvent>>(
                200,
                "A page; or a stream, where `id` is the sequence, `event` the kind and `data` the \
                 event in JSON. It ends with an `end` whose data is the run, or with an `error` \
                 whose data is a problem.",
            )
            .or_as(EVENT_STREAM),
    ]
}

async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    InPath(run): InPath<RunId>,
    headers: HeaderMap,
    client: Option<Extension<Client>>,
    mut query: InQuery,
) -> Result<Response, ApiError> {
    let after: Option<u64> = query.take("after", "a whole number")?;
    if wants_stream(&headers) {
        query.finish()?;
        let after = last_event(&headers)?.or(after).unwrap_or(0);
        let client = client.map_or(Client::unknown(), |Extension(client)| client);
        return stream(state, caller, run, after, client).await;
    }
    let limit = query.limit()?;
    query.finish()?;
    let store = &state.store;
    let list = List {
        read: async |after: Option<u64>, limit| {
            Ok(store.read_events(run, after.unwrap_or(0), limit).await?)
        },
        key: |event: &RunEvent| event.seq.to_string(),
        view: |event| (event, 0),
        heaviest: EVENT_BYTES,
    };
    let page = page(&reads.0, after, limit, list).await?;
    runs::check_known(&state, run, page.is_empty).await?;
    Ok(page.into_response())
}

async fn stream(
    state: ApiState,
    caller: Caller,
    run: RunId,
    after: u64,
    client: Client,
) -> Result<Response, ApiError> {
    runs::look(&state, run).await?;
    let Some(place) = state.shares.take(Class::Stream, client) else {
        state.shares.refuse(Class::Stream, client);
        let detail = "too many event streams are open; read pages, or try again later";
        return Err(ApiError::new(Code::TooManyStreams, detail));
    };
    let of = caller.run_of(&state, run).await?;
    let withdrawn = withdrawn(state.clone(), caller, of.as_deref().cloned());
    let keep_alive = KeepAlive::new().interval(STREAM_KEEP_ALIVE).text("keep-alive");
    let reads = state.reads.of(client);
    let events = follow(state, run, after, place, reads).take_until(Box::pin(withdrawn));
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|text| text.split(','));
    types.any(|one| {
        let essence = one.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(EVENT_STREAM)
    })
}

/// The last event that a client saw before it lost its stream; it takes precedence over `after`.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(text) = params::header(headers, LAST_EVENT_ID)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let detail = format!("header `{LAST_EVENT_ID}`: found {text:?}, expected a whole number");
        ApiError::new(Code::BadHeader, detail)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::task::JoinHandle;

    use super::super::limits::{MAX_READS, MAX_STREAMS};
    use super::*;
    use crate::agent::platform::FakePlatforms;
    use crate::clock::{Clock, SystemClock, TokioClock};
    use crate::driver::{Followers, Signals};
    use crate::playbook::{Playbook, parse_cluster};
    use crate::plugin::{HostConfig, PluginHost};
    use crate::run::{Digest, Happened, Timestamp, new_run};
    use crate::store::{Cluster, MemoryStore, NewRun, Store, StoreOptions};

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_stream_is_given_to_those_who_accept_it() {
        for yes in ["text/event-stream", "text/html, TEXT/event-stream;q=0.9"] {
            assert!(wants_stream(&headers("accept", yes)), "{yes}");
        }
        for no in ["application/json", "*/*", "text/*"] {
            assert!(!wants_stream(&headers("accept", no)), "{no}");
        }
        assert!(!wants_stream(&HeaderMap::new()));
    }

    #[test]
    fn the_last_event_is_a_number() {
        assert_eq!(last_event(&headers(LAST_EVENT_ID, "17")).unwrap(), Some(17));
        assert_eq!(last_event(&headers(LAST_EVENT_ID, "")).unwrap(), None);
        assert_eq!(last_event(&headers(LAST_EVENT_ID, "x")).unwrap_err().code, Code::BadHeader);
    }

    /// A server with one run, which waits.
    async fn one_run(clock: Arc<dyn Clock>) -> (ApiState, Arc<MemoryStore>, RunId) {
        run_with(clock, &[]).await
    }

    /// A server with one run whose later events have `sizes` bytes.
    async fn run_with(
        clock: Arc<dyn Clock>,
        sizes: &[usize],
    ) -> (ApiState, Arc<MemoryStore>, RunId) {
        let store = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        let playbook: Playbook = serde_json::from_value(serde_json::json!({
            "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "params": {},
            "approval": "granted", "concurrency": "queue", "plugins": {}, "stages": [],
        }))
        .unwrap();
        let id = RunId(uuid::Uuid::from_u128(7));
        let now = Timestamp::from_millis(0);
        let (run, mut events) = new_run(id, &playbook, Default::default(), "eu", None, now);
        for (seq, bytes) in (2..).zip(sizes) {
            let what =
                Happened::Stage { stage: "x".repeat(*bytes), index: 0, selected: 0, once: false };
            events.push(RunEvent { seq, what, ..events[0].clone() });
        }
        let request = Digest::of(b"");
        let new = NewRun { run, events, idempotency_key: None, request };
        let text = r#"{"apiVersion": "replicante.io/v1", "kind": "Cluster",
            "metadata": {"name": "eu"}, "spec": {"agents": []}}"#;
        let spec = parse_cluster(text.as_bytes()).unwrap();
        store.put_cluster(&Cluster { text: text.to_owned(), spec, applied_at: now }).await.unwrap();
        store.create_run(&new).await.unwrap();
        let plugins =
            PluginHost::start(HostConfig { threads: Some(1), ..HostConfig::default() }).unwrap();
        let platforms = Arc::new(FakePlatforms::new(clock.clone()));
        let followers = Followers::new(platforms, store.clone(), clock.clone());
        let state = ApiState::new(store.clone(), plugins, Signals::new(), followers, clock);
        (state, store, id)
    }

    #[tokio::test]
    async fn a_stream_past_the_limit_is_refused_until_another_has_ended() {
        let (state, _, id) = one_run(Arc::new(SystemClock)).await;
        let of = |number: u8| Client::at(([10, 0, 0, number], 1).into());
        let mut open = Vec::new();
        let refused = loop {
            match stream(state.clone(), Caller::anybody(), id, 0, of(1)).await {
                Ok(one) => open.push(one),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.code, Code::TooManyStreams);
        assert!(open.len() < MAX_STREAMS, "one client has not all");
        while let Ok(one) = stream(state.clone(), Caller::anybody(), id, 0, of(2)).await {
            open.push(one);
        }
        assert_eq!(open.len(), MAX_STREAMS);
        open.pop();
        assert!(stream(state, Caller::anybody(), id, 0, of(2)).await.is_ok());
    }

    const KIB: usize = 1024;

    /// What a stream has read and not sent yet is either small or counted.
    #[tokio::test]
    async fn large_events_that_a_stream_has_not_sent_count_with_what_is_read() {
        let sizes = [vec![100; 60], vec![400 * KIB; 9], vec![100; 3]].concat();
        let (state, _, id) = run_with(Arc::new(SystemClock), &sizes).await;
        let is_free = |bytes: usize| state.reads.take(bytes).now_or_never().is_some();
        let open = |after| {
            let place = state.shares.take(Class::Stream, Client::unknown()).unwrap();
            let reads = state.reads.of(Client::unknown());
            Box::pin(follow(state.clone(), id, after, place, reads))
        };
        let mut small = Vec::new();
        for _ in 0..100 {
            let mut stream = open(0);
            let _ = stream.next().await.unwrap().unwrap();
            small.push(stream);
        }
        assert!(is_free(MAX_READS), "small ones are not counted");
        // Each stream waits for its client with a large event, and has read no other.
        let mut large = Vec::new();
        for _ in 0..100 {
            let mut stream = open(61);
            let _ = stream.next().await.unwrap().unwrap();
            large.push(stream);
        }
        assert!(is_free(MAX_READS - 100 * 420 * KIB));
        assert!(!is_free(MAX_READS - 100 * 390 * KIB));
        drop((small, large));
        assert!(is_free(MAX_READS));
        // No event is lost where a stream kept fewer than it had read.
        let all = open(0).take(1 + sizes.len());
        let body = Sse::new(all).into_response().into_body();
        let text = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let seqs: Vec<usize> =
            text.lines().filter_map(|l| l.strip_prefix("id: ")?.parse().ok()).collect();
        assert_eq!(seqs, (1..=sizes.len() + 1).collect::<Vec<_>>());
        // A stream that waits for memory does not hold up a server that stops.
        let _all = state.reads.take(MAX_READS).await;
        let mut waiting = open(0);
        assert!(waiting.next().now_or_never().is_none());
        state.stopping.cancel();
        assert!(waiting.next().await.is_none());
    }

    /// The store is asked once for all streams that follow the run.
    #[tokio::test(start_paused = true)]
    async fn those_who_follow_a_run_ask_no_more_however_many_they_are() {
        let now = Timestamp::from_millis(1_763_802_000_000);
        let clock = Arc::new(TokioClock::starting_at(now));
        let (state, store, id) = one_run(clock.clone()).await;
        let mut asked = Vec::new();
        for followers in [1, 50] {
            let place = || state.shares.take(Class::Stream, Client::unknown()).unwrap();
            let streams: Vec<_> = (0..followers)
                .map(|_| {
                    let stream = follow(state.clone(), id, 0, place(), state.reads.clone());
                    tokio::spawn(async move { stream.for_each(async |_| {}).await })
                })
                .collect();
            clock.sleep(Duration::from_secs(5)).await;
            let before = store.calls();
            clock.sleep(Duration::from_secs(60)).await;
            asked.push(store.calls() - before);
            streams.iter().for_each(JoinHandle::abort);
            clock.sleep(Duration::from_secs(5)).await;
            let before = store.calls();
            clock.sleep(Duration::from_secs(60)).await;
            assert_eq!(store.calls(), before, "nobody follows any more");
        }
        assert!(asked[0] >= 60 && asked[0] <= 120, "{asked:?}");
        assert!(asked[0].abs_diff(asked[1]) <= 1, "{asked:?}");
    }
}
