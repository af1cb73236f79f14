//! How long things are kept, whichever settings the store is opened with.

use replibook_core::run::Millis;
use replibook_store::{Keeping, StoreError, StoreOptions};

use crate::backends::{Fixture, RETENTION, options};
use crate::samples::{finished, finishing, new_run, only, run_id};

fn asking(retention: Millis, keeping: Keeping) -> StoreOptions {
    StoreOptions { retention, keeping, ..options() }
}

pub(crate) async fn a_shorter_retention_is_refused_until_it_is_changed(mut on: Fixture) {
    let second = Millis::from_secs(1);
    let longer = Millis(RETENTION.0 * 2);
    on.store.create_run(&new_run(1)).await.unwrap();
    let (lease, now) = (on.claim("e").await, on.now());
    on.store.commit(lease.run, lease.epoch, &only(finishing(now))).await.unwrap();
    while on.store.stamp(lease.run, lease.epoch, now).await.unwrap() > 0 {}
    on.store.commit(lease.run, lease.epoch, &only(finished(now))).await.unwrap();
    on.clock.advance(Millis::from_secs(2));

    let error = on.reopen(asking(second, Keeping::Asked)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("found a retention of 1s, expected at least the 1m"), "{error}");
    assert!(error.contains("`replibook store migrate --retention 1s`"), "{error}");

    assert_eq!(on.reopen(asking(second, Keeping::Unsaid)).await.unwrap(), RETENTION);
    assert!(on.store.run(run_id(1)).await.unwrap().is_some(), "nothing of the history went");
    assert_eq!(on.reopen(asking(longer, Keeping::Asked)).await.unwrap(), longer);
    on.reopen(asking(RETENTION, Keeping::Asked)).await.unwrap_err();
    on.clock.advance(RETENTION);
    assert_eq!(on.reopen(asking(second, Keeping::Unsaid)).await.unwrap(), longer);
    assert!(on.store.run(run_id(1)).await.unwrap().is_some(), "the longer one counts");

    assert_eq!(on.reopen(asking(second, Keeping::Changed)).await.unwrap(), second);
    assert!(on.store.run(run_id(1)).await.unwrap().is_none());
    assert_eq!(on.reopen(asking(second, Keeping::Asked)).await.unwrap(), second);
}
