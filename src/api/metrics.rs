//! `/metrics`: numbers for a monitoring system. Most are counted where things happen; those about the store and
//! the driver are fetched when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::access::Deed;
use super::endpoint::Endpoint;
use super::error::ApiError;
use super::exposition::{OPEN_METRICS, PLAIN, plain, wants_open_metrics};
use super::limits::{COUNTED_PAGE, METRICS_AGE, READY_TIMEOUT};
use super::process::Process;
use super::shares::Class;
use super::state::ApiState;
use super::store_calls::StoreCalls;
use crate::credentials::Expiry;
use crate::driver::Activity;
use crate::plugin::PluginCounts;
use crate::run::{Run, RunStatus, Verb};
use crate::store::{MAX_PAGE, Page, RunFilter, StoreError};

/// In seconds: from an answer out of memory to one that waited for the outcome of a command.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 30.0];

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/metrics", "getMetrics", "Numbers for a monitoring system.", get)
            .does(Deed::ViewServer)
            .of_class(Class::Probe)
            .answers_other(
                200,
                "Plain text, or OpenMetrics for clients that prefer it or accept both equally.",
                PLAIN,
            )
            .or_as(OPEN_METRICS),
    ]
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CommandLabels {
    command: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

/// A name of a guard means something only within its cluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct GuardLabels {
    cluster: String,
    guard: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CertificateLabels {
    name: String,
    file: &'static str,
}

/// The labels of a number that is absent while it is not known.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NoLabels {}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClosedLabels {
    which: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HandoverLabels {
    kind: &'static str,
}

/// All numbers of a server.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    streams: Gauge,
    started: Counter,
    commands: Family<CommandLabels, Counter>,
    unfinished: Family<StatusLabels, Gauge<u64, AtomicU64>>,
    held: Family<GuardLabels, Gauge<u64, AtomicU64>>,
    troubled: Family<NoLabels, Gauge>,
    shortages: Counter,
    refused: Counter,
    closed: Family<ClosedLabels, Counter>,
    leases: Gauge,
    unclaimed: Family<NoLabels, Gauge>,
    handovers: Family<HandoverLabels, Counter>,
    panics: Counter,
    compiled: Counter,
    loaded: Counter,
    skew: Gauge<f64, AtomicU64>,
    damaged: Gauge,
    expiries: Family<CertificateLabels, Gauge>,
    /// When the unfinished runs were last counted.
    counted: Mutex<Option<Instant>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self::with_store_calls(&StoreCalls::default())
    }

    /// Includes the numbers of the store's calls, which are counted elsewhere.
    pub(super) fn with_store_calls(calls: &StoreCalls) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            streams: Gauge::default(),
            started: Counter::default(),
            commands: Family::default(),
            unfinished: Family::default(),
            held: Family::default(),
            troubled: Family::default(),
            shortages: Counter::default(),
            refused: Counter::default(),
            closed: Family::default(),
            leases: Gauge::default(),
            unclaimed: Family::default(),
            handovers: Family::default(),
            panics: Counter::default(),
            compiled: Counter::default(),
            loaded: Counter::default(),
            skew: Gauge::default(),
            damaged: Gauge::default(),
            expiries: Family::default(),
            counted: Mutex::new(None),
        };
        metrics.registered(calls)
    }

    fn registered(mut self, calls: &StoreCalls) -> Self {
        self.registry.register_collector(Box::new(Process::new()));
        let registry = self.registry.sub_registry_with_prefix("replibook");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the server", version);
        let help = "Requests to agents that waited because the server was short of something";
        registry.register("shortages", help, self.shortages.clone());
        let help = "Requests refused because too many were in progress";
        registry.register("requests_refused", help, self.refused.clone());
        let help = "Connections closed for lack of room: idle ones that made room, and new ones that found none";
        registry.register("connections_closed", help, self.closed.clone());
        registry.register("leases", "Runs that this engine has", self.leases.clone());
        let help = format!("Runs that wait for an engine with a free place, up to {MAX_PAGE}");
        registry.register("runs_unclaimed", help, self.unclaimed.clone());
        let help = "Runs that this engine got or gave up: claimed from nobody, taken-over from an engine that \
                    is gone, released for whatever reason, of those handed-over (drained, or more than its \
                    share) and parked (they wait for a person)";
        registry.register("handovers", help, self.handovers.clone());
        let help = "Times that driving a run broke off because of a mistake in the program";
        registry.register("driver_panics", help, self.panics.clone());
        registry.register("http_requests", "Requests answered", self.requests.clone());
        let help = "Time until the answer began";
        let durations = self.durations.clone();
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations);
        registry.register("event_streams", "Event streams open now", self.streams.clone());
        registry.register("runs_started", "Runs started by this server", self.started.clone());
        registry.register("commands", "Commands taken by this server", self.commands.clone());
        let help = format!("Runs that have not ended, by status, of the newest {MAX_PAGE}");
        registry.register("unfinished_runs", help, self.unfinished.clone());
        let help = format!(
            "Agents that guards hold in those runs; they count for each guard that holds any of their run, of the \
             newest {MAX_PAGE}"
        );
        registry.register("agents_held", help, self.held.clone());
        let help = format!("Runs that can't go on, of the oldest {MAX_PAGE}");
        registry.register("runs_troubled", help, self.troubled.clone());
        let help = "Plugins compiled since the start, the built-in ones too";
        registry.register("plugins_compiled", help, self.compiled.clone());
        let help = "Plugins whose compiled code was found in the cache";
        registry.register("plugins_loaded", help, self.loaded.clone());
        calls.register(registry);
        let help = "1 once the database itself was found to be damaged, else 0";
        registry.register("store_damaged", help, self.damaged.clone());
        let help = "When the first certificate of a file of the credentials expires, in seconds since 1970";
        let expiries = self.expiries.clone();
        registry.register_with_unit("certificate_expires", help, Unit::Seconds, expiries);
        let help = "How far the machine's clock is ahead of the store's";
        registry.register_with_unit("clock_skew", help, Unit::Seconds, self.skew.clone());
        self
    }

    pub(super) fn run_started(&self) {
        self.started.inc();
    }

    pub(super) fn command_submitted(&self, verb: Verb) {
        self.commands.get_or_create(&CommandLabels { command: verb.as_str() }).inc();
    }

    fn hold(&self, held: BTreeMap<GuardLabels, u64>) {
        self.held.clear();
        for (labels, agents) in held {
            self.held.get_or_create(&labels).set(agents);
        }
    }

    pub(super) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(super) fn stream_closed(&self) {
        self.streams.dec();
    }

    /// Metrics in which everything was counted at least once.
    #[cfg(test)]
    pub(super) fn with_some_of_all() -> Self {
        use crate::store::CallsHeard as _;
        let calls = StoreCalls::default();
        let metrics = Self::with_store_calls(&calls);
        for milliseconds in [1, 30, 90_000] {
            let took = Duration::from_millis(milliseconds);
            calls.ended("ping", took, Some("unavailable"));
            calls.ended("commit", took, None);
            metrics.answered("GET", "/", 200, Duration::from_millis(milliseconds));
        }
        metrics.command_submitted(Verb::Pause);
        metrics.troubled.get_or_create(&NoLabels {}).set(1);
        metrics.unfinished.get_or_create(&StatusLabels { status: "RUNNING" }).set(2);
        let labels = GuardLabels { cluster: "eu".to_owned(), guard: "one-zone".to_owned() };
        metrics.held.get_or_create(&labels).set(3);
        metrics.closed.get_or_create(&ClosedLabels { which: "idle" }).inc();
        let at = crate::run::Timestamp::from_millis(1_900_000_000_000);
        metrics.note_expiries(vec![Expiry { name: "eu".to_owned(), file: "ca.pem", at }]);
        metrics
    }

    /// All numbers, in the format of OpenMetrics.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn count_runs_of(&self, activity: &Activity) {
        self.leases.set(i64::try_from(activity.leases()).unwrap_or(i64::MAX));
        self.panics.inner().store(activity.panicked(), Ordering::Relaxed);
        for (kind, count) in [
            ("claimed", activity.claimed()),
            ("taken-over", activity.taken_over()),
            ("released", activity.released()),
            ("handed-over", activity.handed_over()),
            ("parked", activity.parked()),
        ] {
            let counter = self.handovers.get_or_create(&HandoverLabels { kind });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    fn count_plugins(&self, counts: PluginCounts) {
        self.compiled.inner().store(counts.compiled, Ordering::Relaxed);
        self.loaded.inner().store(counts.loaded, Ordering::Relaxed);
    }

    fn note_expiries(&self, expiries: Vec<Expiry>) {
        self.expiries.clear();
        for Expiry { name, file, at } in expiries {
            let labels = CertificateLabels { name, file };
            self.expiries.get_or_create(&labels).set(at.as_millis() / 1_000);
        }
    }

    fn count_pressure(&self, state: &ApiState) {
        let set = |counter: &Counter, to: u64| counter.inner().store(to, Ordering::Relaxed);
        set(&self.shortages, state.shortage.times());
        set(&self.refused, state.shares.refused());
        for (which, number) in [("idle", state.closed.dismissed()), ("new", state.closed.refused())]
        {
            set(&self.closed.get_or_create(&ClosedLabels { which }), number);
        }
    }

    fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        let labels = RouteLabels { method: method.clone(), route: route.clone() };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }
}

