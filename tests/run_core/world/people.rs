//! What people ask of the run.

use replibook_core::run::{AgentId, Command, CommandId, Input, Timestamp, Verb};
use uuid::Uuid;

use super::World;

impl World {
    pub(crate) fn command(&mut self, verb: Verb, agent: Option<&str>) {
        self.command_again(verb, agent, false);
    }

    pub(crate) fn command_again(&mut self, verb: Verb, agent: Option<&str>, again: bool) {
        let agent = agent.map(AgentId::from);
        let command = Command { again, agent, ..self.command_of(verb, Some("ann")) };
        self.apply(Input::Command(command));
    }

    /// A new command to the whole run.
    pub(crate) fn command_of(&mut self, verb: Verb, actor: Option<&str>) -> Command {
        self.commands += 1;
        Command {
            again: false,
            id: CommandId(Uuid::from_u128(self.commands)),
            run: self.run.id(),
            verb,
            agent: None,
            signal: None,
            override_guard: None,
            approves: None,
            actor: actor.map(str::to_owned),
            why: None,
            at: self.now(),
            outcome: None,
            finish_ts: None,
        }
    }

    /// Until when nothing happens that no person asks for.
    pub(crate) fn rests_until(&self) -> Option<Timestamp> {
        self.machine.rests_until()
    }

    /// The present moment.
    pub(crate) fn time(&self) -> Timestamp {
        self.now()
    }
}
