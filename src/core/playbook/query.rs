//! Expressions that pick items of a list for a person, such as `run.status == "PAUSED"`. They are the expressions of
//! playbooks with other names in scope, and are evaluated once for each item: what that may cost is bounded for all
//! items of a request together.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, SourceInfo,
    operators,
};
use serde_json::Value;

use super::expr::{Expr, ExprError, Failed, Scope, Unread, eval_within, read};
use super::problem::did_you_mean;
use super::scan::TYPES;

/// The most work that the items of one request may cost together, about a tenth of a second.
pub const MAX_QUERY_WORK: u64 = 2_000_000;

/// How many evaluations cost as much work as finding out what is known without a part of the scope.
const PARTLY: u64 = 8;

/// A name at which paths in queries of a list may begin, and its members.
#[derive(Clone, Copy, Debug)]
pub struct Root {
    /// The name, which is one of those in expressions of playbooks.
    pub name: &'static str,
    /// The members of its value.
    pub members: &'static [&'static str],
}

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What is wrong.
    pub message: String,
    /// The character of the text where it is wrong, from 0, if there is one place.
    pub at: Option<usize>,
}

/// An expression that picks items of a list.
///
/// # Example
/// ```
/// use replibook_core::playbook::{MAX_QUERY_WORK, Picks, Query, Root, Scope};
/// use serde_json::{Value, json};
///
/// let roots = [Root { name: "run", members: &["status", "cluster"] }];
/// let query = Query::parse(r#"run.status == "PAUSED""#, &roots)?;
/// let (run, none) = (json!({ "status": "PAUSED" }), Value::Null);
/// let scope = Scope { params: &none, agent: &none, steps: &none, run: &run, cluster: &none };
/// let mut left = MAX_QUERY_WORK;
/// assert_eq!(query.picks(&scope, &mut left)?, Picks::Yes);
/// assert!(left < MAX_QUERY_WORK);
///
/// let error = Query::parse("run.stauts == 'DONE'", &roots).unwrap_err();
/// assert_eq!(error.to_string(), r#""run" has no "stauts": did you mean "status"?"#);
/// assert_eq!(error.at, Some(4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Query {
    expr: Expr,
}

/// Whether a query picks an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picks {
    /// It does.
    Yes,
    /// It does not, or the item lacks what the query looks at.
    No,
    /// Finding out would cost more work than is left.
    Spent,
}

