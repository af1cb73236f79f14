//! How far work is that may take a while: one line on a terminal, and nothing where there is none.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Console;

/// How often the line is drawn anew, so that the clock in it goes.
const TICK: Duration = Duration::from_millis(250);

/// Without and with colours.
const TEMPLATES: [&str; 2] =
    ["{spinner} {msg} {elapsed_precise}", "{spinner:.yellow} {msg} {elapsed_precise:.dim}"];

/// Shows how far something is, on standard error, until it is dropped.
pub(crate) struct Work {
    line: Option<ProgressBar>,
}

impl Work {
    /// Begins with nothing to tell.
    pub(crate) fn new(console: &Console) -> Self {
        let line = console.live.then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = TEMPLATES[usize::from(console.colour_messages)];
            let style = ProgressStyle::with_template(template);
            line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            line.enable_steady_tick(TICK);
            line
        });
        Self { line }
    }

    /// Tells how far it is; the text is made only where somebody sees it.
    pub(crate) fn at(&self, text: impl FnOnce() -> String) {
        if let Some(line) = &self.line {
            line.set_message(text());
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
    fn the_templates_are_valid_and_nothing_is_told_to_nobody() {
        for template in TEMPLATES {
            ProgressStyle::with_template(template).unwrap();
        }
        let mut console = Console::of_process(Default::default());
        console.live = false;
        Work::new(&console).at(|| panic!("nobody sees it"));
    }
}
