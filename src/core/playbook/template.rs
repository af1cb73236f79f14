//! JSON values whose strings may hold `${{ expression }}`. All expressions are checked when the template is read,
//! so only their evaluation can fail in a run.
//!
//! An expression that is alone in a string keeps its type. Inside text it is rendered: a string as it is, anything
//! else as JSON. `$${{` stands for `${{` itself. Keys are never templates.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bind::MAX_VALUE_BYTES;
use super::depth::{self, MAX_JSON_DEPTH};
use super::expr::{Expr, ExprError, Scope, SecretTokens};
use super::spans::push_segment;

/// The most expressions in one template. Each is compiled and kept in memory.
pub const MAX_EXPRESSIONS: usize = 256;

/// The largest rendered template, in bytes. Arguments are written with every attempt.
pub const MAX_RENDERED_BYTES: usize = 1024 * 1024;

const OPEN: &str = "${{";

/// A JSON value whose strings may hold `${{ … }}`.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
pub struct Template {
    source: Value,
    node: Arc<Node>,
}

enum Node {
    /// A value without expressions.
    Literal(Value),
    /// A string with something that is not a valid expression, so its value is not known. The valid parts are
    /// kept.
    Bad(Vec<Part>),
    Alone(Expr),
    Text(Vec<Part>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

enum Part {
    Text(String),
    Expr(Expr),
}

/// Something in a template, with the JSON pointer to its place.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) pointer: String,
    pub(super) value: T,
}

impl Default for Template {
    /// No arguments.
    fn default() -> Self {
        let source = Value::Object(serde_json::Map::new());
        let node = Arc::new(Node::Literal(source.clone()));
        Self { source, node }
    }
}

impl Template {
    /// Reads a template and checks every expression in it.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Template;
    /// use serde_json::json;
    ///
    /// let template = Template::parse(json!({ "batch": "${{ params.batch }}", "mode": "window" }))?;
    /// assert!(template.looks_at(&["params", "batch"]) && !template.is_literal());
    /// assert!(Template::parse(json!("${{ params.batch + }}")).is_err());
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn parse(source: Value) -> Result<Self, ExprError> {
        let (template, errors) = Self::read(source);
        errors.into_iter().next().map_or(Ok(template), |first| Err(first.value))
    }

    /// Like [`Template::parse`], but with all errors and their places. The template may be used only if there is
    /// no error; otherwise it has only what is valid.
    pub(super) fn read(source: Value) -> (Self, Vec<Placed<ExprError>>) {
        let mut reader = Reader { path: String::new(), expressions: 0, errors: Vec::new() };
        let node = reader.node(&source);
        (Self { source, node: Arc::new(node) }, reader.errors)
    }

    /// The template as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether there is no expression in it, so that it renders the same in every scope.
    pub fn is_literal(&self) -> bool {
        self.node.is_literal()
    }

    /// Whether any expression looks at this part of the scope, or at something in it.
    pub fn looks_at(&self, path: &[&str]) -> bool {
        self.expressions().iter().any(|placed| placed.value.looks_at(path))
    }

    /// The value with every expression filled in. An expression that is alone in a string keeps its type.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Scope, Template};
    /// use serde_json::{Value, json};
    ///
    /// let (params, none) = (json!({ "seconds": 30 }), Value::Null);
    /// let scope = Scope { params: &params, agent: &none, steps: &none, run: &none, cluster: &none };
    /// let args = json!({ "wait": "${{ params.seconds }}", "say": "wait ${{ params.seconds }}s" });
    /// assert_eq!(
    ///     Template::parse(args)?.render(&scope)?,
    ///     json!({ "wait": 30, "say": "wait 30s" }),
    /// );
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        self.fill_in(scope, None)
    }

    /// Like [`Template::render`], with the tokens that stand for secrets.
    pub(crate) fn render_with(
        &self,
        scope: &Scope<'_>,
        tokens: &SecretTokens,
    ) -> Result<Value, ExprError> {
        self.fill_in(scope, Some(tokens))
    }

    fn fill_in(
        &self,
        scope: &Scope<'_>,
        tokens: Option<&SecretTokens>,
    ) -> Result<Value, ExprError> {
        let mut left = Left { bytes: MAX_RENDERED_BYTES, levels: MAX_JSON_DEPTH, tokens };
        self.node.render(scope, &mut left)
    }

    /// The names of the secrets in the expressions, each once and in order.
    pub(crate) fn secrets(&self) -> BTreeSet<&str> {
        let all = self.expressions().into_iter();
        all.flat_map(|placed| placed.value.secrets()).map(String::as_str).collect()
    }

