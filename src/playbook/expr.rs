//! Expressions in playbooks: CEL, alone or inside text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One CEL expression, known to be valid.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Expr {
    source: Arc<str>,
    program: Arc<cel::Program>,
}

/// What an expression sees. Each is a JSON value.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `params`: the run's parameters.
    pub params: &'a Value,
    /// `agent`: `id`, `attributes`, `node`. Null where there is no agent.
    pub agent: &'a Value,
    /// `steps`: for each step that has ended its `result`.
    pub steps: &'a Value,
    /// `run`: `id`.
    pub run: &'a Value,
    /// `cluster`: `name`.
    pub cluster: &'a Value,
}

/// Why an expression is not valid or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It is not CEL, or uses what is not there.
    #[error("invalid expression {expression:?}: {message}")]
    Invalid {
        /// The expression.
        expression: String,
        /// What is wrong.
        message: String,
    },
    /// It could not be computed.
    #[error("failed to compute {expression:?}: {message}")]
    Failed {
        /// The expression.
        expression: String,
        /// What is wrong.
        message: String,
    },
}

impl Expr {
    /// Reads an expression and checks all that can be known without a scope.
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        let program = cel::Program::compile(source).map_err(|error| ExprError::Invalid {
            expression: source.to_owned(),
            message: error.to_string(),
        })?;
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        let _ = (scope, &self.program);
        Err(ExprError::Failed {
            expression: self.source.to_string(),
            message: "not built yet".to_owned(),
        })
    }

    /// Its value, which must be true or false.
    pub fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(value) => Ok(value),
            other => Err(ExprError::Failed {
                expression: self.source.to_string(),
                message: format!("found {other}, expected true or false"),
            }),
        }
    }
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

/// A JSON value whose strings may hold `${{ … }}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Value", into = "Value")]
pub struct Template {
    source: Value,
}

impl Template {
    /// Reads a template and checks every expression in it.
    pub fn parse(source: Value) -> Result<Self, ExprError> {
        Ok(Self { source })
    }

    /// The value as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// The value with every expression filled in. An expression alone in a string keeps its type.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        let _ = scope;
        Ok(self.source.clone())
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
