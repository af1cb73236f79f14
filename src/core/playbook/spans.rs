//! Makes one pass over the events of a YAML text. It refuses what must not reach the reader of values, and knows
//! the line and column of every node. No value is ever taken from it.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::integers::is_too_long;
use super::problem::{MAX_PROBLEMS, Problem, code};

/// The deepest nesting of values. It is deeper than any of our documents, and far from what a recursive reader
/// can't bear.
pub const MAX_DEPTH: usize = 64;

/// The longest key, and the longest path of keys, in bytes. Paths are kept with every problem, and are compared
/// with the path of every value to place the problem.
pub const MAX_KEY_BYTES: usize = 1024;
const MAX_PATH_BYTES: usize = 4 * MAX_KEY_BYTES;

/// What messages say about numbers that JSON does not have.
pub(super) const NO_NUMBER: &str = "not a number of JSON";
pub(super) const NUMBER_EXPECTED: &str = "a finite number of at most 64 bits";

/// The key that merges a mapping into another in YAML 1.1.
pub(super) const MERGE_KEY: &str = "<<";

/// A place in a text: line and column in characters, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: number(span.start.line()), column: number(span.start.col() + 1) }
    }
}

impl Problem {
    pub(super) fn at(self, position: Position) -> Self {
        Self { line: Some(position.line), column: Some(position.column), ..self }
    }
}

/// Called for each value, with its pointer, the place of its key (`None` in a sequence), and its own place.
pub(super) type OnNode<'a> = dyn FnMut(&str, Option<Position>, Position) + 'a;

/// What a pass found.
pub(super) struct Walked {
    pub(super) problems: Vec<Problem>,
    /// Whether a value can be read in spite of the problems, because the pass came to the end of the document.
    pub(super) is_readable: bool,
}

/// Goes over `text` and returns what is wrong with its structure. `max_nodes` bounds the number of values with
/// aliases written out: a text of a few lines can stand for billions of values.
pub(super) fn walk(text: &str, max_nodes: u64, on_node: &mut OnNode<'_>) -> Walked {
    let mut walk = Walk {
        path: String::new(),
        frames: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        max_nodes,
        documents: 0,
        problems: Vec::new(),
        on_node,
    };
    for event in Parser::new_from_str(text) {
        let goes_on = match event {
            Ok((event, span)) => walk.event(event, span.into()),
            Err(error) => {
                let at = Position::from(Span::empty(*error.marker()));
                walk.problem(code::SYNTAX, error.info(), at);
                false
            }
        };
        if !goes_on || walk.problems.len() > MAX_PROBLEMS {
            // What follows the first document is not looked at.
            let is_readable = walk.documents > 1;
            return Walked { problems: walk.problems, is_readable };
        }
    }
    Walked { problems: walk.problems, is_readable: true }
}

struct Walk<'a, 'f> {
    path: String,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Extent>,
    nodes: u64,
    max_nodes: u64,
    documents: usize,
    problems: Vec<Problem>,
    on_node: &'a mut OnNode<'f>,
}

/// A collection whose end has not come yet.
struct Frame {
    place: Place,
    /// Length of the path of the collection itself.
    path_len: usize,
    anchor: usize,
    nodes_before: u64,
    height: usize,
}

enum Place {
    Sequence {
        next: usize,
    },
    /// `key` is the key whose value comes next.
    Mapping {
        keys: HashSet<String>,
        key: Option<(String, Position)>,
    },
}

/// How much an alias stands for.
#[derive(Clone, Copy)]
struct Extent {
    nodes: u64,
    height: usize,
}

