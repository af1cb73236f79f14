//! What the audit of a server has, as the demonstration shows it: one entry with all of it, or all entries on a line each.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::access::audit::{AuditEntry, AuditOutcome};
use crate::cli::text::time_of_day;

/// The last thing that was refused to somebody, with its fields below each other: the line itself is longer than a terminal
/// is wide.
pub(super) fn refusal(audit: &Path, who: &str) -> anyhow::Result<String> {
    let entries = read(audit)?;
    let is_it = |entry: &&AuditEntry| {
        entry.outcome == AuditOutcome::Refused && entry.who.as_deref() == Some(who)
    };
    let found = entries.iter().rfind(is_it);
    let found = found.with_context(|| format!("found no refusal of {who} in the audit"))?;
    Ok(serde_json::to_string_pretty(found)?)
}

/// A line for each change: when, who, what, and how it ended.
pub(super) fn in_short(audit: &Path) -> anyhow::Result<String> {
    let mut text = format!("{:<10}{:<13}{:<29}OUTCOME", "AT", "WHO", "WHAT");
    for entry in read(audit)?.iter().filter(|entry| entry.outcome != AuditOutcome::Begins) {
        let who = entry.who.as_deref().unwrap_or("-");
        let outcome = match entry.outcome {
            AuditOutcome::Begins => "begins",
            AuditOutcome::Done => "done",
            AuditOutcome::Failed => "failed",
            AuditOutcome::Refused => "refused",
            AuditOutcome::Unknown => "unknown",
        };
        let why = entry.code.as_ref().map(|code| format!(": {code}")).unwrap_or_default();
        let at = time_of_day(entry.at);
        let _ = write!(text, "\n{at:<10}{who:<13}{:<29}{outcome}{why}", entry.what);
    }
    Ok(text)
}

fn read(audit: &Path) -> anyhow::Result<Vec<AuditEntry>> {
    let text = std::fs::read_to_string(audit).context("failed to read the audit")?;
    let entry = |line| serde_json::from_str(line).context("failed to read a line of the audit");
    text.lines().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_and_every_change_is_one_line_of_a_terminal() {
        let line = |outcome: &str, more: &str| {
            format!(
                "{{\"at\":\"2026-11-30T10:00:00Z\",\"request\":\"0192b2e4-0000-4000-8000-000000000000\",\"who\":\"token:alice\",\
                 \"what\":\"apply playbooks or clusters\",\"to\":\"POST /x\",\"outcome\":\"{outcome}\"{more}}}\n"
            )
        };
        let refused = ",\"status\":403,\"code\":\"approval-not-wanted\"";
        let text =
            line("begins", "") + &line("done", ",\"status\":200") + &line("refused", refused);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.jsonl");
        std::fs::write(&file, text).unwrap();
        assert!(refusal(&file, "token:alice").unwrap().contains("\"approval-not-wanted\""));
        assert!(refusal(&file, "token:bob").is_err());
        let short = in_short(&file).unwrap();
        let lines: Vec<_> = short.lines().collect();
        assert_eq!(lines.len(), 3, "{short}");
        assert!(lines[2].starts_with("10:00:00  token:alice  apply ") && lines[2].len() <= 80);
        assert!(lines[2].ends_with("refused: approval-not-wanted"), "{short}");
    }
}
