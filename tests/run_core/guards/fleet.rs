//! A run over a cluster with guards: nodes that fall ill and get well, members that come and go, guards that change,
//! and crashes between any two commits. Each commit is checked by the [model](super::model).

mod going;

use std::collections::BTreeMap;
use std::sync::Arc;

use replibook_core::playbook::ClusterGuards;
use replibook_core::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, Answer, AskAgain, CallError, Command,
    CommandId, CommandOutcome, Effect, Gone, Happened, InfoChange, Input, Journal, Loaded, Look,
    Looked, Machine, Member, MembershipChange, NodeInfo, Progress, Refreshed, Roster, RosterAt,
    Run, RunEvent, RunId, RunStatus, Snapshot, Timestamp, Transition, Verb, Writes,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{Moment, Said, Told, started};
use super::strategies::Kind;
use crate::parts::{Setup, Work, activation, member, playbook};

/// Half past eight in the evening in Berlin, on the last day of November 2026.
pub(crate) const START: i64 = 1_796_067_000_000;

pub(crate) struct Fleet {
    pub(crate) strategy: Kind,
    /// The guards of the Cluster document.
    pub(crate) guards: ClusterGuards,
    /// What nodes say that don't say HEALTHY.
    pub(crate) ill: BTreeMap<AgentId, Said>,
    /// The members now.
    pub(crate) members: Vec<Member>,
    pub(crate) run: Run,
    pub(crate) records: BTreeMap<AgentSeq, AgentRecord>,
    journals: BTreeMap<replibook_core::run::AttemptKey, Journal>,
    pub(crate) events: Vec<RunEvent>,
    /// What strategies saw as held each time, with the number of the last event.
    seen: Vec<(u64, Vec<AgentId>)>,
    asked: Vec<AgentId>,
    machine: Machine,
    effects: Vec<Effect>,
    /// What agents answered that were asked for a strategy, and that has not come yet.
    pub(crate) late: Vec<Input>,
    wake: Option<Timestamp>,
    pub(crate) now: i64,
    told: Told,
    commands: u128,
    pub(crate) outcomes: Vec<CommandOutcome>,
    /// How often agents were asked for guards, and how many.
    pub(crate) rounds: Vec<usize>,
    pub(crate) commits: usize,
    bystanders: Option<Vec<Member>>,
    /// The first rule that was broken.
    pub(crate) broken: Option<String>,
}

/// Agents `node-0` and so on, in the zones a, b and c by turns; every seventh has none.
pub(crate) fn zoned(count: usize) -> Vec<Member> {
    (0..count).map(zoned_member).collect()
}

pub(crate) fn zoned_member(n: usize) -> Member {
    let mut member = member(&format!("node-{n}"));
    member.address = format!("http://10.0.0.{n}:1");
    if n % 7 != 6 {
        member.attributes.insert("zone".to_owned(), json!(["a", "b", "c"][n % 3]));
    }
    member
}

impl Fleet {
    pub(crate) fn new(members: Vec<Member>, guards: ClusterGuards, strategy: Kind) -> Self {
        Self::of(members, guards, strategy, Setup::plain(0, 1_000), None)
    }

    /// A run that goes over these members of another run again, beside these bystanders.
    pub(crate) fn again(
        members: Vec<Member>,
        bystanders: Vec<Member>,
        guards: ClusterGuards,
        strategy: Kind,
    ) -> Self {
        let setup = Setup { gone: Some(Gone::default()), ..Setup::plain(0, 1_000) };
        Self::of(members, guards, strategy, setup, Some(bystanders))
    }

