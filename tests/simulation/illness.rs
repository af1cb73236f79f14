//! A run that can't go on: somebody damages it, or the store refuses its commits. Once it is in trouble, a
//! person mends it or abandons it. Some people abandon a run that is well.

use replibook::run::{AgentSeq, RunId};
use replibook::store::memory::Damaged;
use replibook::store::{Abandon, Store as _};

use crate::engines::Surroundings;
use crate::ledger::Ledger;
use crate::plan::{IllPlan, Illness, Part};

/// The run, and what has been done to it so far.
pub(crate) struct Patient {
    plan: IllPlan,
    run: RunId,
    is_ill: bool,
    is_mended: bool,
    damaged: Option<Damaged>,
}

impl Patient {
    pub(crate) fn new(plan: IllPlan, run: RunId) -> Self {
        Self { plan, run, is_ill: false, is_mended: false, damaged: None }
    }

    /// Does what is due by now.
    pub(crate) async fn look(&mut self, at: u64, around: &Surroundings) {
        if at < self.plan.at || self.is_mended {
            return;
        }
        let run = self.run;
        let goes =
            |ledger: &Ledger| ledger.runs.get(&run).is_some_and(|run| !run.status.is_settled());
        if !self.is_ill && around.ledger.read(goes) {
            self.falls_ill(around);
        }
        if !self.is_ill {
            return;
        }
        let memory = &around.memory;
        let known = memory.troubles_of(&[run]).await.unwrap().pop();
        let now = around.clock.now();
        let by_force = self.plan.what == Illness::None;
        let waited = known.is_some_and(|trouble| {
            trouble.abandoned.is_none() && now.since(trouble.since).0 >= self.plan.patience
        });
        if waited && self.plan.mended {
            around.ledger.treated(run, "mended");
            memory.faults().heal();
            self.damaged.iter().for_each(|damaged| memory.mend(damaged));
            self.is_mended = true;
        } else if waited || by_force {
            around.ledger.treated(run, "given up");
            let why = "it can't go on".to_owned();
            let request = Abandon { actor: Some("ann".to_owned()), why, force: by_force };
            memory.abandon(run, &request).await.unwrap();
        }
    }

    fn falls_ill(&mut self, around: &Surroundings) {
        let (run, memory) = (self.run, &around.memory);
        match self.plan.what {
            Illness::Damaged(part) => {
                let Some(place) = around.ledger.read(|ledger| place(ledger, run, part)) else {
                    return;
                };
                memory.damage(place.clone());
                self.damaged = Some(place);
            }
            Illness::Refused => memory.faults().refuse_commits(run),
            Illness::None => {}
        }
        self.is_ill = true;
        around.ledger.is_ill(run);
    }
}

/// The document that is to be damaged; none until it exists.
fn place(ledger: &Ledger, run: RunId, part: Part) -> Option<Damaged> {
    let model = ledger.runs.get(&run)?;
    match part {
        Part::Snapshot => Some(Damaged::Snapshot(run)),
        Part::Progress => Some(Damaged::Progress(run)),
        Part::Record(number) => {
            let seq = AgentSeq(number);
            model.records.contains_key(&seq).then_some(Damaged::Record(run, seq))
        }
        Part::Journal => Some(Damaged::Journal(run, *model.journals.keys().next_back()?)),
    }
}