    /// Whether `is_such` is true for any of the expressions.
    pub(crate) fn any(&self, is_such: impl Fn(&Expr) -> bool) -> bool {
        self.expressions().iter().any(|placed| is_such(placed.value))
    }

    /// All expressions with their places.
    pub(super) fn expressions(&self) -> Vec<Placed<&Expr>> {
        let mut all = Vec::new();
        self.node.visit(&mut String::new(), &mut |node, path| {
            let mut add = |value| all.push(Placed { pointer: path.to_owned(), value });
            match node {
                Node::Alone(expr) => add(expr),
                Node::Text(parts) | Node::Bad(parts) => parts.iter().for_each(|part| match part {
                    Part::Expr(expr) => add(expr),
                    Part::Text(_) => {}
                }),
                Node::Literal(_) | Node::Array(_) | Node::Object(_) => {}
            }
        });
        all
    }

    /// The places of the values that are not known before the run, and whether each value is surely a string.
    pub(super) fn unknown(&self) -> Vec<Placed<bool>> {
        let mut all = Vec::new();
        self.node.visit(&mut String::new(), &mut |node, path| {
            let mut add = |value| all.push(Placed { pointer: path.to_owned(), value });
            match node {
                Node::Alone(_) | Node::Bad(_) => add(false),
                Node::Text(_) => add(true),
                Node::Literal(_) | Node::Array(_) | Node::Object(_) => {}
            }
        });
        all
    }
}

struct Reader {
    path: String,
    expressions: usize,
    errors: Vec<Placed<ExprError>>,
}

impl Reader {
    fn node(&mut self, source: &Value) -> Node {
        match source {
            Value::Null | Value::Bool(_) | Value::Number(_) => Node::Literal(source.clone()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let nodes = items.map(|(index, item)| self.below(&index.to_string(), item));
                let nodes: Vec<Node> = nodes.collect();
                match nodes.iter().all(Node::is_literal) {
                    true => Node::Literal(nodes.into_iter().map(Node::into_literal).collect()),
                    false => Node::Array(nodes),
                }
            }
            Value::Object(entries) => {
                let nodes = entries.iter().map(|(key, value)| {
                    if key.contains(OPEN) {
                        let error = ExprError::invalid(key, "a key can't hold an expression");
                        self.error(error);
                    }
                    (key.clone(), self.below(key, value))
                });
                let nodes: Vec<(String, Node)> = nodes.collect();
                match nodes.iter().all(|(_, node)| node.is_literal()) {
                    true => Node::Literal(Value::Object(
                        nodes.into_iter().map(|(key, node)| (key, node.into_literal())).collect(),
                    )),
                    false => Node::Object(nodes),
                }
            }
        }
    }

    fn below(&mut self, segment: &str, value: &Value) -> Node {
        let length = self.path.len();
        push_segment(&mut self.path, segment);
        let node = self.node(value);
        self.path.truncate(length);
        node
    }

    fn error(&mut self, value: ExprError) {
        self.errors.push(Placed { pointer: self.path.clone(), value });
    }

    fn string(&mut self, text: &str) -> Node {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        let errors = self.errors.len();
        while let Some(start) = rest.find(OPEN) {
            let (before, after) = (&rest[..start], &rest[start + OPEN.len()..]);
            if let Some(escaped) = before.strip_suffix('$') {
                literal.push_str(escaped);
                literal.push_str(OPEN);
                rest = after;
                continue;
            }
            literal.push_str(before);
            let Some(length) = expression_length(after) else {
                self.error(ExprError::invalid(text, "found ${{ without }} after it"));
                return Node::Bad(parts);
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            self.expressions += 1;
            if self.expressions == MAX_EXPRESSIONS + 1 {
                let message = format!("found more than {MAX_EXPRESSIONS} expressions in one value");
                self.error(ExprError::invalid(text, message));
            }
            if self.expressions > MAX_EXPRESSIONS {
                return Node::Bad(parts);
            }
            match Expr::parse(after[..length].trim()) {
                Ok(expr) => parts.push(Part::Expr(expr)),
                Err(error) => self.error(error),
            }
            rest = &after[length + 2..];
        }
        if self.errors.len() > errors {
            return Node::Bad(parts);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        match parts.pop() {
            None => Node::Literal(Value::String(String::new())),
            Some(Part::Text(text)) if parts.is_empty() => Node::Literal(Value::String(text)),
            Some(Part::Expr(expr)) if parts.is_empty() => Node::Alone(expr),
            Some(last) => {
                parts.push(last);
                Node::Text(parts)
            }
        }
    }
}

/// The length of the expression at the beginning of `text`, up to its `}}`. Braces and strings within the
/// expression are stepped over.
fn expression_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_u32;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            b'"' | b'\'' => {
                at = string_end(bytes, at)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string literal that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = bytes[start];
    let raw = start > 0 && matches!(bytes[start - 1], b'r' | b'R');
    let width = if bytes[start..].starts_with(&[quote; 3]) { 3 } else { 1 };
    let mut at = start + width;
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if bytes[at..].starts_with(&[quote; 3][..width]) {
            return Some(at + width);
        } else {
            at += 1;
        }
    }
    None
}

impl Node {
    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn into_literal(self) -> Value {
        match self {
            Self::Literal(value) => value,
            Self::Bad(_) | Self::Alone(_) | Self::Text(_) | Self::Array(_) | Self::Object(_) => {
                Value::Null
            }
        }
    }

