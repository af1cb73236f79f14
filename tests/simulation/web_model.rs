//! Requests of steps: each is committed before it is sent, is sent under a lease, and has a key of its own.

use std::collections::BTreeMap;

use replibook::outbound::Sending;
use replibook::run::{Answer, AttemptKey, CallName, Journal, RunId, Timestamp};
use uuid::Uuid;

use crate::documents::{DENIED, MOVED, SECRET, value_of};
use crate::ledger::{Check, Holder, SharedLedger, expect};
use crate::run_model::RunModel;

/// A request whose call was committed.
struct Request {
    run: RunId,
    key: AttemptKey,
    call: usize,
    /// How often it took effect on a server that does not heed its key.
    arrivals: u32,
}

#[derive(Default)]
pub(crate) struct Requests(BTreeMap<Uuid, Request>);

impl Requests {
    /// Takes notice of the calls that a commit announced, and checks that no answer in it has a secret.
    pub(crate) fn committed(&mut self, model: &RunModel, journals: &[Journal]) -> Check {
        for journal in journals {
            no_secret(journal)?;
            let pending = journal.pending.as_ref();
            if pending.is_none_or(|pending| pending.name != CallName::HttpSend) {
                continue;
            }
            let call = journal.answers.len();
            let number = u32::try_from(call).unwrap();
            let id = journal.key.action_id(model.id, &journal.agent, number);
            let request = Request { run: model.id, key: journal.key, call, arrivals: 0 };
            self.0.entry(id).or_insert(request);
        }
        Ok(())
    }

    /// A request leaves an engine.
    pub(crate) fn begins(
        &self,
        engine: usize,
        key: Uuid,
        (runs, holders): (&BTreeMap<RunId, RunModel>, &BTreeMap<RunId, Holder>),
        now: Timestamp,
    ) -> Check {
        let request = self.0.get(&key).ok_or_else(|| {
            ("a call is committed before it is performed", format!("{key} is not in a commit"))
        })?;
        let journal = &runs[&request.run].journals[&request.key];
        let is_open = journal.pending.is_some() && journal.answers.len() == request.call;
        let say = || format!("{key}: {journal:?}");
        expect(is_open, "a call that has its answer is not performed", say)?;
        let holder = holders.get(&request.run);
        let holds = holder.is_some_and(|holder| holder.engine == engine && now < holder.until);
        expect(holds, "requests are sent under a lease", || format!("{key}: {holder:?}"))
    }

    pub(crate) fn arrived(&mut self, key: Uuid) {
        if let Some(request) = self.0.get_mut(&key) {
            request.arrivals += 1;
        }
    }

    /// Checks that each answer is that of its request, which arrived.
    pub(crate) fn check_end(&self, runs: &BTreeMap<RunId, RunModel>) -> Check {
        for (id, request) in &self.0 {
            let run = &runs[&request.run];
            if run.abandoned {
                continue;
            }
            let journal = &run.journals[&request.key];
            let answer = journal.answers.get(request.call).map(|answered| &answered.answer);
            let Some(Answer::HttpSend(Ok(response))) = answer else { continue };
            let is_own = response.body.bytes() == id.to_string().as_bytes();
            let say = || format!("{id}: {answer:?}, {} arrivals", request.arrivals);
            expect(is_own && request.arrivals > 0, "an answer is that of its request", say)?;
        }
        Ok(())
    }
}

/// Whether a journal has no secret in its arguments and answers.
fn no_secret(journal: &Journal) -> Check {
    let answers = journal.answers.iter().map(|answered| &answered.answer);
    let headers = answers.filter_map(|answer| match answer {
        Answer::HttpSend(Ok(response)) => Some(&response.headers),
        _ => None,
    });
    let mut texts = headers.flatten().map(|(_, value)| value.as_str());
    let is_secret = |text: &str| [SECRET, DENIED].iter().any(|name| text.contains(&value_of(name)));
    let has = is_secret(journal.arguments.as_str()) || texts.any(is_secret);
    expect(!has, "no secret is in a journal", || format!("{journal:?}"))
}

impl SharedLedger {
    /// A request of a step leaves an engine, with this secret.
    pub(crate) fn request_begins(&self, engine: usize, sending: &Sending, secret: &str) {
        let (now, key, url) = (self.clock.now(), sending.key, sending.request.url());
        self.with(
            || format!("engine {engine} sends request {key}"),
            |ledger| {
                let rule = "a secret goes where both sides let it go, and nowhere else";
                expect(secret == value_of(SECRET), rule, || format!("{key} has {secret:?}"))?;
                let rule = "a redirect is an answer, and is not followed";
                expect(!url.ends_with(MOVED), rule, || format!("{key} goes to {url}"))?;
                ledger.requests.begins(engine, key, (&ledger.runs, &ledger.holders), now)
            },
        );
    }

    /// A request of a step took effect.
    pub(crate) fn request_arrived(&self, key: Uuid) {
        self.with(
            || format!("request {key} arrives"),
            |ledger| {
                ledger.requests.arrived(key);
                Ok(())
            },
        );
    }
}
