//! The reports of engines, and the orders to drain them.

use super::state::State;
use crate::contract::MAX_PAGE;
use crate::engines::{Draining, Engine, EngineReport};
use crate::options::Moment;
use replibook_core::run::EngineId;

impl State {
    pub(super) fn put_engine(&mut self, report: &EngineReport, at: &Moment) -> Engine {
        let id = &report.id.0;
        if !self.engines.contains_key(id) {
            self.engines.retain(|_, engine| engine.seen >= at.engines_since);
        }
        let draining = self.engines.get(id).and_then(|known| known.draining.clone());
        let engine = Engine { report: report.clone(), seen: at.now, draining };
        self.engines.insert(id.clone(), engine.clone());
        engine
    }

    pub(super) fn engines(&self, at: &Moment) -> Vec<Engine> {
        let known = self.engines.values().filter(|engine| engine.seen >= at.engines_since);
        known.take(MAX_PAGE as usize).cloned().collect()
    }

    pub(super) fn drain_engine(
        &mut self,
        id: &EngineId,
        drain: bool,
        actor: Option<&str>,
        reason: Option<&str>,
        at: &Moment,
    ) -> Option<Engine> {
        let known = self.engines.get_mut(&id.0);
        let engine = known.filter(|engine| engine.seen >= at.engines_since)?;
        let new = || Draining::new(at.now, actor, reason);
        let known = engine.draining.take();
        engine.draining = drain.then(|| known.unwrap_or_else(new));
        Some(engine.clone())
    }
}