    fn visit<'a>(&'a self, path: &mut String, on: &mut impl FnMut(&'a Self, &str)) {
        on(self, path);
        let mut below = |segment: &str, node: &'a Self| {
            let length = path.len();
            push_segment(path, segment);
            node.visit(path, on);
            path.truncate(length);
        };
        match self {
            Self::Literal(_) | Self::Bad(_) | Self::Alone(_) | Self::Text(_) => {}
            Self::Array(nodes) => {
                nodes.iter().enumerate().for_each(|(index, node)| below(&index.to_string(), node));
            }
            Self::Object(nodes) => nodes.iter().for_each(|(key, node)| below(key, node)),
        }
    }

    fn render(&self, scope: &Scope<'_>, left: &mut Left<'_>) -> Result<Value, ExprError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            // A template with a bad expression is never used.
            Self::Bad(_) => Ok(Value::Null),
            Self::Alone(expr) => {
                let value = expr.eval_with(scope, left.tokens)?;
                left.take(json_size(&value), expr)?;
                left.check_depth(&value, expr)?;
                Ok(value)
            }
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(literal) => text.push_str(literal),
                        Part::Expr(expr) => {
                            let value = expr.eval_with(scope, left.tokens)?;
                            let rendered =
                                value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                            left.take(rendered.len(), expr)?;
                            text.push_str(&rendered);
                        }
                    }
                }
                Ok(Value::String(text))
            }
            Self::Array(nodes) => {
                let items = nodes.iter().map(|node| left.below(|left| node.render(scope, left)));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            Self::Object(nodes) => {
                let mut object = Map::with_capacity(nodes.len());
                for (key, node) in nodes {
                    let value = left.below(|left| node.render(scope, left))?;
                    object.insert(key.clone(), value);
                }
                Ok(Value::Object(object))
            }
        }
    }
}

/// How many bytes and levels a rendered value may still have, and what stands for secrets in it.
struct Left<'a> {
    bytes: usize,
    levels: usize,
    tokens: Option<&'a SecretTokens>,
}

impl Left<'_> {
    fn take(&mut self, size: usize, expr: &Expr) -> Result<(), ExprError> {
        let message = || format!("the rendered value is larger than {MAX_RENDERED_BYTES} bytes");
        let left = self.bytes.checked_sub(size);
        self.bytes = left.ok_or_else(|| ExprError::failed(expr.source(), message()))?;
        Ok(())
    }

    /// Filling in values, step after step, can nest a value too deep. Text alone never does.
    fn check_depth(&self, value: &Value, expr: &Expr) -> Result<(), ExprError> {
        if depth::fits(value, self.levels) {
            return Ok(());
        }
        let message = format!("the rendered value is nested more than {MAX_JSON_DEPTH} deep");
        Err(ExprError::failed(expr.source(), message))
    }

    fn below<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let levels = self.levels;
        self.levels = levels.saturating_sub(1);
        let result = work(self);
        self.levels = levels;
        result
    }
}

/// The approximate number of bytes of `value` as JSON, exact enough for a limit.
fn json_size(value: &Value) -> usize {
    const _: () = assert!(MAX_VALUE_BYTES <= MAX_RENDERED_BYTES);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(json_size).sum::<usize>(),
        Value::Object(entries) => {
            2 + entries.iter().map(|(key, value)| key.len() + 4 + json_size(value)).sum::<usize>()
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl TryFrom<Value> for Template {
    type Error = ExprError;

    fn try_from(source: Value) -> Result<Self, ExprError> {
        Self::parse(source)
    }
}

impl From<Template> for Value {
    fn from(template: Template) -> Self {
        template.source
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
