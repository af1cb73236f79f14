//! Reads lengths of time and numbers of agents as they are written in documents, and has the patterns and messages
//! for them.

use serde_json::Value;

use super::model::Amount;
use crate::time::Millis;

/// What a length of time may be in documents and in arguments of plugins, as human-readable text.
pub(super) const DURATION_EXPECTED: &str = "a length of time such as 300ms, 5m, 1h30m, 1d or PT1H30M, of more than zero and at most 49 days";

/// The pattern of a node's status in the JSON Schema of a plugin.
pub(super) const STATUS_PATTERN: &str = "^[A-Z][A-Z0-9_]*$";

/// [`STATUS_PATTERN`] as human-readable text.
pub(super) const STATUS_EXPECTED: &str = "a status of a node: a word in capitals such as HEALTHY";

/// The longest length of time in a document. Plugins count milliseconds in 32 bits.
pub(super) const MAX_DURATION: Millis = Millis(u32::MAX as u64);

/// The pattern of a share of the agents.
pub(super) const SHARE_PATTERN: &str = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)%$";

/// What a number of agents may be, as human-readable text.
pub(super) const AMOUNT_EXPECTED: &str =
    "a number of agents such as 2, or a share of them such as 10% or 0.5%";

/// The pattern of a number or share of agents in arguments of plugins, where zero is not allowed. It is the SDK's
/// `size_pattern!`. A number may be text too, because a filled-in expression often is.
pub(super) const PLUGIN_SIZE_PATTERN: &str = "^((100([.]0{1,2})?|(0?[1-9]|[1-9][0-9])([.][0-9]{1,2})?|0{1,2}[.](0[1-9]|[1-9][0-9]?))%|[1-9][0-9]{0,8})$";

/// [`PLUGIN_SIZE_PATTERN`] as human-readable text.
pub(super) const SIZE_EXPECTED: &str =
    "a number of agents from 1, or a share of them above 0% such as 10% or 0.5%";

/// Reads a length of time of more than zero and at most [`MAX_DURATION`].
pub(super) fn parse_duration(text: &str) -> Option<Millis> {
    let length = text.parse::<Millis>().ok()?;
    (length > Millis(0) && length <= MAX_DURATION).then_some(length)
}

/// Reads a number of agents: a count, or a percentage with at most two decimals.
pub(super) fn parse_amount(value: &Value) -> Option<Amount> {
    let Some(text) = value.as_str() else {
        return u32::try_from(value.as_u64()?).ok().map(Amount::Count);
    };
    let percent = text.strip_suffix('%')?;
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
        return None;
    }
    let decimals = decimals.parse::<u32>().ok()? * if decimals.len() == 1 { 10 } else { 1 };
    let hundredths = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(decimals)?;
    (hundredths <= 10_000).then_some(Amount::Share(hundredths))
}

/// The JSON Schema of a number of agents. It is one schema with two types rather than two schemas, so that an
/// error says what is wrong and not just that no schema fits.
pub(super) fn amount_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": u32::MAX,
        "pattern": SHARE_PATTERN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_duration_is_more_than_nothing_and_fits_what_plugins_count() {
        assert_eq!(parse_duration("1ms"), Some(Millis(1)));
        assert_eq!(parse_duration("1h30m"), Some(Millis(5_400_000)));
        assert_eq!(parse_duration("PT1H30M"), Some(Millis(5_400_000)));
        assert_eq!(parse_duration("4294967295ms"), Some(MAX_DURATION));
        for bad in ["0s", "PT0S", "4294967296ms", "50d", "-5m", "1mo", "5", "soon", ""] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pattern_of_the_sdk_is_this_one() {
        let sdk = include_str!("../../../plugins/sdk/src/arguments.rs");
        assert!(sdk.contains(PLUGIN_SIZE_PATTERN));
        let pattern = regex::Regex::new(PLUGIN_SIZE_PATTERN).unwrap();
        for good in ["1", "2", "999999999", "10%", "0.5%", "00.01%", "100%", "100.00%"] {
            assert!(pattern.is_match(good), "{good}");
        }
        for bad in ["", "0", "02", "1234567890", "-1", "1.5", "0%", "0.00%", "101%", "2 %", "two"] {
            assert!(!pattern.is_match(bad), "{bad}");
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(parse_amount(&json!(2)), Some(Amount::Count(2)));
        assert_eq!(parse_amount(&json!("10%")), Some(Amount::Share(1_000)));
        assert_eq!(parse_amount(&json!("0.5%")), Some(Amount::Share(50)));
        assert_eq!(parse_amount(&json!("12.05%")), Some(Amount::Share(1_205)));
        assert_eq!(parse_amount(&json!("100%")), Some(Amount::Share(10_000)));
        let bad = [json!(-1), json!(1.5), json!(4_294_967_296_u64), json!("2"), json!("101%")];
        let worse =
            [json!("%"), json!(".5%"), json!("1.%"), json!("1.234%"), json!("+1%"), json!(null)];
        for bad in bad.iter().chain(&worse) {
            assert_eq!(parse_amount(bad), None, "{bad}");
        }
    }
}
