//! A static inventory of Ansible in its INI form: `[group]`, `[group:children]`, `[group:vars]`, and hosts with ranges.

use serde_json::{Map, Value};

use super::ansible_tree::Tree;
use super::range::expand;
use crate::playbook::{Problem, Problems, code};

/// The group of hosts before the first section.
const UNGROUPED: &str = "ungrouped";

/// What a section is about.
enum Section {
    Hosts(String),
    Children(String),
    Vars(String),
}

/// Reads the text.
///
/// # Errors
/// Everything that is wrong with it, each problem with its line.
pub(super) fn read(text: &str) -> Result<Tree, Problems> {
    let mut tree = Tree::default();
    let mut section = Section::Hosts(UNGROUPED.to_owned());
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let done = match line.strip_prefix('[').and_then(header) {
            Some(found) => {
                section = found;
                let (Section::Hosts(name) | Section::Children(name) | Section::Vars(name)) =
                    &section;
                tree.group(name)
            }
            None => in_section(&mut tree, &section, line),
        };
        if let Err(problem) = done {
            let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let is_last = problem.code == code::TOO_LARGE;
            problems.push(Problem { line: Some(line), column: Some(1), ..*problem });
            if is_last {
                break;
            }
        }
    }
    match problems.is_empty() {
        true => Ok(tree),
        false => Err(Problems(problems)),
    }
}

/// A section, from what follows its bracket. A host may begin with a range, and so with a bracket, too.
fn header(line: &str) -> Option<Section> {
    let (name, after) = line.split_once(']')?;
    if !after.trim().is_empty() && !after.trim().starts_with(['#', ';']) {
        return None;
    }
    let (name, what) = name.split_once(':').map_or((name, None), |(name, what)| (name, Some(what)));
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    match what.map(str::trim) {
        None => Some(Section::Hosts(name.to_owned())),
        Some("children") => Some(Section::Children(name.to_owned())),
        Some("vars") => Some(Section::Vars(name.to_owned())),
        Some(_) => None,
    }
}

fn in_section(tree: &mut Tree, section: &Section, line: &str) -> Result<(), Box<Problem>> {
    match section {
        Section::Hosts(group) => {
            let words = words(line)?;
            let Some((name, rest)) = words.split_first() else { return Ok(()) };
            let (name, port) = port_of(name);
            let mut vars = Map::new();
            vars.extend(port.map(|port| ("ansible_port".to_owned(), Value::from(port))));
            for word in rest {
                let Some((key, text)) = word.split_once('=') else {
                    return Err(bad(word, "key=value after the name of a host"));
                };
                vars.insert(key.to_owned(), value(text));
            }
            for host in expand(name)? {
                tree.host(group, &host, vars.clone())?;
            }
            Ok(())
        }
        Section::Children(group) => {
            let child = line.split(['#', ';']).next().unwrap_or_default().trim();
            match child.is_empty() || child.contains(char::is_whitespace) {
                true => Err(bad(line, "the name of a group")),
                false => tree.child(group, child),
            }
        }
        Section::Vars(group) => {
            let Some((key, text)) = line.split_once('=') else {
                return Err(bad(line, "key=value"));
            };
            let vars = [(key.trim().to_owned(), value(unquoted(text.trim())))];
            tree.set(group, vars.into_iter().collect())
        }
    }
}

fn bad(found: &str, expected: &str) -> Box<Problem> {
    let problem = Problem::new(code::SYNTAX, "", "the line is not understood");
    problem.found(format!("{found:?}")).expected(expected).into()
}

/// A host without its port, and the port. An address of IPv6 has colons of its own, and so do ranges.
fn port_of(name: &str) -> (&str, Option<u16>) {
    if let Some((host, port)) = name.rsplit_once(':')
        && let Ok(port) = port.parse()
        && !outside_of_brackets(host).contains(':')
        && host.matches('[').count() == host.matches(']').count()
    {
        return (host, Some(port));
    }
    (name, None)
}

fn outside_of_brackets(text: &str) -> String {
    let mut depth = 0_usize;
    let outside = text.chars().filter(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    });
    outside.collect()
}

/// The words of a line, as a shell reads them: quotes keep white space, and `#` begins a comment.
fn words(line: &str) -> Result<Vec<String>, Box<Problem>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(next) if next == c => break,
                        Some('\\') if c == '"' => into.extend(chars.next()),
                        Some(next) => into.push(next),
                        None => return Err(bad(line, "a quotation mark at the end of the text")),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn unquoted(text: &str) -> &str {
    let inner =
        ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    inner.unwrap_or(text)
}

/// A value as Ansible reads it: a literal of Python where it is a simple one, else text.
fn value(text: &str) -> Value {
    match text {
        "True" | "true" => Value::Bool(true),
        "False" | "false" => Value::Bool(false),
        "None" => Value::Null,
        // With a zero in front it is no number to Python.
        _ if text.len() > 1 && text.starts_with('0') && !text.starts_with("0.") => {
            Value::from(text)
        }
        _ => text
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| match text.contains(|c: char| c.is_ascii_digit()) && text.contains('.') {
                true => text.parse::<f64>().map(Value::from).map_err(drop),
                false => Err(()),
            })
            .unwrap_or_else(|()| Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"
# hosts of nobody
bastion ansible_host=10.0.0.1 note="two words" # the way in

[web]
web[01:03].example.com:2222 zone=a
[fe80::1]:22

[db:vars]
ansible_user = deploy
weight=007
[db]
db-[a:b] votes=1 ; hidden
[eu:children]
web
db  # both
"#;

    #[test]
    fn hosts_groups_and_variables_are_read() {
        let hosts = read(TEXT.replace(" ; hidden", "").as_str()).unwrap().into_hosts().unwrap();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let expected = [
            "bastion",
            "web01.example.com",
            "web02.example.com",
            "web03.example.com",
            "fe80::1",
            "db-a",
            "db-b",
        ];
        assert_eq!(names, expected);
        assert_eq!(hosts[0].vars["note"], "two words");
        assert_eq!(hosts[1].groups, ["eu", "web"]);
        assert_eq!(hosts[1].vars["ansible_port"], 2222);
        assert_eq!(hosts[4].vars["ansible_port"], 22);
        let vars = json!({"ansible_user": "deploy", "weight": "007", "votes": 1});
        assert_eq!(Value::Object(hosts[5].vars.clone()), vars);
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line() {
        let text = "[web]\na b\n[web:children]\nx y\n[web:vars]\nz\n[db]\n\"a\nb[1:0]\n";
        let Problems(problems) = read(text).unwrap_err();
        let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 4, 6, 8, 9].map(Some));
        let many = read("a[1:9999999]\n").unwrap_err().to_string();
        assert!(many.contains("at most"), "{many}");
    }
}