impl Walk<'_, '_> {
    /// Takes one event. False means that there is no point in going on.
    fn event(&mut self, event: Event<'_>, at: Position) -> bool {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => true,
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problem(
                        code::SYNTAX,
                        "found a second document in the text, expected one",
                        at,
                    );
                }
                self.documents == 1
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.is_key() {
                    self.check_tag(tag.as_deref(), at);
                    return self.key(&text, style, at)
                        && self.count(Extent { nodes: 1, height: 0 }, anchor, at);
                }
                self.value(at);
                self.check_tag(tag.as_deref(), at);
                if style == ScalarStyle::Plain && tag.is_none() && is_too_long(&text) {
                    self.too_long(&text, at);
                }
                let goes_on = self.count(Extent { nodes: 1, height: 0 }, anchor, at);
                self.end_value();
                goes_on
            }
            Event::Alias(anchor) => {
                if self.is_key() {
                    self.problem(code::NOT_JSON, "found an alias as a key, expected a string", at);
                    return false;
                }
                self.value(at);
                let Some(extent) = self.anchors.get(&anchor).copied() else {
                    self.problem(code::SYNTAX, "found an alias within the value that it names", at);
                    return false;
                };
                let goes_on = self.count(extent, 0, at);
                self.end_value();
                goes_on
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Place::Sequence { next: 0 }, anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                let place = Place::Mapping { keys: HashSet::new(), key: None };
                self.start(place, anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                true
            }
        }
    }

    fn problem(&mut self, code: &str, message: &str, at: Position) {
        self.problems.push(Problem::new(code, self.path.clone(), message).at(at));
    }

    /// The reader of values would make a number with fewer digits of it. The message is the same as that reader's.
    fn too_long(&mut self, number: &str, at: Position) {
        let problem = Problem::new(code::NOT_JSON, self.path.clone(), NO_NUMBER);
        let problem = problem.found(number.trim_start_matches('+')).expected(NUMBER_EXPECTED);
        self.problems.push(problem.at(at));
    }

    /// Whether the next node is a key.
    fn is_key(&self) -> bool {
        let place = self.frames.last().map(|frame| &frame.place);
        matches!(place, Some(Place::Mapping { key: None, .. }))
    }

    /// Takes a key. False means that there is no point in going on.
    fn key(&mut self, text: &str, style: ScalarStyle, at: Position) -> bool {
        if text.len() > MAX_KEY_BYTES || self.path.len() + text.len() > MAX_PATH_BYTES {
            let message = format!(
                "a key of {} bytes is too long, expected at most {MAX_KEY_BYTES} bytes, and \
                 {MAX_PATH_BYTES} bytes with the keys around it",
                text.len()
            );
            self.problem(code::TOO_LARGE, &message, at);
            return false;
        }
        let known = match self.frames.last_mut().map(|frame| &mut frame.place) {
            Some(Place::Mapping { keys, key }) => {
                *key = Some((text.to_owned(), at));
                !keys.insert(text.to_owned())
            }
            Some(Place::Sequence { .. }) | None => false,
        };
        let length = self.path.len();
        push_segment(&mut self.path, text);
        if known {
            self.problem(code::DUPLICATE_KEY, &format!("found the key {text:?} twice"), at);
        }
        if text == MERGE_KEY && style == ScalarStyle::Plain {
            let message = "merge keys (<<) are not part of YAML 1.2; write the keys out";
            self.problem(code::SYNTAX, message, at);
        }
        self.path.truncate(length);
        true
    }

    /// Adds the next value to the path and reports it.
    fn value(&mut self, at: Position) {
        let mut key_at = None;
        match self.frames.last_mut().map(|frame| &mut frame.place) {
            Some(Place::Sequence { next }) => {
                push_segment(&mut self.path, &next.to_string());
                *next += 1;
            }
            Some(Place::Mapping { key, .. }) => {
                if let Some((text, position)) = key.take() {
                    push_segment(&mut self.path, &text);
                    key_at = Some(position);
                }
            }
            None => {}
        }
        (self.on_node)(&self.path, key_at, at);
    }

    fn end_value(&mut self) {
        self.path.truncate(self.frames.last().map_or(0, |frame| frame.path_len));
    }

    fn start(&mut self, place: Place, anchor: usize, tag: Option<&Tag>, at: Position) -> bool {
        if self.is_key() {
            self.problem(code::NOT_JSON, "found a collection as a key, expected a string", at);
            return false;
        }
        self.value(at);
        self.check_tag(tag, at);
        let frame =
            Frame { place, path_len: self.path.len(), anchor, nodes_before: self.nodes, height: 0 };
        self.frames.push(frame);
        self.count(Extent { nodes: 1, height: 0 }, 0, at)
    }

    fn end(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let extent = Extent { nodes: self.nodes - frame.nodes_before, height: frame.height + 1 };
        if frame.anchor != 0 {
            self.anchors.insert(frame.anchor, extent);
        }
        if let Some(parent) = self.frames.last_mut() {
            parent.height = parent.height.max(extent.height);
        }
        self.end_value();
    }

    /// Counts the values in `extent` and remembers the extent for aliases. False means that a limit is exceeded.
    fn count(&mut self, extent: Extent, anchor: usize, at: Position) -> bool {
        self.nodes = self.nodes.saturating_add(extent.nodes);
        if anchor != 0 {
            self.anchors.insert(anchor, extent);
        }
        if let Some(parent) = self.frames.last_mut() {
            parent.height = parent.height.max(extent.height);
        }
        if self.nodes > self.max_nodes {
            let message = format!("more than {} values, with aliases written out", self.max_nodes);
            self.problem(code::TOO_LARGE, &message, at);
            return false;
        }
        if self.frames.len() + extent.height > MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep");
            self.problem(code::TOO_DEEP, &message, at);
            return false;
        }
        true
    }

    /// Tags of YAML's core types change nothing. Any other tag would need a type that we don't have.
    fn check_tag(&mut self, tag: Option<&Tag>, at: Position) {
        const CORE: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && CORE.contains(&tag.suffix.as_str()))
        {
            let message = format!("the tag {}{} is not known", tag.handle, tag.suffix);
            self.problem(code::SYNTAX, &message, at);
        }
    }
}

