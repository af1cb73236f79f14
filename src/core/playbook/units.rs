//! Lengths of time and numbers of agents, as they are written in documents.

use serde_json::Value;

use super::model::Amount;
use crate::time::Millis;

/// What a length of time looks like.
pub(super) const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d)$";

/// The same for people.
pub(super) const DURATION_EXPECTED: &str =
    "a length of time such as 250ms, 30s, 5m or 1h, of more than zero and at most 49 days";

/// What a length of time looks like in the JSON Schema of a plugin, where nothing else refuses zero and
/// what is too long: the SDK's `length_pattern!`.
pub(super) const PLUGIN_DURATION_PATTERN: &str = "^0*(([1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}\
     |429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}\
     |4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])ms\
     |([1-9][0-9]{0,5}|[1-3][0-9]{6}|4[01][0-9]{5}|42[0-8][0-9]{4}\
     |429[0-3][0-9]{3}|4294[0-8][0-9]{2}|42949[0-5][0-9]|429496[0-7])s\
     |([1-9][0-9]{0,3}|[1-6][0-9]{4}|70[0-9]{3}|71[0-4][0-9]{2}|715[0-7][0-9]|7158[0-2])m\
     |([1-9][0-9]{0,2}|10[0-9]{2}|11[0-8][0-9]|119[0-3])h|([1-9]|[1-4][0-9])d)$";

/// What the status of a node looks like there.
pub(super) const STATUS_PATTERN: &str = "^[A-Z][A-Z0-9_]*$";

/// The same for people.
pub(super) const STATUS_EXPECTED: &str = "a status of a node: a word in capitals such as HEALTHY";

/// The longest length of time: plugins count milliseconds in 32 bits.
pub(super) const MAX_DURATION: Millis = Millis(u32::MAX as u64);

/// What a share of the agents looks like.
pub(super) const SHARE_PATTERN: &str = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)%$";

/// What a number of agents may be, for people.
pub(super) const AMOUNT_EXPECTED: &str =
    "a number of agents such as 2, or a share of them such as 10% or 0.5%";

/// What a share looks like in arguments of the built-in strategies, where a share of nothing is refused.
pub(super) const PLUGIN_SHARE_PATTERN: &str =
    r"^(100(\.0{1,2})?|(0?[1-9]|[1-9][0-9])(\.[0-9]{1,2})?|0{1,2}\.(0[1-9]|[1-9][0-9]?))%$";

/// What that is, for people.
pub(super) const SIZE_EXPECTED: &str =
    "a number of agents from 1, or a share of them above 0% such as 10% or 0.5%";

/// Reads a length of time: a whole number and its unit.
pub(super) fn parse_duration(text: &str) -> Option<Millis> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let millis = Millis(number.parse::<u64>().ok()?.checked_mul(unit)?);
    (millis > Millis(0) && millis <= MAX_DURATION).then_some(millis)
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

/// The JSON Schema of a number of agents. One schema with two types, rather than two schemas, so
/// that an error says what is wrong and not just that nothing fits.
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
    fn durations() {
        assert_eq!(parse_duration("250ms"), Some(Millis(250)));
        assert_eq!(parse_duration("30s"), Some(Millis(30_000)));
        assert_eq!(parse_duration("5m"), Some(Millis(300_000)));
        assert_eq!(parse_duration("1h"), Some(Millis(3_600_000)));
        assert_eq!(parse_duration("49d"), Some(Millis(49 * 86_400_000)));
        let bad = ["", "5", "m", "-5m", "5 m", "5min", "1h30m", "0s", "50d", "1.5h", "٣s"];
        for bad in bad.into_iter().chain(["99999999999999999999h", "9999999999999999d"]) {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pattern_for_plugins_means_the_same() {
        let pattern = regex::Regex::new(PLUGIN_DURATION_PATTERN).unwrap();
        let mut random = 1_u64;
        for (unit, millis) in
            [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
        {
            let longest = MAX_DURATION.0 / millis;
            let edges = [0, 1, longest - 1, longest, longest + 1, longest * 10];
            let others = std::iter::repeat_with(|| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 20) % (longest * 3)
            });
            for number in (0..2_000).chain(edges).chain(others.take(5_000)) {
                for text in [format!("{number}{unit}"), format!("00{number}{unit}")] {
                    let expected = parse_duration(&text).is_some();
                    assert_eq!(pattern.is_match(&text), expected, "{text}");
                }
            }
        }
        for bad in ["", "5", "ms", "-5m", "5 m", "1h30m", "1.5h", "5min"] {
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
