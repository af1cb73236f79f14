//! Ranges in the names of hosts: `web[01:50].example.com`, `db-[a:f]`, with a step as a third part.

use crate::playbook::inventory::MAX_NODES;
use crate::playbook::{Problem, code};

/// The hosts that a name with ranges stands for; the name alone if it has none.
///
/// # Errors
/// A range can't be read, or the name stands for more hosts than an inventory has.
pub(super) fn expand(name: &str) -> Result<Vec<String>, Box<Problem>> {
    let mut done = vec![String::new()];
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inner, after)) = after.split_once(']') else {
            return Err(bad(name));
        };
        let parts = match is_address(inner) {
            true => vec![inner.to_owned()],
            false => range(inner).ok_or_else(|| bad(name))?,
        };
        if done.len().saturating_mul(parts.len()) > MAX_NODES {
            let problem = Problem::new(code::TOO_LARGE, "", "a range stands for too many hosts");
            let problem = problem.found(format!("{name:?}"));
            return Err(problem.expected(format!("at most {MAX_NODES}")).into());
        }
        let longer = |start: &String| {
            let start = format!("{start}{before}");
            parts.iter().map(|part| format!("{start}{part}")).collect::<Vec<_>>()
        };
        done = done.iter().flat_map(longer).collect();
        rest = after;
    }
    Ok(done.into_iter().map(|start| format!("{start}{rest}")).collect())
}

fn bad(name: &str) -> Box<Problem> {
    let problem = Problem::new(code::BAD_VALUE, "", "a range can't be read");
    problem
        .found(format!("{name:?}"))
        .expected("[FIRST:LAST] or [FIRST:LAST:STEP], such as [01:50] or [a:f]")
        .into()
}

/// Whether this is an address of IPv6 in its brackets.
fn is_address(inner: &str) -> bool {
    inner.parse::<std::net::Ipv6Addr>().is_ok()
}

fn range(inner: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = inner.split(':').collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, 1),
        [first, last, step] => (first, last, step.parse::<usize>().ok().filter(|step| *step > 0)?),
        _ => return None,
    };
    let letter = |text: &str| text.parse::<char>().ok().filter(char::is_ascii_alphabetic);
    if let (Some(first), Some(last)) = (letter(first), letter(last)) {
        let letters = (first..=last).step_by(step).map(String::from).collect::<Vec<_>>();
        return Some(letters).filter(|letters| !letters.is_empty());
    }
    let first_number = if first.is_empty() { 0 } else { number(first)? };
    let last_number = number(last)?;
    if last_number < first_number {
        return None;
    }
    // One more than may be is enough to tell that there are too many.
    let width = if first.len() > 1 && first.starts_with('0') { first.len() } else { 0 };
    let numbers = (first_number..=last_number).step_by(step).take(MAX_NODES + 1);
    Some(numbers.map(|number| format!("{number:0width$}")).collect())
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_expanded_as_ansible_does_it() {
        for (name, expected) in [
            ("web", &["web"][..]),
            ("web[1:3]", &["web1", "web2", "web3"]),
            ("web[08:10].x", &["web08.x", "web09.x", "web10.x"]),
            ("[a:c:2]", &["a", "c"]),
            ("r[1:2]-[a:b]", &["r1-a", "r1-b", "r2-a", "r2-b"]),
            ("[fe80::1]", &["fe80::1"]),
            ("x[:1]", &["x0", "x1"]),
        ] {
            assert_eq!(expand(name).unwrap(), expected, "{name}");
        }
        for bad in [
            "a[1",
            "a[]",
            "a[1]",
            "a[2:1]",
            "a[b:a]",
            "a[1:x]",
            "a[1:2:0]",
            "a[-1:2]",
            "a[1:2:3:4]",
        ] {
            assert!(expand(bad).is_err(), "{bad}");
        }
        for many in ["a[0:20000]", "a[0:999]-[0:999]", "a[0:18446744073709551615]"] {
            assert_eq!(expand(many).unwrap_err().code, code::TOO_LARGE, "{many}");
        }
        assert_eq!(expand("a[0:19999]").unwrap().len(), MAX_NODES);
    }
}
