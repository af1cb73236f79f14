//! What a run that is narrower than its playbook leaves out, and the options that make another run as narrow.

use super::explain::Telling;
use super::words::word;
use crate::playbook::Narrowing;

impl Telling<'_> {
    pub(super) fn say_narrowed(&mut self) {
        let narrowed = &self.run.snapshot.narrowed;
        if !narrowed.is_none() {
            self.say(&format!("It is narrower than its playbook: {narrowed}"));
        }
    }
}

/// The options of `run start` that narrow a run in the same way, each after a space.
pub(super) fn options(narrowed: &Narrowing) -> String {
    let Narrowing { select, limit, skip_stages, start_at } = narrowed;
    let select = select.iter().map(|select| ("select", select.source().to_owned()));
    let limit = limit.iter().map(|limit| ("limit", limit.to_string()));
    let skips = skip_stages.iter().map(|stage| ("skip-stage", stage.clone()));
    let begins = start_at.iter().map(|stage| ("start-at", stage.clone()));
    let all = select.chain(limit).chain(skips).chain(begins);
    all.map(|(option, value)| format!(" --{option} {}", word(&value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::Expr;

    #[test]
    fn the_options_of_a_narrowed_run_can_be_typed_into_a_shell() {
        let narrowed = Narrowing {
            select: Some(Expr::parse("agent.id != \"a\"").unwrap()),
            limit: Some(3),
            skip_stages: vec!["drain".to_owned(), "check".to_owned()],
            start_at: Some("upgrade".to_owned()),
        };
        assert_eq!(
            options(&narrowed),
            " --select 'agent.id != \"a\"' --limit 3 --skip-stage drain --skip-stage check --start-at upgrade"
        );
        assert_eq!(options(&Narrowing::default()), "");
    }
}