    pub(crate) fn of(
        members: Vec<Member>,
        guards: ClusterGuards,
        strategy: Kind,
        setup: Setup,
        bystanders: Option<Vec<Member>>,
    ) -> Self {
        let now = Timestamp::from_millis(START);
        let run = Run {
            snapshot: Arc::new(Snapshot {
                id: RunId(Uuid::from_u128(7)),
                playbook: playbook(&setup),
                params: Map::new(),
                cluster: "c".to_owned(),
                retry_of: setup.retry_of(),
                started_by: None,
                created_at: now,
                narrowed: Default::default(),
                seed: None,
            }),
            progress: Progress::new(RunStatus::Pending, now),
        };
        let loaded = Loaded { run: run.clone(), records: vec![], journals: vec![] };
        let (machine, first) = Machine::load(loaded, now).unwrap();
        let mut fleet = Self {
            strategy,
            guards,
            ill: BTreeMap::new(),
            members,
            run,
            records: BTreeMap::new(),
            journals: BTreeMap::new(),
            events: Vec::new(),
            seen: Vec::new(),
            asked: Vec::new(),
            machine,
            effects: Vec::new(),
            late: Vec::new(),
            wake: None,
            now: START,
            told: Told::new(),
            commands: 0,
            outcomes: Vec::new(),
            rounds: Vec::new(),
            commits: 0,
            bystanders,
            broken: None,
        };
        fleet.commit(first);
        fleet
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.run.progress
    }

