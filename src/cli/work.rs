//! Shows how far longer work is: one line on a terminal, and nothing elsewhere.

use indicatif::ProgressBar;

use super::output::Console;
use super::progress::live_line;
use super::text::clean;

/// Shows on standard error how far something is, until this is dropped.
pub(crate) struct Work {
    line: Option<ProgressBar>,
}

impl Work {
    /// Begins without a text.
    pub(crate) fn new(console: &Console) -> Self {
        Self { line: live_line(console, None) }
    }

    /// Sets the text; it is only made if somebody sees it.
    pub(crate) fn at(&self, text: impl FnOnce() -> String) {
        if let Some(line) = &self.line {
            line.set_message(clean(&text()));
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_to_nobody() {
        let mut console = Console::of_process(Default::default());
        console.live = false;
        Work::new(&console).at(|| panic!("nobody sees it"));
    }
}
