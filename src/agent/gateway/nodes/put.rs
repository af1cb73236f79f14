//! What putting a file into its place says, as the result of an action.

use serde_json::{Value, json};

/// The most bytes of a difference: the result of an action is kept in the journal of each agent of a run.
pub const MAX_DIFF: usize = 64 * 1024;

/// The result of an action that put a file, from what it wrote to standard output: `{"changed": true, "what":
/// ["content", "mode"], "diff": "…"}`. Nothing if that is not what such a job writes.
pub fn put_result(stdout: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(stdout);
    let (first, diff) = text.split_once('\n')?;
    if first == "same" {
        return Some(json!({ "changed": false }));
    }
    let what: Vec<&str> = first.strip_prefix("changed ")?.split(' ').collect();
    if diff.is_empty() {
        return Some(json!({ "changed": true, "what": what }));
    }
    let cut = diff.len() > MAX_DIFF;
    let end = diff.floor_char_boundary(MAX_DIFF);
    let diff = diff.get(..end).unwrap_or_default();
    let mut result = json!({ "changed": true, "what": what, "diff": diff });
    if cut && let Some(result) = result.as_object_mut() {
        result.insert("cut".to_owned(), json!(true));
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_say_what_changed() {
        assert_eq!(put_result(b"same\n"), Some(json!({ "changed": false })));
        let created = json!({ "changed": true, "what": ["created"] });
        assert_eq!(put_result(b"changed created\n"), Some(created));
        let changed = json!({ "changed": true, "what": ["content", "mode"], "diff": "@@\n-a\n" });
        assert_eq!(put_result(b"changed content mode\n@@\n-a\n"), Some(changed));
        assert_eq!(put_result(b"hello"), None);
        assert_eq!(put_result(b"hello\n"), None);
    }

    #[test]
    fn a_long_difference_is_cut_and_says_so() {
        let mut stdout = b"changed content\n".to_vec();
        stdout.extend(vec![b'+'; MAX_DIFF + 1]);
        let result = put_result(&stdout).unwrap();
        assert_eq!(result["diff"].as_str().unwrap().len(), MAX_DIFF);
        assert_eq!(result["cut"], true);
        stdout.pop();
        assert_eq!(put_result(&stdout).unwrap().get("cut"), None);
    }
}