/// Appends one segment to a JSON pointer.
pub(super) fn push_segment(path: &mut String, segment: &str) {
    path.push('/');
    for c in segment.chars() {
        match c {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            other => path.push(other),
        }
    }
}

/// Gives line and column to the problems that have none: those of the place itself, or of the nearest place around
/// it that the text has.
pub(super) fn locate(text: &str, problems: &mut [Problem]) {
    let mut wanted: HashMap<String, Option<(Option<Position>, Position)>> = HashMap::new();
    for problem in problems.iter().filter(|problem| problem.line.is_none()) {
        wanted.extend(ancestors(&problem.path).map(|path| (path.to_owned(), None)));
    }
    if wanted.is_empty() {
        return;
    }
    // Hashing every path would take as long as all paths are together.
    let lengths: HashSet<usize> = wanted.keys().map(String::len).collect();
    walk(text, u64::MAX, &mut |path, key, value| {
        if lengths.contains(&path.len())
            && let Some(place) = wanted.get_mut(path)
        {
            // If a key has two values, the first was looked at.
            place.get_or_insert((key, value));
        }
    });
    // A text without any value has its problems at its beginning.
    wanted.entry(String::new()).or_default().get_or_insert((None, Position { line: 1, column: 1 }));
    for problem in problems.iter_mut().filter(|problem| problem.line.is_none()) {
        let places = ancestors(&problem.path).filter_map(|p| wanted.get(p).copied().flatten());
        if let Some((key, value)) = { places }.next() {
            let at = if problem.is_about_key() { key.unwrap_or(value) } else { value };
            (problem.line, problem.column) = (Some(at.line), Some(at.column));
        }
    }
}

/// `pointer`, and all pointers to what is around it, the innermost first.
pub(super) fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |path| path.rfind('/').map(|end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<String> {
        let problems = walk(text, 1_000, &mut |_, _, _| {}).problems;
        problems.into_iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn every_node_has_its_pointer_and_place() {
        let mut seen = Vec::new();
        let text = "a: 1\nb:\n  - x\n  - {c/d: é, e: [2]}\n";
        let problems = walk(text, 1_000, &mut |path, key, at| {
            seen.push((path.to_owned(), key.map(|k| (k.line, k.column)), (at.line, at.column)));
        })
        .problems;
        assert_eq!(problems, []);
        let has = |path: &str, key, at| {
            assert!(seen.contains(&(path.into(), key, at)), "{path} {seen:?}")
        };
        has("/a", Some((1, 1)), (1, 4));
        has("/b/0", None, (3, 5));
        has("/b/1/c~1d", Some((4, 6)), (4, 11));
        has("/b/1/e/0", None, (4, 18));
    }

    #[test]
    fn aliases_count_for_what_they_stand_for() {
        assert_eq!(codes("a: &a [1, 2]\nb: *a\n"), [""; 0]);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert_eq!(codes(&bomb), [code::TOO_LARGE]);
        assert_eq!(codes("a: &a [*a]\n").len(), 1);
    }

    #[test]
    fn depth_is_bounded_also_through_aliases() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(codes(&nested(MAX_DEPTH)), [""; 0]);
        assert_eq!(codes(&nested(MAX_DEPTH + 1)), [code::TOO_DEEP]);
        assert_eq!(codes(&"[".repeat(1_000_000)).len(), 1);
        let half = MAX_DEPTH / 2;
        let text =
            format!("a: &a {}\nb: {}*a{}\n", nested(half), "[".repeat(half), "]".repeat(half));
        assert_eq!(codes(&text), [code::TOO_DEEP]);
    }

    #[test]
    fn keys_and_paths_have_a_largest_size() {
        let key = |size: usize| format!("? {}\n: 1\n", "k".repeat(size));
        assert_eq!(codes(&key(MAX_KEY_BYTES)), [""; 0]);
        assert_eq!(codes(&key(MAX_KEY_BYTES + 1)), [code::TOO_LARGE]);
        let keys = |number: usize| format!("{{ {}: ", "k".repeat(1_000)).repeat(number);
        let nested = |number: usize| format!("{}1{}", keys(number), "}".repeat(number));
        assert_eq!(codes(&nested(4)), [""; 0]);
        assert_eq!(codes(&nested(5)), [code::TOO_LARGE]);
    }

    #[test]
    fn a_problem_without_a_place_gets_that_of_what_is_around_it() {
        let mut problems = [
            Problem::new(code::MISSING_KEY, "/a/b/c", "x"),
            Problem::new(code::UNKNOWN_KEY, "/a/b", "x"),
            Problem::new(code::BAD_VALUE, "/nowhere", "x"),
        ];
        locate("a:\n  b: {d: 1}\n", &mut problems);
        let places = problems.map(|problem| (problem.line, problem.column));
        assert_eq!(places, [(Some(2), Some(6)), (Some(2), Some(3)), (Some(1), Some(1))]);
    }
}
