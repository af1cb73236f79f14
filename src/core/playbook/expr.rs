//! Expressions in playbooks, written in CEL. What an expression may cost is bounded before it is evaluated, since
//! expressions come from users and are evaluated in the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::SourceInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bind;
use super::problem::excerpt;
use super::scan::{self, Facts, Use};

/// The longest expression, in bytes. Parsing and evaluating are recursive, and what needs a longer expression
/// belongs in a plugin.
pub const MAX_EXPR_BYTES: usize = 2 * 1024;

/// The deepest nesting of brackets and operators that the parser accepts.
const MAX_PARSE_DEPTH: u16 = 32;

/// The most question marks in an expression. Parsing a chain of optional selections (`a.?b`) takes far more stack
/// than anything else of the same length.
const MAX_OPTIONAL: usize = 32;

/// The most work of one evaluation, about a second. The size of what an expression looks at is known before it is
/// evaluated, so an expression that would run for hours is refused.
pub const MAX_WORK: u64 = 20_000_000;

static ENV: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib()));

/// One CEL expression, known to be valid. It is compiled once and cheap to clone.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Expr {
    source: Arc<str>,
    compiled: Arc<Compiled>,
}

struct Compiled {
    ast: cel::IdedExpr,
    facts: Facts,
}

/// What an expression can see: five roots, each a JSON value.
///
/// # Example
/// ```
/// use replibook_core::playbook::{Expr, Scope};
/// use serde_json::{Value, json};
///
/// let agent = json!({ "id": "node-1", "attributes": { "zone": "a" } });
/// let (params, none) = (json!({ "zones": ["a", "b"] }), Value::Null);
/// let scope = Scope { params: &params, agent: &agent, steps: &none, run: &none, cluster: &none };
///
/// assert!(Expr::parse("agent.attributes.zone in params.zones")?.eval_bool(&scope)?);
/// assert_eq!(Expr::parse("size(params.zones) * 10")?.eval(&scope)?, 20);
/// # Ok::<(), replibook_core::playbook::ExprError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `params`: the run's parameters.
    pub params: &'a Value,
    /// `agent`: `id`, `attributes`, `node`, `store` and `shards`. Null where there is no agent.
    pub agent: &'a Value,
    /// `steps`: the `result` of each step that has ended, by the name of the step.
    pub steps: &'a Value,
    /// `run`: has `id`.
    pub run: &'a Value,
    /// `cluster`: has `name`.
    pub cluster: &'a Value,
}

impl<'a> Scope<'a> {
    pub(super) fn root(&self, name: &str) -> Option<&'a Value> {
        match name {
            "params" => Some(self.params),
            "agent" => Some(self.agent),
            "steps" => Some(self.steps),
            "run" => Some(self.run),
            "cluster" => Some(self.cluster),
            _ => None,
        }
    }
}

/// The texts that stand for secrets, by their names.
pub type SecretTokens = Arc<BTreeMap<String, String>>;

/// Why an expression is not valid, or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// The text is not CEL, or uses a name or function that does not exist.
    #[error("invalid expression {expression:?}: {message}")]
    Invalid {
        /// The expression, cut to a length that fits a message.
        expression: String,
        /// What is wrong.
        message: String,
    },
    /// The expression has no value in this scope, or computing it would cost too much.
    #[error("failed to compute {expression:?}: {message}")]
    Failed {
        /// The expression, cut to a length that fits a message.
        expression: String,
        /// What is wrong.
        message: String,
    },
}

impl ExprError {
    pub(super) fn invalid(expression: &str, message: impl Into<String>) -> Self {
        Self::Invalid { expression: excerpt(expression), message: message.into() }
    }

    pub(super) fn failed(expression: &str, message: impl Into<String>) -> Self {
        Self::Failed { expression: excerpt(expression), message: message.into() }
    }

    /// What is wrong, without the expression.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Invalid { message, .. } | Self::Failed { message, .. } => message,
        }
    }
}

