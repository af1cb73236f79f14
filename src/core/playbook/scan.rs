//! Finds out what can be known of a CEL expression without a scope: names, functions, depth, cost, and which parts
//! of the scope it looks at. Bad expressions are refused here, at import, and costs are known before evaluation.

use std::collections::BTreeMap;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, operators,
};

use super::problem::did_you_mean;
use super::secrets::{SECRET_NAME_EXPECTED, is_secret_name};

/// The roots of the scope: the names that an expression can start with.
pub(super) const ROOTS: [&str; 5] = ["params", "agent", "steps", "run", "cluster"];

/// The deepest nesting of an expression. Evaluation is recursive.
pub const MAX_EXPR_DEPTH: u32 = 64;

/// The deepest nesting of loops (`map`, `filter`, `all`, …). Each level multiplies the work.
pub const MAX_LOOP_DEPTH: u32 = 2;

/// The longest regular expression in bytes.
pub(super) const MAX_REGEX_BYTES: usize = 256;

/// Sizes of compiled regular expressions, in bytes. A regular expression is charged for the smallest of them that
/// suffices, and is compiled anew on every call.
const REGEX_SIZES: [usize; 6] =
    [4 * 1024, 8 * 1024, 16 * 1024, 32 * 1024, 64 * 1024, MAX_REGEX_SIZE];

/// The largest compiled regular expression, in bytes.
const MAX_REGEX_SIZE: usize = 128 * 1024;

/// How many bytes of a compiled regular expression cost as much as one node of an expression.
const REGEX_BYTES_PER_NODE: u64 = 8;

/// Operators that look at their operands without going through all of them.
const CHEAP: [&str; 8] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::NOT_STRICTLY_FALSE,
    operators::CONDITIONAL,
    operators::INDEX,
    operators::OPT_INDEX,
    operators::OPT_SELECT,
];

/// Functions called by name, with their number of arguments.
const FUNCTIONS: [(&str, usize); 11] = [
    ("size", 1),
    ("type", 1),
    ("dyn", 1),
    ("int", 1),
    ("uint", 1),
    ("double", 1),
    ("string", 1),
    ("bool", 1),
    ("bytes", 1),
    ("matches", 2),
    (SECRET, 1),
];

/// The function that stands for the token of a secret.
pub(super) const SECRET: &str = "secret";

/// Functions called on a value, with their number of further arguments.
const METHODS: [(&str, usize); 9] = [
    ("size", 0),
    ("contains", 1),
    ("startsWith", 1),
    ("endsWith", 1),
    ("matches", 1),
    ("value", 0),
    ("hasValue", 0),
    ("or", 1),
    ("orValue", 1),
];

/// Functions called on the name `optional`.
const OPTIONAL: [(&str, usize); 3] = [("of", 1), ("none", 0), ("ofNonZeroValue", 1)];

/// Macros, which suggestions may name. The parser has expanded those that are used correctly.
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

/// Names of types, as in `type(x) == string`.
pub(super) const TYPES: [&str; 11] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional_type",
];

/// Which part of a value an expression looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// All of it.
    Whole,
    /// Only these keys, and of the value of each key only the given part.
    Keys(BTreeMap<String, Use>),
}

impl Use {
    fn add(&mut self, path: &[String]) {
        match (self, path) {
            (Self::Whole, _) => {}
            (whole @ Self::Keys(_), []) => *whole = Self::Whole,
            (Self::Keys(keys), [first, rest @ ..]) => {
                keys.entry(first.clone()).or_insert_with(|| Self::Keys(BTreeMap::new())).add(rest);
            }
        }
    }

    /// Whether the expression uses the value at `path`, or something in it.
    pub(super) fn touches(&self, path: &[&str]) -> bool {
        match (self, path) {
            (Self::Whole, _) | (Self::Keys(_), []) => true,
            (Self::Keys(keys), [first, rest @ ..]) => {
                keys.get(*first).is_some_and(|uses| uses.touches(rest))
            }
        }
    }

