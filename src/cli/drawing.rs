//! Draws the batches of a stage as they start, so that a person sees at a glance how far the stage is in its
//! cluster.

use super::text::plural;
use crate::run::Happened;

/// Characters of a drawing. A larger cluster is drawn to scale.
const WIDTH: u64 = 24;

/// The batches of the present stage so far.
#[derive(Debug, Default)]
pub(crate) struct Drawing {
    /// Number of agents that the stage selected.
    selected: u64,
    /// Number of agents that were started.
    started: u64,
    /// Whether it was already reported, since the last batch started, that agents are watched.
    watching: bool,
}

impl Drawing {
    /// Takes an event, and returns what is shown beside it. For a batch that is its place in the cluster.
    /// Between two batches it is said once that the strategy has agents asked again.
    pub(crate) fn event(&mut self, what: &Happened) -> Option<String> {
        match what {
            Happened::Stage { selected, .. } => {
                *self = Self { selected: u64::from(*selected), ..Self::default() };
                None
            }
            Happened::Decision { started: 0, refresh, .. } => {
                let news = !refresh.is_empty() && !self.watching;
                self.watching |= news;
                news.then(|| format!("watching {}", plural(refresh.len() as u64, "agent")))
            }
            Happened::Decision { started, .. } => {
                let before = self.started;
                self.started += u64::from(*started);
                self.watching = false;
                let all = self.selected.max(self.started);
                Some(draw(before, self.started, all))
            }
            Happened::Status { .. }
            | Happened::Agent { .. }
            | Happened::AgentInfo { .. }
            | Happened::StepStarted { .. }
            | Happened::StepSkipped { .. }
            | Happened::StepEnded { .. }
            | Happened::LateAction { .. }
            | Happened::Moved { .. }
            | Happened::NoDecision { .. }
            | Happened::Guards { .. }
            | Happened::Closing { .. }
            | Happened::Approval { .. }
            | Happened::Command { .. } => None,
        }
    }
}

/// The agents that went before, those that go now, and those that wait. Those that go now always have a
/// character.
fn draw(before: u64, until: u64, all: u64) -> String {
    let cells = all.min(WIDTH);
    let until = (until * cells).div_ceil(all.max(1));
    let before = (before * cells / all.max(1)).min(until.saturating_sub(1));
    let repeat = |cell: &str, count: u64| cell.repeat(usize::try_from(count).unwrap_or(0));
    let (gone, going, waiting) = (before, until - before, cells - until);
    repeat("█", gone) + &repeat("▓", going) + &repeat("·", waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::AgentId;

    fn decision(started: u32, asked: usize) -> Happened {
        Happened::Decision {
            roster: 1,
            batch: None,
            label: None,
            started,
            skipped: 0,
            next: "wait".to_owned(),
            refresh: vec![AgentId::from("node-1"); asked],
            asked: None,
            memo: None,
            held: None,
        }
    }

    #[test]
    fn each_batch_has_its_place_in_the_cluster() {
        let mut drawing = Drawing::default();
        let stage = Happened::Stage { stage: "all".to_owned(), index: 0, selected: 6, once: false };
        assert_eq!(drawing.event(&stage), None);
        let mut drawn = |started, asked| drawing.event(&decision(started, asked));
        assert_eq!(drawn(1, 0).as_deref(), Some("▓·····"));
        assert_eq!(drawn(0, 1).as_deref(), Some("watching 1 agent"));
        assert_eq!(drawn(0, 1), None, "it is said once");
        assert_eq!(drawn(2, 0).as_deref(), Some("█▓▓···"));
        assert_eq!(drawn(0, 3).as_deref(), Some("watching 3 agents"));
        assert_eq!(drawn(0, 0), None);
        assert_eq!(drawn(3, 0).as_deref(), Some("███▓▓▓"));
        assert_eq!(drawn(2, 0).as_deref(), Some("██████▓▓"), "two joined");
    }

    #[test]
    fn a_large_cluster_is_drawn_to_scale_and_a_small_batch_is_seen() {
        for (before, until, all) in
            [(0, 1, 100_000), (50_000, 50_001, 100_000), (99_999, 100_000, 100_000)]
        {
            let drawn = draw(before, until, all);
            assert_eq!(drawn.chars().count(), 24);
            assert!(drawn.contains('▓'), "{drawn}");
        }
        assert_eq!(draw(25, 100, 100), format!("{}{}", "█".repeat(6), "▓".repeat(18)));
        assert_eq!(draw(0, 0, 0), "");
    }
}
