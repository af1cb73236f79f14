//! Batches: which agents go at the same time. Strategies that go in batches share this count, so that all of
//! them treat a batch that is larger than a decision in the same way.

use serde::{Deserialize, Serialize};

/// When the next agents are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The next batch starts when the last one has ended.
    #[default]
    Batch,
    /// An agent starts as soon as a place is free.
    Window,
}

/// The present batch, which one decision hands to the next in its memo.
///
/// # Example
/// ```
/// use replibook_plugin_sdk::batch::{Batch, Mode};
///
/// // Five at a time, where a decision may start three.
/// let first = Batch::default().next(Mode::Batch, 5, 0);
/// let rest = first.started(Mode::Batch, 3, true).next(Mode::Batch, 5, 3);
/// assert_eq!((first.left, rest), (5, Batch { number: 1, left: 2 }));
///
/// let whole = rest.started(Mode::Batch, 2, true);
/// assert_eq!(whole.next(Mode::Batch, 5, 1).left, 0, "one of them has not ended");
/// assert_eq!(whole.next(Mode::Batch, 5, 0), Batch { number: 2, left: 5 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Number of the last batch, from 1; 0 before the first.
    pub number: u32,
    /// How many agents the batch may still start. A batch that is larger than one decision goes on in the
    /// decisions right after it.
    pub left: u32,
}

impl Batch {
    /// The batch that the next agents belong to, where `left` says how many of them may start now. `size`
    /// agents go at a time, of which `running` have not ended.
    #[must_use]
    pub fn next(self, mode: Mode, size: u32, running: u32) -> Self {
        match mode {
            Mode::Window => Self { number: self.number + 1, left: size.saturating_sub(running) },
            Mode::Batch if self.left > 0 => self,
            Mode::Batch if running == 0 => Self { number: self.number + 1, left: size },
            Mode::Batch => self,
        }
    }

    /// The batch after a decision has started `agents` agents of it. `goes_on` says whether more agents may
    /// wait that this decision could not start.
    #[must_use]
    pub fn started(self, mode: Mode, agents: u32, goes_on: bool) -> Self {
        let left = match (mode, goes_on) {
            (Mode::Batch, true) => self.left.saturating_sub(agents),
            (Mode::Batch, false) | (Mode::Window, _) => 0,
        };
        Self { number: self.number, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_on_until_it_is_whole_and_the_next_waits_for_its_end() {
        let first = Batch::default().next(Mode::Batch, 5, 0);
        assert_eq!(first, Batch { number: 1, left: 5 });
        let rest = first.started(Mode::Batch, 3, true).next(Mode::Batch, 5, 3);
        assert_eq!(rest, Batch { number: 1, left: 2 });
        let whole = rest.started(Mode::Batch, 2, true);
        assert_eq!(whole.next(Mode::Batch, 5, 5).left, 0, "it waits");
        assert_eq!(whole.next(Mode::Batch, 5, 0), Batch { number: 2, left: 5 });
        let none_left = first.started(Mode::Batch, 3, false);
        assert_eq!(none_left.next(Mode::Batch, 5, 1).left, 0, "there are no more agents");
    }

    #[test]
    fn a_window_is_filled_up() {
        let first = Batch::default().next(Mode::Window, 3, 0);
        assert_eq!(first, Batch { number: 1, left: 3 });
        let second = first.started(Mode::Window, 3, true).next(Mode::Window, 3, 2);
        assert_eq!(second, Batch { number: 2, left: 1 });
        assert_eq!(second.next(Mode::Window, 3, 4).left, 0);
    }
}