/// Counts every request under the route that it matched, so that there are only as many series as routes,
/// whatever clients ask for.
pub(super) async fn observe(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let method = known_method(request.method().as_str());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    state.metrics.answered(method, route, status, took);
    tracing::debug!(method, route, status, ?took, "answered");
    response
}

/// A client may make up methods; all unknown ones count as one.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

async fn get(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    count_runs(&state).await;
    state.metrics.count_plugins(state.plugins.counts());
    state.metrics.count_pressure(&state);
    state.metrics.note_expiries(state.followers.credentials().expiries());
    if let Some(activity) = &state.activity {
        state.metrics.count_runs_of(activity);
    }
    state.metrics.skew.set(state.skew().as_millis() as f64 / 1_000.0);
    state.metrics.damaged.set(state.store.broken().is_some().into());
    let text = state.metrics.text().map_err(ApiError::internal)?;
    let (kind, text) = match wants_open_metrics(&headers) {
        true => (OPEN_METRICS, text),
        false => (PLAIN, plain(&text)),
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], text).into_response())
}

/// Counts the unfinished runs, at most once per [`METRICS_AGE`] and by one request at a time. The other numbers
/// are useful even while the store does not answer, so a failure only leaves these out, and `/readyz` reports
/// it.
async fn count_runs(state: &ApiState) {
    let Ok(mut counted) = state.metrics.counted.try_lock() else { return };
    if counted.is_some_and(|at| at.elapsed() < METRICS_AGE) {
        return;
    }
    let known = timeout(READY_TIMEOUT, look_at_runs(state)).await;
    if !matches!(known, Ok(Ok(()))) {
        state.metrics.unfinished.clear();
        state.metrics.held.clear();
        state.metrics.troubled.clear();
    }
    *counted = Some(Instant::now());
}