    /// The paths to the values that are used whole.
    pub(super) fn paths(&self) -> Vec<Vec<&str>> {
        match self {
            Self::Whole => vec![vec![]],
            Self::Keys(keys) => {
                let mut paths = Vec::new();
                for (key, uses) in keys {
                    for mut path in uses.paths() {
                        path.insert(0, key.as_str());
                        paths.push(path);
                    }
                }
                paths
            }
        }
    }
}

/// What is known about an expression without a scope.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Which parts of the scope it looks at.
    pub(super) uses: Use,
    /// Which parts of the scope each round of a loop goes through, as in `h in params.hosts` or
    /// `h == params.other`.
    pub(super) repeated: Use,
    /// Number of nodes of the syntax tree, plus what else costs as much as a node.
    pub(super) nodes: u64,
    /// What compiling its regular expressions costs outside of loops, counted like nodes.
    pub(super) patterns: u64,
    /// Number of elements in the lists and maps that are written out in the expression.
    pub(super) elements: u64,
    /// Number of `+` in the expression. Each of them may make a list longer.
    pub(super) additions: u64,
    /// The power of the size of the scope with which the work grows.
    pub(super) power: u32,
    /// The secrets that it names, each once.
    pub(super) secrets: Vec<String>,
}

/// Checks an expression and gathers its facts. The error is a message.
pub(super) fn scan(expr: &IdedExpr) -> Result<Facts, String> {
    let uses = Use::Keys(BTreeMap::new());
    let repeated = uses.clone();
    let mut scan = Scan {
        locals: Vec::new(),
        uses,
        repeated,
        within: 0,
        nodes: 0,
        patterns: 0,
        elements: 0,
        additions: 0,
        secrets: Vec::new(),
    };
    let cost = scan.visit(expr, 0)?;
    let Scan { uses, repeated, nodes, patterns, elements, additions, secrets, .. } = scan;
    let power = cost.power;
    Ok(Facts { uses, repeated, nodes, patterns, elements, additions, power, secrets })
}

struct Scan<'a> {
    /// Variables of the enclosing loops.
    locals: Vec<&'a str>,
    uses: Use,
    repeated: Use,
    /// How many calls that go through their operands enclose the current place, within loops.
    within: u32,
    nodes: u64,
    patterns: u64,
    elements: u64,
    additions: u64,
    secrets: Vec<String>,
}

/// How the work of a part grows with the size of the scope.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// The power of the size of the scope with which the work grows.
    power: u32,
    /// How deep loops are nested in it.
    loops: u32,
    /// Whether the part reads the scope.
    reads: bool,
    /// Whether the part makes a value out of the scope: copying it costs as much as the scope is large.
    copies: bool,
    /// Number of loops in it whose results can be larger than what they loop over.
    growing: u32,
}

impl Cost {
    fn and(self, other: Self) -> Self {
        Self {
            power: self.power.max(other.power),
            loops: self.loops.max(other.loops),
            reads: self.reads || other.reads,
            copies: self.copies || other.copies,
            growing: self.growing + other.growing,
        }
    }

    fn copying(self) -> Self {
        Self { copies: self.copies || self.reads, ..self }
    }
}