impl Query {
    /// Reads a query of a list whose items have these names in scope.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str, roots: &[Root]) -> Result<Self, QueryError> {
        let (ast, info) =
            read(source).map_err(|Unread { message, at }| QueryError { message, at })?;
        let mut names = Names { roots, locals: Vec::new(), info: &info };
        names.check(&ast)?;
        let wrong = |message: String| QueryError { message, at: None };
        let expr = Expr::parse(source).map_err(|error| match error {
            ExprError::Invalid { message, .. } | ExprError::Failed { message, .. } => {
                wrong(message)
            }
        })?;
        let facts = expr.facts();
        if (facts.nodes + facts.patterns).saturating_mul(PARTLY) > MAX_QUERY_WORK {
            return Err(wrong("it would take too long for each item of a list".to_owned()));
        }
        match expr.secrets().is_empty() {
            true => Ok(Self { expr }),
            false => Err(wrong("a list has no secrets to look at".to_owned())),
        }
    }

    /// The query as it was written.
    pub fn source(&self) -> &str {
        self.expr.source()
    }

    /// Whether the query picks the item in this scope. The work that this costs is taken from `left`.
    ///
    /// An item that lacks what the query looks at is not picked, unless the query has a value without that: `has(…)`
    /// asks whether something is there.
    ///
    /// # Errors
    /// The query has no value for the item although all that it looks at is there, its value is neither true nor
    /// false, or a single item would cost more than [`MAX_QUERY_WORK`].
    pub fn picks(&self, scope: &Scope<'_>, left: &mut u64) -> Result<Picks, ExprError> {
        let facts = self.expr.facts();
        let least = facts.nodes + facts.patterns;
        if least > *left {
            return Ok(Picks::Spent);
        }
        let most = *left - facts.patterns;
        let failed = |message: String| ExprError::failed(self.source(), message);
        match eval_within(self.expr.ast(), facts, scope, None, most) {
            Ok((value, work)) => {
                *left = left.saturating_sub(work.saturating_add(facts.patterns));
                match value.as_bool() {
                    Some(true) => Ok(Picks::Yes),
                    Some(false) => Ok(Picks::No),
                    None => Err(failed(format!("found {value}, expected true or false"))),
                }
            }
            Err(Failed::Work { work, size })
                if work.saturating_add(facts.patterns) > MAX_QUERY_WORK =>
            {
                Err(failed(format!(
                    "it would take too long: for one item it loops over about {size} values"
                )))
            }
            Err(Failed::Work { .. }) => Ok(Picks::Spent),
            Err(Failed::Other(message)) => {
                *left -= least;
                if self.lacks(scope) { Ok(Picks::No) } else { Err(failed(message)) }
            }
        }
    }

    /// Like [`picks`](Self::picks) while a part of the scope is not known, where that does not matter; `None` if it
    /// may matter. `unknown` says whether a path that the query looks at is unknown.
    ///
    /// # Errors
    /// Those of [`picks`](Self::picks).
    pub fn picks_without(
        &self,
        scope: &Scope<'_>,
        unknown: &dyn Fn(&[&str]) -> bool,
        left: &mut u64,
    ) -> Result<Option<Picks>, ExprError> {
        if !self.expr.paths().iter().any(|path| unknown(path)) {
            return self.picks(scope, left).map(Some);
        }
        let facts = self.expr.facts();
        // How long its loops take is only known for all of it.
        if facts.power > 0 {
            return Ok(None);
        }
        let work = (facts.nodes + facts.patterns).saturating_mul(PARTLY);
        if work > *left {
            return Ok(Some(Picks::Spent));
        }
        *left -= work;
        let known = self.expr.known(scope, unknown);
        Ok(known.map(|picks| if picks { Picks::Yes } else { Picks::No }))
    }

    /// Whether anything that the query looks at is not there, or null.
    fn lacks(&self, scope: &Scope<'_>) -> bool {
        self.expr.paths().iter().any(|path| {
            let [root, rest @ ..] = path.as_slice() else { return false };
            let mut value = scope.root(root);
            for name in rest {
                value = value.and_then(|value| value.get(name));
            }
            value.is_none_or(Value::is_null)
        })
    }
}

/// Checks that the names of a query are those of its list.
struct Names<'a> {
    roots: &'a [Root],
    /// Variables of the enclosing loops.
    locals: Vec<&'a str>,
    info: &'a SourceInfo,
}