async fn look_at_runs(state: &ApiState) -> Result<(), StoreError> {
    let statuses = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
    let filter = RunFilter { statuses: statuses.clone().collect(), ..RunFilter::default() };
    let Counted { by_status: found, held } = count(state, &filter).await?;
    state.metrics.hold(held);
    let troubles = state.store.troubles(None, MAX_PAGE).await?.len();
    let troubles = i64::try_from(troubles).unwrap_or(i64::MAX);
    state.metrics.troubled.get_or_create(&NoLabels {}).set(troubles);
    let unclaimed = state.store.unclaimed().await?;
    state.metrics.unclaimed.get_or_create(&NoLabels {}).set(unclaimed.into());
    let mut counts: BTreeMap<_, u64> = statuses.map(|status| (status.as_str(), 0)).collect();
    counts.extend(found);
    for (status, count) in counts {
        state.metrics.unfinished.get_or_create(&StatusLabels { status }).set(count);
    }
    Ok(())
}

/// What was counted in runs.
#[derive(Default)]
struct Counted {
    by_status: BTreeMap<&'static str, u64>,
    /// Agents that are held.
    held: BTreeMap<GuardLabels, u64>,
}

impl Counted {
    fn add(&mut self, status: RunStatus) {
        *self.by_status.entry(status.as_str()).or_default() += 1;
    }