impl<'a> Scan<'a> {
    fn visit(&mut self, expr: &'a IdedExpr, depth: u32) -> Result<Cost, String> {
        self.nodes += 1;
        if depth > MAX_EXPR_DEPTH {
            return Err(format!("it is nested more than {MAX_EXPR_DEPTH} deep"));
        }
        if let Some(path) = self.static_path(expr) {
            self.uses.add(&path);
            if self.within > 0 {
                self.repeated.add(&path);
            }
            return Ok(Cost { reads: true, ..Cost::default() });
        }
        match &expr.expr {
            Ast::Unspecified => Err("a part of it has no meaning".to_owned()),
            Ast::Literal(_) => Ok(Cost::default()),
            Ast::Ident(name) => self.name(name),
            Ast::Select(select) => self.visit(&select.operand, depth + 1),
            Ast::Call(call) => self.call(call, depth),
            Ast::List(list) => {
                self.elements += list.elements.len() as u64;
                Ok(self.all(&list.elements, depth)?.copying())
            }
            Ast::Map(map) => {
                self.elements += map.entries.len() as u64;
                let mut cost = Cost::default();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err("a map has a field in place of an entry".to_owned());
                    };
                    let key = self.visit(&entry.key, depth + 1)?;
                    cost = cost.and(key).and(self.visit(&entry.value, depth + 1)?);
                }
                Ok(cost.copying())
            }
            Ast::Struct(message) => Err(format!("there is no type {:?}", message.type_name)),
            Ast::Comprehension(comprehension) => self.comprehension(comprehension, depth),
        }
    }

    fn all(&mut self, exprs: &'a [IdedExpr], depth: u32) -> Result<Cost, String> {
        let mut cost = Cost::default();
        for expr in exprs {
            cost = cost.and(self.visit(expr, depth + 1)?);
        }
        Ok(cost)
    }

    fn name(&mut self, name: &str) -> Result<Cost, String> {
        if self.locals.contains(&name) || TYPES.contains(&name) {
            return Ok(Cost::default());
        }
        let candidates = ROOTS.into_iter().chain(self.locals.iter().copied());
        Err(match did_you_mean(name, candidates) {
            Some(known) => format!("unknown name {name:?}: did you mean {known:?}?"),
            None => format!("unknown name {name:?}, expected one of {}", ROOTS.join(", ")),
        })
    }

    fn call(&mut self, call: &'a CallExpr, depth: u32) -> Result<Cost, String> {
        let goes_through = !self.locals.is_empty() && !CHEAP.contains(&call.func_name.as_str());
        self.within += u32::from(goes_through);
        let cost = self.call_cost(call, depth);
        self.within -= u32::from(goes_through);
        cost
    }

    fn call_cost(&mut self, call: &'a CallExpr, depth: u32) -> Result<Cost, String> {
        let name = call.func_name.as_str();
        let mut cost = Cost::default();
        if is_operator(name) {
            cost = cost.and(self.all(&call.args, depth)?);
            if name == operators::ADD {
                // The expansion of a loop adds each element to its result; that addition is counted with the loop.
                let of_loop = matches!(&call.args[..], [first, _] if is_result(first));
                self.additions += u64::from(!of_loop);
                cost = cost.copying();
            }
            return Ok(cost);
        }
        let known: &[(&str, usize)] = match &call.target {
            None => &FUNCTIONS,
            Some(target) if matches!(&target.expr, Ast::Ident(name) if name == "optional") => {
                &OPTIONAL
            }
            Some(target) => {
                cost = self.visit(target, depth + 1)?;
                &METHODS
            }
        };
        check_function(name, call.args.len(), known)?;
        if name == SECRET {
            let secret = secret_name(call)?;
            if !self.secrets.contains(&secret) {
                self.secrets.push(secret);
            }
            return Ok(cost);
        }
        if name == "matches" {
            let work = regex_size(call)? as u64 / REGEX_BYTES_PER_NODE;
            match self.locals.is_empty() {
                true => self.patterns += work,
                false => self.nodes += work,
            }
        }
        Ok(cost.and(self.all(&call.args, depth)?))
    }

    fn comprehension(&mut self, of: &'a ComprehensionExpr, depth: u32) -> Result<Cost, String> {
        let range =
            self.visit(&of.iter_range, depth + 1)?.and(self.visit(&of.accu_init, depth + 1)?);
        let variables = [Some(of.iter_var.as_str()), of.iter_var2.as_deref()];
        for variable in variables.into_iter().flatten() {
            if ROOTS.contains(&variable) {
                return Err(format!("the name {variable:?} is taken, expected another one"));
            }
        }
        let before = self.locals.len();
        self.locals.extend(variables.into_iter().flatten());
        self.locals.push(&of.accu_var);
        let mut body = Cost::default();
        for part in [&of.loop_cond, &of.loop_step, &of.result] {
            body = body.and(self.visit(part, depth + 1)?);
        }
        self.locals.truncate(before);
        let loops = body.loops + 1;
        if loops > MAX_LOOP_DEPTH {
            return Err(format!("loops are nested more than {MAX_LOOP_DEPTH} deep"));
        }
        let power = 1 + body.power + u32::from(body.copies) + range.growing;
        Ok(Cost {
            power: power.max(range.power),
            loops: loops.max(range.loops),
            reads: range.reads || body.reads,
            copies: range.copies,
            growing: range.growing + body.growing + u32::from(body.copies),
        })
    }

    /// The path that `expr` spells, if it is a path into the scope such as `agent.attributes["role"]`.
    fn static_path(&self, expr: &IdedExpr) -> Option<Vec<String>> {
        let mut path = Vec::new();
        let mut expr = expr;
        loop {
            match &expr.expr {
                Ast::Ident(name) if ROOTS.contains(&name.as_str()) => {
                    path.push(name.clone());
                    path.reverse();
                    return Some(path);
                }
                Ast::Select(select) => {
                    path.push(select.field.clone());
                    expr = &select.operand;
                }
                Ast::Call(call) if is_index(&call.func_name) => {
                    let [operand, index] = &call.args[..] else { return None };
                    let Ast::Literal(LiteralValue::String(key)) = &index.expr else { return None };
                    path.push(key.inner().to_owned());
                    expr = operand;
                }
                Ast::Unspecified
                | Ast::Call(_)
                | Ast::Comprehension(_)
                | Ast::Ident(_)
                | Ast::List(_)
                | Ast::Literal(_)
                | Ast::Map(_)
                | Ast::Struct(_) => return None,
            }
        }
    }
}

