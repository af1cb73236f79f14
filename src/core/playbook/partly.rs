//! Evaluates an expression when a part of its scope is not known. Whether a stage selects an agent can then often
//! be decided although the agent did not answer.

use cel::common::ast::{Expr as Ast, IdedExpr, operators};

use super::expr::{Expr, Scope};
use super::scan;

impl Expr {
    /// Whether the expression is true or false whatever the unknown parts of the scope are; `None` if that depends
    /// on them. `unknown` says whether a path that the expression looks at is unknown.
    ///
    /// One side of `&&` and `||` may be enough, and `!` is looked through. Any other operation is known only if
    /// all that it looks at is: `has(agent.attributes.role)` with an unknown `role` is not known.
    pub fn known(&self, scope: &Scope<'_>, unknown: &dyn Fn(&[&str]) -> bool) -> Option<bool> {
        partly(self.ast(), scope, unknown)
    }
}

fn partly(ast: &IdedExpr, scope: &Scope<'_>, unknown: &dyn Fn(&[&str]) -> bool) -> Option<bool> {
    if let Ast::Call(call) = &ast.expr {
        let mut sides = call.args.iter().map(|side| partly(side, scope, unknown));
        match call.func_name.as_str() {
            operators::LOGICAL_AND => return all_are(true, sides),
            operators::LOGICAL_OR => return all_are(false, sides),
            operators::LOGICAL_NOT => return sides.next()?.map(|side| !side),
            _ => {}
        }
    }
    let facts = scan::scan(ast).ok()?;
    if facts.uses.paths().iter().any(|path| unknown(path)) {
        return None;
    }
    super::expr::eval(ast, &facts, scope, None).ok()?.as_bool()
}

/// `same` if all sides are `same`, its opposite if one side is the opposite, and `None` otherwise.
fn all_are(same: bool, sides: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(same);
    for side in sides {
        match side {
            Some(side) if side != same => return Some(side),
            Some(_) => {}
            None => all = None,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Evaluates with `zone` known to be `a`; all other attributes and the node are unknown.
    fn known(source: &str) -> Option<bool> {
        let agent = json!({"id": "node-1", "attributes": {"zone": "a"}, "node": null});
        let (params, null) = (json!({"zone": "a"}), Value::Null);
        let scope =
            Scope { params: &params, agent: &agent, steps: &null, run: &null, cluster: &null };
        let unknown = |path: &[&str]| match path {
            ["agent"] | ["agent", "node", ..] | ["agent", "attributes"] => true,
            ["agent", "attributes", name, ..] => *name != "zone",
            _ => false,
        };
        Expr::parse(source).unwrap().known(&scope, &unknown)
    }

    #[test]
    fn it_is_known_what_does_not_depend_on_the_unknown() {
        let zone = r#"agent.attributes["zone"]"#;
        let role = r#"agent.attributes["role"]"#;
        let table = [
            (format!("{zone} == params.zone"), Some(true)),
            (format!("{zone} != 'a'"), Some(false)),
            ("agent.id == 'node-1'".to_owned(), Some(true)),
            (format!("{role} == 'x'"), None),
            ("has(agent.attributes.role)".to_owned(), None),
            ("!has(agent.attributes.role)".to_owned(), None),
            ("has(agent.attributes.zone)".to_owned(), Some(true)),
            (format!("has(agent.attributes.role) && {role} == 'x'"), None),
            (format!("{zone} == 'b' && {role} == 'x'"), Some(false)),
            (format!("{role} == 'x' && {zone} == 'b'"), Some(false)),
            (format!("{zone} == 'a' && {role} == 'x'"), None),
            (format!("{zone} == 'a' || {role} == 'x'"), Some(true)),
            (format!("{role} == 'x' || {zone} == 'b'"), None),
            (format!("!({role} == 'x' && {zone} == 'b')"), Some(true)),
            (format!("!({role} == 'x') || !({zone} == 'a')"), None),
            ("agent.node.node_status == 'HEALTHY'".to_owned(), None),
            ("agent.attributes.exists(name, name == 'role')".to_owned(), None),
            ("'zone' in agent.attributes".to_owned(), None),
            ("size(agent.attributes) > 0".to_owned(), None),
            ("agent != null".to_owned(), None),
            (format!("{zone} == 'a' ? {role} == 'x' : true"), None),
            ("true".to_owned(), Some(true)),
            (format!("{zone} > 3"), None),
        ];
        for (source, expected) in table {
            assert_eq!(known(&source), expected, "{source}");
        }
    }
}
