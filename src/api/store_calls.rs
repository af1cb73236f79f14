//! Numbers about the calls of the store. They are collected outside of the store, so that every back end is
//! measured in the same way.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::store::CallsHeard;

/// In seconds: from an answer out of a cache to one for which a back end takes all the time that it allows
/// itself.
const BUCKETS: [f64; 9] = [0.000_5, 0.002, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FailureLabels {
    operation: &'static str,
    kind: &'static str,
}

/// Numbers about the calls of a store, which a [`HeardStore`](crate::store::HeardStore) reports. Operations and
/// kinds of failure are words of ours, so the number of series is limited. Cheap to clone; clones share the
/// numbers.
#[derive(Clone, Debug)]
pub struct StoreCalls {
    durations: Family<OperationLabels, Histogram>,
    failures: Family<FailureLabels, Counter>,
}

impl Default for StoreCalls {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            failures: Family::default(),
        }
    }
}

impl CallsHeard for StoreCalls {
    fn ended(&self, operation: &'static str, took: Duration, failure: Option<&'static str>) {
        let labels = OperationLabels { operation };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(kind) = failure {
            self.failures.get_or_create(&FailureLabels { operation, kind }).inc();
        }
    }
}

impl StoreCalls {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time that calls of the store took, also those that failed";
        let durations = self.durations.clone();
        registry.register_with_unit("store_call_duration", help, Unit::Seconds, durations);
        let help = "Calls of the store that failed, that it refused, or that were given up";
        registry.register("store_call_failures", help, self.failures.clone());
    }
}
