//! How far work is that may take a while: one line on a terminal, and nothing where there is none.

use indicatif::ProgressBar;

use super::output::Console;
use super::progress::live_line;
use super::text::clean;

/// Shows how far something is, on standard error, until it is dropped.
pub(crate) struct Work {
    line: Option<ProgressBar>,
}

impl Work {
    /// Begins with nothing to tell.
    pub(crate) fn new(console: &Console) -> Self {
        Self { line: live_line(console, None) }
    }

    /// Tells how far it is; the text is made only where somebody sees it.
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