impl<'a> Names<'a> {
    fn check(&mut self, ast: &'a IdedExpr) -> Result<(), QueryError> {
        match &ast.expr {
            Ast::Ident(name) => self.root(name, ast.id).map(drop),
            Ast::Select(select) => self.member(&select.operand, &select.field, ast.id),
            Ast::Call(call) => self.call(call, ast.id),
            Ast::List(list) => list.elements.iter().try_for_each(|one| self.check(one)),
            Ast::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.check(&entry.key)?;
                    self.check(&entry.value)
                }
                EntryExpr::StructField(field) => self.check(&field.value),
            }),
            Ast::Comprehension(of) => self.comprehension(of),
            // What else is wrong with these is found later.
            Ast::Struct(_) | Ast::Literal(_) | Ast::Unspecified => Ok(()),
        }
    }

    fn call(&mut self, call: &'a CallExpr, id: u64) -> Result<(), QueryError> {
        let is_index = [operators::INDEX, operators::OPT_INDEX, operators::OPT_SELECT]
            .contains(&call.func_name.as_str());
        if let [operand, key] = &call.args[..]
            && let Ast::Literal(LiteralValue::String(key)) = &key.expr
            && is_index
        {
            return self.member(operand, key.inner(), id);
        }
        if let Some(target) = &call.target
            && !matches!(&target.expr, Ast::Ident(name) if name == "optional")
        {
            self.check(target)?;
        }
        call.args.iter().try_for_each(|one| self.check(one))
    }

    fn comprehension(&mut self, of: &'a ComprehensionExpr) -> Result<(), QueryError> {
        self.check(&of.iter_range)?;
        self.check(&of.accu_init)?;
        let before = self.locals.len();
        self.locals.push(&of.iter_var);
        self.locals.extend(of.iter_var2.as_deref());
        self.locals.push(&of.accu_var);
        for part in [&of.loop_cond, &of.loop_step, &of.result] {
            self.check(part)?;
        }
        self.locals.truncate(before);
        Ok(())
    }

    /// The root of this name; `None` if it is a variable or a type.
    fn root(&self, name: &str, id: u64) -> Result<Option<&'a Root>, QueryError> {
        if self.locals.contains(&name) || TYPES.contains(&name) {
            return Ok(None);
        }
        let found = self.roots.iter().find(|root| root.name == name);
        let names = || self.roots.iter().map(|root| root.name);
        found
            .map(Some)
            .ok_or_else(|| self.unknown(format!("unknown name {name:?}"), name, names(), id))
    }

    /// A member of something, which may be a root.
    fn member(&mut self, of: &'a IdedExpr, name: &str, id: u64) -> Result<(), QueryError> {
        let Ast::Ident(root) = &of.expr else { return self.check(of) };
        let Some(root) = self.root(root, of.id)? else { return Ok(()) };
        if root.members.contains(&name) {
            return Ok(());
        }
        let what = format!("{:?} has no {name:?}", root.name);
        Err(self.unknown(what, name, root.members.iter().copied(), id))
    }

    fn unknown<'n>(
        &self,
        what: String,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
        id: u64,
    ) -> QueryError {
        let message = match did_you_mean(name, known.clone()) {
            Some(one) => format!("{what}: did you mean {one:?}?"),
            None => format!("{what}, expected one of {}", known.collect::<Vec<_>>().join(", ")),
        };
        QueryError { message, at: self.place_of(id) }
    }

    /// The character at which the name in a node begins.
    fn place_of(&self, id: u64) -> Option<usize> {
        let (start, _) = self.info.offset_for(id)?;
        // The node of a member begins with what is before the name.
        let (before, rest) = self.info.source.split_at_checked(usize::try_from(start).ok()?)?;
        Some(before.chars().count() + usize::from(rest.starts_with(['.', '['])))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOTS: [Root; 2] = [
        Root { name: "agent", members: &["id", "attributes", "node", "source"] },
        Root { name: "cluster", members: &["name"] },
    ];

    fn picks(source: &str) -> Result<Picks, String> {
        let agent = json!({"id": "é-1", "source": null, "attributes": {"zone": "a", "rack": 3,
            "no": null, "hosts": ["x", "y"]}});
        let (cluster, none) = (json!({"name": "eu"}), Value::Null);
        let scope =
            Scope { params: &none, agent: &agent, steps: &none, run: &none, cluster: &cluster };
        let query = Query::parse(source, &ROOTS).map_err(|error| error.to_string())?;
        query.picks(&scope, &mut MAX_QUERY_WORK.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn items_are_picked_by_what_they_have() {
        for (source, expected) in [
            (r#"agent.attributes.zone == "a""#, Picks::Yes),
            (r#"agent.attributes["zone"] == "b""#, Picks::No),
            (r#"agent.attributes.hosts.exists(host, host == "y")"#, Picks::Yes),
            (r#"cluster.name == "eu" && agent.id.startsWith("é")"#, Picks::Yes),
            ("type(agent.attributes.rack) == int", Picks::Yes),
            ("has(agent.attributes.role)", Picks::No),
            ("!has(agent.attributes.role)", Picks::Yes),
            (r#"agent.attributes[?"role"].orValue("x") == "x""#, Picks::Yes),
            // What is not there picks nothing, and neither does its opposite.
            (r#"agent.attributes.role == "x""#, Picks::No),
            (r#"agent.attributes.role != "x""#, Picks::No),
            (r#"agent.attributes.role.startsWith("x")"#, Picks::No),
            (r#"agent.attributes.no.startsWith("x")"#, Picks::No),
            (r#"agent.node.node_status == "HEALTHY""#, Picks::No),
            ("agent.source == null", Picks::Yes),
            ("agent.source.x == 1", Picks::No),
            (r#"agent.attributes.role == "x" || agent.attributes.rack == 3"#, Picks::Yes),
        ] {
            assert_eq!(picks(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_can_not_be_computed_is_an_error_and_not_an_empty_list() {
        let error = picks(r#"agent.attributes.rack > "a""#).unwrap_err();
        assert!(error.starts_with("failed to compute"), "{error}");
        let error = picks("agent.attributes.rack").unwrap_err();
        assert!(error.ends_with("found 3, expected true or false"), "{error}");
    }

    #[test]
    fn mistakes_are_said_with_their_place() {
        for (source, message, at) in [
            (r#"agnt.id == "a""#, r#"unknown name "agnt": did you mean "agent"?"#, Some(0)),
            ("agent.id == x", r#"unknown name "x", expected one of agent, cluster"#, Some(12)),
            ("agent.id == params.x", r#"unknown name "params", expected"#, Some(12)),
            ("'é' == agent.role", r#""agent" has no "role", expected one of id,"#, Some(13)),
            (r#"agent["nod"] == 1"#, r#""agent" has no "nod": did you mean "node"?"#, Some(6)),
            ("true &&\n agent.ids == 1", r#""agent" has no "ids": did you mean "id"?"#, Some(15)),
            ("[agent.x]", r#""agent" has no "x""#, Some(7)),
            ("agent.id ==", "Syntax error", Some(11)),
            ("'é' ==", "Syntax error", Some(6)),
            ("agent.id.startWith('x')", r#"unknown function "startWith""#, None),
            (r#"secret("x") == "y""#, "a list has no secrets", None),
            ("", "it is empty", None),
        ] {
            let error = Query::parse(source, &ROOTS).unwrap_err();
            assert!(error.message.starts_with(message), "{source}: {error}");
            assert_eq!(error.at, at, "{source}: {error}");
        }
        let long = format!("{}true", " ".repeat(super::super::expr::MAX_EXPR_BYTES));
        assert!(Query::parse(&long, &ROOTS).is_err());
    }

    #[test]
    fn the_work_of_all_items_together_is_bounded() {
        let agent = json!({"attributes": {"hosts": vec!["x"; 1_000]}});
        let none = Value::Null;
        let scope =
            Scope { params: &none, agent: &agent, steps: &none, run: &none, cluster: &none };
        let once = Query::parse("agent.attributes.hosts.all(a, a == 'x')", &ROOTS).unwrap();
        let (mut left, mut items) = (MAX_QUERY_WORK, 0);
        while once.picks(&scope, &mut left).unwrap() == Picks::Yes {
            items += 1;
        }
        assert!((10..1_000).contains(&items), "{items}");
        // A first item that would cost more than all may is an error: no page would ever end.
        let twice = "agent.attributes.hosts.all(a, agent.attributes.hosts.all(b, a == b))";
        let twice = Query::parse(twice, &ROOTS).unwrap();
        let error = twice.picks(&scope, &mut MAX_QUERY_WORK.clone()).unwrap_err();
        assert!(error.to_string().contains("it would take too long"), "{error}");
        // So is an expression that would cost that much for any item.
        let many = r#""x".matches(".{40}")||"#.repeat(90) + "true";
        let error = Query::parse(&many, &ROOTS).unwrap_err();
        assert_eq!(error.message, "it would take too long for each item of a list");
        // A regular expression is compiled for each item.
        let regex = Query::parse(r#""x".matches("[a-z]{50}")"#, &ROOTS).unwrap();
        let mut left = MAX_QUERY_WORK;
        regex.picks(&scope, &mut left).unwrap();
        assert!(MAX_QUERY_WORK - left > 500, "{left}");
    }

    #[test]
    fn what_is_not_known_matters_only_where_it_is_looked_at() {
        let agent = json!({"id": "a", "attributes": {"zone": "a"}});
        let none = Value::Null;
        let scope =
            Scope { params: &none, agent: &agent, steps: &none, run: &none, cluster: &none };
        let unknown = |path: &[&str]| matches!(path, ["agent", "node", ..]);
        for (source, expected) in [
            ("agent.id == 'a'", Some(Picks::Yes)),
            ("agent.id == 'b' && agent.node.x == 1", Some(Picks::No)),
            ("agent.node.x == 1", None),
            ("agent.node.all(x, x == 'b')", None),
        ] {
            let query = Query::parse(source, &ROOTS).unwrap();
            let mut left = MAX_QUERY_WORK;
            assert_eq!(query.picks_without(&scope, &unknown, &mut left), Ok(expected), "{source}");
            assert_eq!(
                query.picks_without(&scope, &unknown, &mut 0),
                Ok(if source.contains("all(") { None } else { Some(Picks::Spent) })
            );
        }
    }
}
