//! The formats of the metrics: OpenMetrics, and the plain text that every monitoring system reads. The numbers
//! are encoded once, as OpenMetrics, and rewritten for clients that want plain text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{HeaderMap, header};

/// Media type for a client that asks for OpenMetrics.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Media type for all other clients.
pub(super) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the client accepts OpenMetrics, and does not prefer plain text.
pub(super) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(String, f64)> = accepted.flat_map(|text| text.split(',')).map(range).collect();
    let quality = |name: &str| {
        let of_name = ranges.iter().filter(|(range, _)| range == name).map(|(_, quality)| *quality);
        of_name.reduce(f64::max)
    };
    let plain = ["text/plain", "text/*", "*/*"].into_iter().find_map(quality).unwrap_or(0.0);
    quality("application/openmetrics-text").is_some_and(|open| open > 0.0 && open >= plain)
}

/// A media range that a client accepts, and its quality from 0 to 1.
fn range(text: &str) -> (String, f64) {
    let mut parts = text.split(';').map(str::trim);
    let named = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (named, quality.and_then(|quality| quality.parse().ok()).unwrap_or(1.0))
}

/// The same numbers as plain text, where a family is named like its samples, and there are fewer types.
pub(super) fn plain(open_metrics: &str) -> String {
    let types: BTreeMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let name = |family: &str| match types.get(family) {
        Some(&"counter") => format!("{family}_total"),
        Some(&"info") => format!("{family}_info"),
        Some(_) | None => family.to_owned(),
    };
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        let written = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(family), help) => {
                writeln!(text, "# HELP {} {}", name(family), help.unwrap_or_default())
            }
            (Some("#"), Some("TYPE"), Some(family), Some(kind)) => {
                let kind = match kind {
                    "info" => "gauge",
                    "unknown" => "untyped",
                    kind => kind,
                };
                writeln!(text, "# TYPE {} {kind}", name(family))
            }
            (Some("#"), ..) => Ok(()),
            _ => writeln!(text, "{line}"),
        };
        // Writing to a string does not fail.
        debug_assert!(written.is_ok());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        wants_open_metrics(&HeaderMap::from_iter([(header::ACCEPT, text.parse().unwrap())]))
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        for yes in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "text/plain, Application/OpenMetrics-Text; version=1.0.0",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "application/openmetrics-text; q=0.5, text/plain; q=0.9",
            "text/plain, application/openmetrics-text; q=0.9",
            "application/openmetrics-text; q=0.5, */*",
            "*/*",
            "text/plain",
            "application/openmetrics-text; q=0",
            "application/*",
        ] {
            assert!(!accepts(no), "{no}");
        }
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn families_have_the_names_of_their_samples_in_plain_text() {
        let open = "# HELP a_build About it.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP b Some of them.\n# TYPE b counter\nb_total{x=\"# y\"} 2\n\
                    # HELP c_seconds How long.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 0.5\n\
                    # EOF\n";
        let expected = "# HELP a_build_info About it.\n# TYPE a_build_info gauge\n\
                        a_build_info{version=\"1\"} 1\n\
                        # HELP b_total Some of them.\n# TYPE b_total counter\nb_total{x=\"# y\"} 2\n\
                        # HELP c_seconds How long.\n# TYPE c_seconds gauge\nc_seconds 0.5\n";
        assert_eq!(plain(open), expected);
    }

    /// Checks what promtool checks, and that all samples of a family stand together, that each family has some,
    /// and that the buckets of a histogram are in order and add up.
    fn check_strictly(text: &str) {
        let mut seen = std::collections::BTreeMap::new();
        let mut family: Option<(&str, &str)> = None;
        let mut helped = None;
        let (mut count, mut bucket) = (None, (f64::NEG_INFINITY, 0.0));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && seen.insert(name, 0).is_none(), "{line}");
                helped = Some(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(helped, Some(name), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                family = Some((name, kind));
            } else {
                let (name, kind) = family.unwrap();
                *seen.get_mut(name).unwrap() += 1;
                let sample = line.split(['{', ' ']).next().unwrap();
                let of = sample.strip_prefix(name).unwrap_or_else(|| panic!("{line}"));
                let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                match (kind, of) {
                    // The sum begins each series.
                    ("histogram", "_sum") => (count, bucket) = (None, (f64::NEG_INFINITY, 0.0)),
                    ("histogram", "_count") => count = Some(value),
                    ("histogram", "_bucket") => {
                        let le = line.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
                        let le = le.parse().unwrap_or(f64::INFINITY);
                        assert!(le > bucket.0 && value >= bucket.1, "{line}");
                        assert!(le.is_finite() || count == Some(value), "{line}");
                        bucket = (le, value);
                    }
                    _ => assert_eq!(of, "", "{line}"),
                }
            }
        }
        assert!(count.is_none() || bucket.0.is_infinite());
        let empty: Vec<_> = seen.iter().filter(|(_, samples)| **samples == 0).collect();
        assert!(empty.is_empty(), "{empty:?}");
    }

    #[test]
    fn the_numbers_of_a_server_are_well_formed() {
        let text = crate::api::metrics::Metrics::with_some_of_all().text().unwrap();
        check_strictly(&plain(&text));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    #[should_panic(expected = "c_seconds")]
    fn a_family_without_a_sample_is_found() {
        check_strictly("# HELP c_seconds How long.\n# TYPE c_seconds histogram\n");
    }

    #[test]
    #[should_panic(expected = "le=\"2\"")]
    fn buckets_that_do_not_add_up_are_found() {
        check_strictly(
            "# HELP c How long.\n# TYPE c histogram\nc_bucket{le=\"1\"} 3\nc_bucket{le=\"2\"} 2\n",
        );
    }
}