impl Expr {
    /// Reads an expression and checks all that can be known without a scope: its size, syntax,
    /// depth, and the names and functions in it.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Expr;
    ///
    /// assert_eq!(Expr::parse("agent.id != 'node-1'")?.source(), "agent.id != 'node-1'");
    /// let error = Expr::parse("agents.id").unwrap_err();
    /// assert!(error.to_string().starts_with("invalid expression \"agents.id\": unknown name"));
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        let invalid = |message: String| ExprError::invalid(source, message);
        let (ast, _) = read(source).map_err(|Unread { message, .. }| invalid(message))?;
        let facts = scan::scan(&ast).map_err(|message| {
            // CEL reads a name with a dash as a subtraction.
            let hint = match source.contains('-') && message.starts_with("unknown name") {
                true => " (a name with a dash is written steps[\"step-down\"])",
                false => "",
            };
            invalid(format!("{message}{hint}"))
        })?;
        Ok(Self { source: source.into(), compiled: Arc::new(Compiled { ast, facts }) })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates the expression. The cost grows with what it looks at, not with the size of the scope. A `secret(…)` in
    /// it has no value.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        self.eval_with(scope, None)
    }

    /// Like [`Expr::eval`], with the tokens that stand for secrets.
    pub(super) fn eval_with(
        &self,
        scope: &Scope<'_>,
        tokens: Option<&SecretTokens>,
    ) -> Result<Value, ExprError> {
        let Compiled { ast, facts } = &*self.compiled;
        eval(ast, facts, scope, tokens).map_err(|message| ExprError::failed(&self.source, message))
    }

    /// The names of the secrets in the expression, each once.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Expr;
    ///
    /// assert_eq!(Expr::parse(r#""Bearer " + secret("pager")"#)?.secrets(), ["pager"]);
    /// assert!(Expr::parse("secret(params.name)").is_err(), "the name has to be written down");
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn secrets(&self) -> &[String] {
        &self.compiled.facts.secrets
    }

    /// The syntax tree, for evaluating parts of the expression.
    pub(super) fn ast(&self) -> &cel::IdedExpr {
        &self.compiled.ast
    }

    /// What is known of the expression without a scope.
    pub(super) fn facts(&self) -> &Facts {
        &self.compiled.facts
    }

    /// Evaluates the expression, whose value must be true or false.
    pub fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, ExprError> {
        let value = self.eval(scope)?;
        value.as_bool().ok_or_else(|| {
            let found = excerpt(&value.to_string());
            ExprError::failed(&self.source, format!("found {found}, expected true or false"))
        })
    }

    /// Whether the expression looks at this part of the scope, such as `["agent", "node"]`, or at something in it.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::Expr;
    ///
    /// let expr = Expr::parse("agent.node.version == params.version")?;
    /// assert!(expr.looks_at(&["agent", "node"]));
    /// assert!(!expr.looks_at(&["agent", "attributes"]));
    /// # Ok::<(), replibook_core::playbook::ExprError>(())
    /// ```
    pub fn looks_at(&self, path: &[&str]) -> bool {
        self.compiled.facts.uses.touches(path)
    }

    /// The paths into the scope that the expression looks at, such as `["agent", "attributes", "role"]`.
    pub(crate) fn paths(&self) -> Vec<Vec<&str>> {
        self.compiled.facts.uses.paths()
    }
}

/// A text that is no expression.
pub(super) struct Unread {
    /// What is wrong.
    pub(super) message: String,
    /// The character at which the parser noticed it, from 0.
    pub(super) at: Option<usize>,
}

/// Reads the syntax of an expression, within the limits that it has before anything is known of it. Also returns which
/// part of the text each node comes from.
pub(super) fn read(source: &str) -> Result<(cel::IdedExpr, SourceInfo), Unread> {
    let unread = |message: String| Unread { message, at: None };
    if source.len() > MAX_EXPR_BYTES {
        let found = source.len();
        return Err(unread(format!("found {found} bytes, at most {MAX_EXPR_BYTES} are allowed")));
    }
    let optional = source.bytes().filter(|byte| *byte == b'?').count();
    if optional > MAX_OPTIONAL {
        return Err(unread(format!(
            "found {optional} question marks, at most {MAX_OPTIONAL} are allowed"
        )));
    }
    if source.trim().is_empty() {
        return Err(unread("it is empty".to_owned()));
    }
    let parser = ENV.parser().max_recursion_depth(MAX_PARSE_DEPTH);
    parser.parse_with_source_info(source).map_err(|errors| Unread {
        message: first_error(&errors),
        at: errors.errors.first().and_then(|first| character(source, first.pos)),
    })
}

/// The character at a line and a column, both from 1.
fn character(source: &str, (line, column): (isize, isize)) -> Option<usize> {
    let before = usize::try_from(line.checked_sub(1)?).ok()?;
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let lines = source.split_inclusive('\n').take(before);
    Some(lines.map(|line| line.chars().count()).sum::<usize>() + column)
}

