//! Takes secrets out of what a run is told from outside, before anything of it is kept.

use std::borrow::Cow;

use serde_json::Value;

use super::agent_record::About;
use super::call::{Answer, CallError};
use super::datastore::Datastore;
use super::following::MembershipChange;
use super::http::{HttpBody, HttpError, HttpResponse};
use super::json_text::JsonText;
use super::node_info::{KeptNode, NodeInfo};
use super::notice::Notice;
use super::scrub::Scrubber;
use super::transition::{Input, Look, Looked, Member, Refreshed};

impl Scrubber {
    /// An input without secrets. What does not come from an agent, a server or a person stays as it is.
    pub fn input(&self, input: Input) -> Input {
        match input {
            Input::Answered { key, call, answer } => {
                Input::Answered { key, call, answer: self.answer(answer) }
            }
            Input::Checked { key, info } => {
                let info = info.map(|info| self.node(info)).map_err(|error| self.call_error(error));
                Input::Checked { key, info }
            }
            Input::Noticed { key, call, notice } => {
                Input::Noticed { key, call, notice: notice.map(|notice| self.notice(notice)) }
            }
            Input::Looked(look) => Input::Looked(self.look(look)),
            Input::Refreshed(all) => {
                Input::Refreshed(all.into_iter().map(|one| self.refreshed(one)).collect())
            }
            Input::Members(all) => {
                Input::Members(all.into_iter().map(|one| self.member(one)).collect())
            }
            Input::LookedAround(all) => {
                Input::LookedAround(all.into_iter().map(|one| self.refreshed(one)).collect())
            }
            Input::MembersOfRetry { members, gone, bystanders } => {
                let scrubbed =
                    |all: Vec<Member>| all.into_iter().map(|one| self.member(one)).collect();
                let (members, bystanders) = (scrubbed(members), scrubbed(bystanders));
                Input::MembersOfRetry { members, gone, bystanders }
            }
            Input::Membership(change) => {
                let joined = change.joined.into_iter().map(|one| self.member(one)).collect();
                Input::Membership(MembershipChange { joined, ..change })
            }
            Input::MembersFailed(message) => Input::MembersFailed(self.text(&message).into_owned()),
            Input::ClusterFree
            | Input::ClusterBusy { .. }
            | Input::Guards(_)
            | Input::MembersUnanswered(_)
            | Input::Planned { .. }
            | Input::Activated { .. }
            | Input::Accepted { .. }
            | Input::Command(_)
            | Input::Woken
            | Input::Forgotten(_)
            | Input::Stamped
            | Input::Continue => input,
        }
    }

    /// An answer without secrets.
    pub fn answer(&self, answer: Answer) -> Answer {
        let error = |error| self.call_error(error);
        match answer {
            Answer::Info(result) => {
                Answer::Info(result.map(|node| self.kept_node(node)).map_err(error))
            }
            Answer::RunAction(result) => {
                Answer::RunAction(result.map(|payload| self.json(payload)).map_err(error))
            }
            Answer::WaitStatus(result) => {
                let status = |status: String| self.text(&status).into_owned();
                Answer::WaitStatus(result.map(status).map_err(error))
            }
            Answer::Sleep => Answer::Sleep,
            Answer::HttpSend(result) => {
                let response = result.map(|response| self.response(response));
                Answer::HttpSend(response.map_err(|error| self.http_error(error)))
            }
            Answer::WaitSignal(result) => {
                let result = result.map(|mut received| {
                    received.payload = self.json(received.payload);
                    received
                });
                Answer::WaitSignal(result.map_err(error))
            }
        }
    }

    /// What is noticed about a call, without secrets.
    pub fn notice(&self, notice: Notice) -> Notice {
        match notice {
            Notice::NoAnswer { since, message, errors } => {
                Notice::NoAnswer { since, message: self.text(&message).into_owned(), errors }
            }
            Notice::Queued { since, before, behind } => {
                let behind = behind.map(|kind| self.text(&kind).into_owned());
                Notice::Queued { since, before, behind }
            }
        }
    }

    /// A JSON text without secrets. It is the same text in memory if there are none.
    pub fn json(&self, text: JsonText) -> JsonText {
        let mut value = text.value();
        match self.value(&mut value) {
            true => JsonText::from(value),
            false => text,
        }
    }

    fn response(&self, response: HttpResponse) -> HttpResponse {
        let HttpResponse { status, headers, body } = response;
        let header = |(name, value): (String, String)| {
            (self.text(&name).into_owned(), self.text(&value).into_owned())
        };
        let headers = headers.into_iter().map(header).collect();
        let scrubbed = match self.bytes(body.bytes()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(scrubbed) => Some(HttpBody::from(scrubbed)),
        };
        let body = scrubbed.unwrap_or(body);
        HttpResponse { status, headers, body }
    }

    fn http_error(&self, error: HttpError) -> HttpError {
        let text = |message: String| self.text(&message).into_owned();
        match error {
            HttpError::NotGranted(message) => HttpError::NotGranted(text(message)),
            HttpError::TimedOut(message) => HttpError::TimedOut(text(message)),
            HttpError::Failed(message) => HttpError::Failed(text(message)),
            HttpError::Secret(message) => HttpError::Secret(text(message)),
        }
    }

    fn call_error(&self, error: CallError) -> CallError {
        error.map_message(|message| self.text(&message).into_owned())
    }

    fn kept_node(&self, node: KeptNode) -> KeptNode {
        let KeptNode { status, attributes, raw, datastore } = node;
        KeptNode {
            status: self.text(&status).into_owned(),
            attributes: self.json(attributes),
            raw: self.json(raw),
            datastore: self.datastore(datastore),
        }
    }

    fn node(&self, mut node: NodeInfo) -> NodeInfo {
        self.string(&mut node.status);
        self.object(&mut node.attributes);
        self.value(&mut node.raw);
        node.datastore = self.datastore(node.datastore);
        node
    }

    fn datastore(&self, mut datastore: Datastore) -> Datastore {
        self.value(&mut datastore.store);
        self.value(&mut datastore.shards);
        datastore
    }

    fn look(&self, mut look: Look) -> Look {
        match &mut look.looked {
            Looked::Says(node) => **node = self.node(NodeInfo::clone(node)),
            Looked::Refused(refusal) => {
                self.string(&mut refusal.message);
            }
            Looked::Silent(message) => {
                self.string(message);
            }
        }
        look
    }

    fn refreshed(&self, mut refreshed: Refreshed) -> Refreshed {
        let About { attributes, node, datastore, .. } = &mut refreshed.about;
        let (mut said, mut raw) = (Value::Object((**attributes).clone()), Value::clone(node));
        if self.value(&mut said)
            && let Value::Object(said) = said
        {
            *attributes = said.into();
        }
        if self.value(&mut raw) {
            *node = raw.into();
        }
        *datastore = self.datastore(Datastore::clone(datastore)).into();
        if let Some((_, message)) = &mut refreshed.silence {
            self.string(message);
        }
        refreshed
    }

    fn member(&self, mut member: Member) -> Member {
        self.object(&mut member.attributes);
        self.value(&mut member.node);
        member.datastore = self.datastore(member.datastore);
        if let Some(refusal) = &mut member.refusal {
            self.string(&mut refusal.message);
        }
        member
    }
}