    pub(crate) fn record(&self, agent: &str) -> &AgentRecord {
        self.records.values().find(|record| record.agent.as_str() == agent).unwrap()
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    /// The agents in a state, in the order of their records.
    pub(crate) fn in_state(&self, state: AgentState) -> Vec<String> {
        let records = self.records.values().filter(|record| record.state == state);
        records.map(|record| record.agent.to_string()).collect()
    }

    fn says(&self, agent: &AgentId) -> Said {
        self.ill.get(agent).copied().unwrap_or(Some("HEALTHY"))
    }

    fn node(&mut self, agent: &AgentId) -> Value {
        let said = self.says(agent);
        self.told.insert(agent.clone(), (self.time(), said));
        said.map_or(Value::Null, |status| json!({"node_id": agent, "node_status": status}))
    }

    /// The cluster has other guards. As in the driver, they come before what a strategy decides that is asked at the
    /// moment.
    pub(crate) fn guarded_by(&mut self, guards: ClusterGuards) {
        let asked = self.effects.iter().position(|effect| matches!(effect, Effect::Plan { .. }));
        let decided = asked.map(|asked| self.effects.remove(asked));
        let decision = decided.and_then(|effect| self.outcome(effect, false));
        self.guards = guards.clone();
        self.apply(Input::Guards(Arc::new(guards)));
        if let Some(decision) = decision {
            self.apply(decision);
        }
    }

    pub(crate) fn join(&mut self, member: Member) {
        self.let_decide();
        self.members.push(member.clone());
        let mut joined = member;
        joined.node = self.node(&joined.agent);
        self.change(MembershipChange { joined: vec![joined], ..MembershipChange::default() });
    }

    pub(crate) fn leave(&mut self, agent: &str) {
        self.let_decide();
        self.members.retain(|member| member.agent.as_str() != agent);
        let left = vec![AgentId::from(agent)];
        self.change(MembershipChange { left, ..MembershipChange::default() });
    }

    /// A member has another address. What was said at the old one says nothing of the node there.
    pub(crate) fn relocate(&mut self, agent: &AgentId) {
        self.let_decide();
        let to = format!("http://10.1.0.1:{}", self.now);
        for member in self.members.iter_mut().filter(|member| member.agent == *agent) {
            member.address.clone_from(&to);
        }
        self.told.remove(agent);
        let moved = vec![(agent.clone(), to)];
        self.change(MembershipChange { moved, ..MembershipChange::default() });
    }

    fn change(&mut self, change: MembershipChange) {
        if self.progress().status.is_under_way() {
            self.apply(Input::Membership(change));
        }
    }

    pub(crate) fn command(
        &mut self,
        verb: Verb,
        guard: Option<&str>,
        why: Option<&str>,
    ) -> &CommandOutcome {
        self.let_decide();
        self.commands += 1;
        let command = Command {
            id: CommandId(Uuid::from_u128(self.commands)),
            run: self.run.id(),
            verb,
            agent: None,
            again: false,
            signal: None,
            override_guard: guard.map(str::to_owned),
            approves: None,
            actor: Some("ann".to_owned()),
            why: why.map(str::to_owned),
            at: self.time(),
            outcome: None,
            finish_ts: None,
        };
        self.apply(Input::Command(command));
        self.outcomes.last().unwrap()
    }

    pub(crate) fn crash(&mut self) {
        let loaded = Loaded {
            run: self.run.clone(),
            records: self.records.values().cloned().collect(),
            journals: self.journals.values().cloned().collect(),
        };
        self.effects.clear();
        self.late.clear();
        self.wake = None;
        // What was known before is asked again.
        self.told.clear();
        let (machine, first) = Machine::load(loaded, self.time()).unwrap();
        self.machine = machine;
        self.commit(first);
        self.give_guards();
        self.settle();
    }

    fn give_guards(&mut self) {
        let guards = Input::Guards(Arc::new(self.guards.clone()));
        let transition = self.machine.apply(guards, self.time()).unwrap();
        self.commit(transition);
    }

    fn outcome(&mut self, effect: Effect, badly: bool) -> Option<Input> {
        match effect {
            Effect::AwaitCluster => Some(Input::ClusterFree),
            Effect::LoadMembers => {
                self.give_guards();
                let all = |fleet: &mut Self, mut members: Vec<Member>| {
                    members.iter_mut().for_each(|member| member.node = fleet.node(&member.agent));
                    members
                };
                let members = self.members.clone();
                let members = all(self, members);
                Some(match self.bystanders.take() {
                    Some(bystanders) => {
                        let bystanders = all(self, bystanders);
                        Input::MembersOfRetry { members, gone: Gone::default(), bystanders }
                    }
                    None => Input::Members(members),
                })
            }
            Effect::Refresh(agents) => {
                let answers = self.ask(agents);
                self.late.push(Input::Refreshed(answers));
                None
            }
            Effect::LookAround(agents) => {
                self.rounds.push(agents.len());
                Some(Input::LookedAround(self.ask(agents)))
            }
            Effect::Plan { input, .. } => {
                self.asked = self.machine.held(None, u32::MAX);
                let decision = self.strategy.decide(&self.machine, &input);
                Some(Input::Planned { result: Ok(decision), logs: vec![] })
            }
            Effect::Activate(activate) => {
                let activation = activation(Work::Action, &activate, badly, false);
                Some(Input::Activated { key: activate.key, activation })
            }
            Effect::Perform(perform) => {
                let failed = Err(CallError::Failed("no".to_owned()));
                let answer = Answer::RunAction(if badly { failed } else { Ok(json!(1).into()) });
                Some(Input::Answered { key: perform.key, call: perform.call, answer })
            }
            Effect::Check { key, .. } => {
                Some(Input::Checked { key, info: Err(CallError::Failed("no".to_owned())) })
            }
            Effect::Look { key, agent, address, .. } => {
                // What a step finds out is not what guards know: it is asked on the way.
                let raw = json!({"node_id": agent, "node_status": "HEALTHY"});
                let (status, attributes) = ("HEALTHY".to_owned(), Map::new());
                let info = NodeInfo { status, attributes, raw, datastore: Default::default() };
                let looked = Looked::Says(Box::new(info));
                Some(Input::Looked(Look { key, address, at: self.time(), looked, identity: None }))
            }
            Effect::WakeAt(at) => {
                self.wake = Some(at);
                None
            }
            Effect::Abandon(key) => {
                self.effects.retain(|effect| {
                    !matches!(effect, Effect::Perform(perform) if perform.key == key)
                        && !matches!(effect, Effect::Look { key: of, .. } if *of == key)
                });
                None
            }
            Effect::Signal { .. } | Effect::AcceptAbsence(_) => None,
            Effect::Stamp(_) => Some(Input::Stamped),
            Effect::Forget(lines) => Some(Input::Forgotten(lines)),
            Effect::Continue => Some(Input::Continue),
        }
    }

    fn ask(&mut self, agents: Vec<AskAgain>) -> Vec<Refreshed> {
        let ask = |asked: AskAgain| {
            let has_moved =
                |member: &Member| member.agent == asked.agent && member.address != asked.address;
            let node = match self.members.iter().any(has_moved) {
                true => json!({"node_id": asked.agent, "node_status": "HEALTHY"}),
                false => self.node(&asked.agent),
            };
            let silence = node.is_null().then(|| (self.time(), "no answer".to_owned()));
            let seen_at = Some(self.time());
            let about = About {
                attributes: asked.attributes,
                node: node.into(),
                datastore: Arc::default(),
                seen_at,
            };
            Refreshed { agent: asked.seq, about, silence }
        };
        agents.into_iter().map(ask).collect()
    }

    pub(crate) fn apply(&mut self, input: Input) {
        let transition = self.machine.apply(input, self.time()).unwrap();
        self.commit(transition);
        self.settle();
    }

    fn settle(&mut self) {
        let transition = self.machine.settle(self.time()).unwrap();
        self.commit(transition);
    }

    fn commit(&mut self, transition: Transition) {
        let Transition { writes, effects } = transition;
        self.commits += usize::from(!writes.is_empty());
        let started = started(&writes);
        self.take(writes);
        let moment = Moment {
            now: self.time(),
            guards: &self.guards,
            progress: &self.run.progress,
            records: self.records.values().collect(),
            told: &self.told,
        };
        if let Err(broken) = moment.check(&started) {
            self.broken.get_or_insert(broken);
        }
        for effect in effects {
            match effect {
                Effect::WakeAt(at) => self.wake = Some(at),
                // This takes effect at once: a call that is given up gets no answer.
                Effect::Abandon(_) => drop(self.outcome(effect, false)),
                other => self.effects.push(other),
            }
        }
    }

    fn take(&mut self, writes: Writes) {
        if let Some(progress) = writes.progress {
            self.run.progress = progress;
        }
        for record in writes.records {
            self.records.insert(record.seq, record);
        }
        for journal in writes.journals {
            self.journals.insert(journal.key, journal);
        }
        for event in &writes.events {
            if let Happened::Decision { roster, .. } | Happened::NoDecision { roster, .. } =
                event.what
            {
                self.seen.push((roster, self.asked.clone()));
            }
        }
        self.events.extend(writes.events);
        self.outcomes.extend(writes.commands.into_iter().filter_map(|command| command.outcome));
    }

    /// Checks that a replay shows strategies the same as they saw.
    pub(crate) fn check_replay(&self) -> Result<(), String> {
        let changes = self.events.iter().filter_map(InfoChange::of).collect();
        let mut records: Vec<_> = self.records.values().cloned().collect();
        records.sort_by_key(|record| record.seq);
        let mut roster = RosterAt::new(self.run.snapshot.clone(), records, changes);
        let mut seen = self.seen.iter().peekable();
        let created = RunEvent {
            run: self.run.id(),
            seq: 1,
            at: Timestamp::from_millis(START),
            actor: None,
            what: Happened::Status { from: None, to: RunStatus::Pending, reason: None },
            finish_ts: None,
        };
        let first = self.events.first().is_some_and(|event| event.seq == 2).then_some(&created);
        for event in first.into_iter().chain(&self.events) {
            while let Some((_, held)) = seen.next_if(|(at, _)| *at == roster.seq()) {
                let now = roster.held(None, u32::MAX);
                if now != *held {
                    return Err(format!("before event {}: {now:?} held, then {held:?}", event.seq));
                }
            }
            roster.apply(event).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