fn is_index(function: &str) -> bool {
    [operators::INDEX, operators::OPT_INDEX, operators::OPT_SELECT].contains(&function)
}

fn is_operator(function: &str) -> bool {
    !function.starts_with(|c: char| c.is_ascii_alphabetic()) || function == operators::IN
}

fn is_result(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Ast::Ident(name) if name.starts_with('@'))
}

fn check_function(name: &str, given: usize, known: &[(&str, usize)]) -> Result<(), String> {
    let Some((_, expected)) = known.iter().find(|(function, _)| *function == name) else {
        let names = known.iter().map(|(function, _)| *function);
        let names: Vec<&str> = names.chain(MACROS).collect();
        return Err(match did_you_mean(name, names.iter().copied()) {
            Some(known) => format!("unknown function {name:?}: did you mean {known:?}?"),
            None => format!("unknown function {name:?}, expected one of {}", names.join(", ")),
        });
    };
    if given == *expected {
        return Ok(());
    }
    Err(format!("{name} takes {expected} argument(s), found {given}"))
}

/// The name in a call of `secret`. It must be a literal, so that what may be sent is known when the playbook is applied.
fn secret_name(call: &CallExpr) -> Result<String, String> {
    let Some(IdedExpr { expr: Ast::Literal(LiteralValue::String(name)), .. }) = call.args.last()
    else {
        return Err("the name of a secret has to be written down as a string".to_owned());
    };
    let name = name.inner();
    match is_secret_name(name) {
        true => Ok(name.to_owned()),
        false => Err(format!("not a name of a secret: {name:?}, expected {SECRET_NAME_EXPECTED}")),
    }
}

/// The approximate size of the compiled regular expression in a call of `matches`. The pattern must be a literal:
/// the cost of any other is not known before the run.
fn regex_size(call: &CallExpr) -> Result<usize, String> {
    let Some(IdedExpr { expr: Ast::Literal(LiteralValue::String(pattern)), .. }) = call.args.last()
    else {
        return Err("the pattern of \"matches\" has to be written down as a string".to_owned());
    };
    let pattern = pattern.inner();
    if pattern.len() > MAX_REGEX_BYTES {
        let found = pattern.len();
        return Err(format!(
            "found a regular expression of {found} bytes, at most {MAX_REGEX_BYTES} are allowed"
        ));
    }
    let compile = |size| regex::RegexBuilder::new(pattern).size_limit(size).build();
    for size in REGEX_SIZES {
        match compile(size) {
            Ok(_) => return Ok(size),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => return Err(format!("invalid regular expression: {error}")),
        }
    }
    Err(format!("the regular expression is larger than {MAX_REGEX_SIZE} bytes when compiled"))
}