    fn hold(&mut self, run: &Run) {
        let (cluster, held) = (&run.snapshot.cluster, &run.progress.held_agents);
        for guard in &held.guards {
            let labels = GuardLabels { cluster: cluster.clone(), guard: guard.clone() };
            *self.held.entry(labels).or_default() += u64::from(held.agents);
        }
    }
}

/// Counts the newest [`MAX_PAGE`] runs that match. A few are read at a time, since each has its whole snapshot.
async fn count(state: &ApiState, filter: &RunFilter) -> Result<Counted, StoreError> {
    let (mut counts, mut page) = (Counted::default(), Page { after: None, limit: COUNTED_PAGE });
    for _ in 0..MAX_PAGE / COUNTED_PAGE {
        let runs = state.store.read_runs(filter, &page).await?.runs;
        let mut last = None;
        for run in &runs {
            let (id, status) = match run {
                Ok(run) => {
                    counts.hold(run);
                    (run.id(), Some(run.progress.status))
                }
                Err(damaged) => (damaged.glance.id, damaged.glance.status),
            };
            last = Some(id.to_string());
            if let Some(status) = status {
                counts.add(status);
            }
        }
        if runs.len() < COUNTED_PAGE as usize {
            break;
        }
        page.after = last;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CallsHeard as _;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let calls = StoreCalls::default();
        let metrics = Metrics::with_store_calls(&calls);
        for status in [200, 200, 404] {
            metrics.answered("GET", "/api/v1/runs/{id}", status, Duration::from_millis(3));
        }
        metrics.command_submitted(Verb::Resume);
        metrics.stream_opened();
        metrics.count_plugins(PluginCounts { compiled: 4, loaded: 2 });
        metrics.count_runs_of(&Activity::with_leases(3));
        calls.ended("heads", Duration::from_millis(3), Some("unavailable"));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            "replibook_http_requests_total{method=\"GET\",route=\"/api/v1/runs/{id}\",status=\"200\"} 2",
            "replibook_http_requests_total{method=\"GET\",route=\"/api/v1/runs/{id}\",status=\"404\"} 1",
            "replibook_http_request_duration_seconds_count{method=\"GET\",route=\"/api/v1/runs/{id}\"} 3",
            "replibook_commands_total{command=\"resume\"} 1",
            "replibook_event_streams 1",
            "replibook_runs_started_total 0",
            "replibook_shortages_total 0",
            "replibook_requests_refused_total 0",
            "replibook_leases 3",
            "replibook_store_call_duration_seconds_bucket{le=\"0.005\",operation=\"heads\"} 1",
            "replibook_store_call_failures_total{operation=\"heads\",kind=\"unavailable\"} 1",
            "replibook_handovers_total{kind=\"taken-over\"} 0",
            "replibook_driver_panics_total 0",
            concat!("replibook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "replibook_plugins_compiled_total 4",
            "replibook_plugins_loaded_total 2",
            "replibook_clock_skew_seconds 0.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn made_up_methods_are_one() {
        assert_eq!(known_method("GET"), "GET");
        assert_eq!(known_method("GETT"), "other");
    }
}