/// Why an evaluation gave no value.
pub(super) enum Failed {
    /// It would be too much work: so much, since it loops over so many values.
    Work { work: u64, size: u64 },
    /// Something else, as human-readable text.
    Other(String),
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

/// Evaluates an expression, or a part of one, whose facts are known. The error is a message.
pub(super) fn eval(
    ast: &cel::IdedExpr,
    facts: &Facts,
    scope: &Scope<'_>,
    tokens: Option<&SecretTokens>,
) -> Result<Value, String> {
    match eval_within(ast, facts, scope, tokens, MAX_WORK) {
        Ok((value, _)) => Ok(value),
        Err(Failed::Work { size, .. }) => {
            Err(format!("it would take too long: it loops over about {size} values"))
        }
        Err(Failed::Other(message)) => Err(message),
    }
}

/// Like [`eval`], with another bound on the work. Also returns how much work it was.
pub(super) fn eval_within(
    ast: &cel::IdedExpr,
    facts: &Facts,
    scope: &Scope<'_>,
    tokens: Option<&SecretTokens>,
    most: u64,
) -> Result<(Value, u64), Failed> {
    let mut context = empty_context();
    if !facts.secrets.is_empty() {
        let tokens = tokens.ok_or("a secret can only be in the arguments of a step".to_owned())?;
        let tokens = tokens.clone();
        let token = move |name: Arc<String>| token_of(&tokens, &name);
        context.add_function(scan::SECRET, token).map_err(|error| error.to_string())?;
    }
    let mut size = facts.elements + 1;
    if let Use::Keys(roots) = &facts.uses {
        for (name, uses) in roots {
            if let Some(value) = scope.root(name) {
                context.add_variable_as_val(name.as_str(), bind::bind(value, uses, &mut size));
            }
        }
    }
    let size = size.saturating_mul(facts.additions + 1);
    let once = size.saturating_pow(facts.power).saturating_mul(facts.nodes);
    let work = match facts.power {
        0 => size.saturating_add(once),
        _ => once.saturating_mul(repeated(facts, scope)),
    };
    if facts.power > 0 && work > most {
        return Err(Failed::Work { work, size });
    }
    let value = cel::Value::resolve(ast, &context).map_err(|error| explain(&error))?;
    Ok((bind::to_json(&value)?, work))
}

fn token_of(tokens: &SecretTokens, name: &str) -> Result<cel::Value, cel::ExecutionError> {
    match tokens.get(name) {
        Some(token) => Ok(cel::Value::String(Arc::new(token.clone()))),
        // Tokens are made for all the names that were found in the expressions.
        None => Err(cel::ExecutionError::function_error(scan::SECRET, "there is no such secret")),
    }
}

/// The size of what the loops of an expression go through in each round, at least 1.
fn repeated(facts: &Facts, scope: &Scope<'_>) -> u64 {
    let Use::Keys(roots) = &facts.repeated else { return u64::MAX };
    let sizes = roots.iter().filter_map(|(name, uses)| {
        let value = scope.root(name)?;
        Some(bind::size(value, uses))
    });
    sizes.sum::<u64>().max(1)
}

/// A context with the functions of CEL and no variables.
pub(super) fn empty_context<'v>() -> cel::Context<'v, 'v> {
    cel::Context::with_env(Arc::clone(&ENV))
}

fn first_error(errors: &cel::ParseErrors) -> String {
    let Some(first) = errors.errors.first() else { return "it is not CEL".to_owned() };
    let (line, column) = first.pos;
    let message = excerpt(first.msg.trim());
    match line {
        ..=0 => message,
        1 => format!("{message} (at its character {column})"),
        _ => format!("{message} (at its line {line}, character {column})"),
    }
}

fn explain(error: &cel::ExecutionError) -> String {
    if let cel::ExecutionError::NoSuchKey(key) = error {
        return format!("there is no {key:?}");
    }
    excerpt(&error.to_string())
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.source).finish()
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl TryFrom<String> for Expr {
    type Error = ExprError;

    fn try_from(source: String) -> Result<Self, ExprError> {
        Self::parse(&source)
    }
}

impl From<Expr> for String {
    fn from(expr: Expr) -> Self {
        expr.source.to_string()
    }
}

#[cfg(test)]
#[path = "expr_tests.rs"]
mod tests;
