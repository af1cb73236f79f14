//! How a person may narrow a run at its start: to which agents, how many of them, and which stages. Narrowing only takes
//! away from what the playbook says, and is checked against it before the run is made.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::expr::Expr;
use super::model::Playbook;
use super::problem::{Problem, Problems, code, did_you_mean};
use super::references::{IN_SELECT, Names};

/// How a person asked to narrow a run. Nothing of it is checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Expression: which agents may take part.
    pub select: Option<String>,
    /// At most this many agents take part.
    pub limit: Option<u32>,
    /// Names of stages that are left out.
    pub skip_stages: Vec<String>,
    /// Name of the stage that the run begins with.
    pub start_at: Option<String>,
}

/// How a run is narrower than its playbook. Only [`Narrowing::check`] makes one that narrows anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Narrowing {
    /// Only agents for which this holds take part, of those that a stage selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Expr>,
    /// At most this many agents take part in the run. Those are the first that a stage selects; later stages take no
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Stages that are left out, in the order of the playbook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_stages: Vec<String>,
    /// The stage that the run begins with; those before it are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<String>,
}

impl Narrowing {
    /// Checks against the playbook what a person asked for. The paths of the problems are those of the request.
    ///
    /// # Errors
    /// An expression that would not be valid as the `select` of a stage, a limit of 0, a stage that the playbook does
    /// not have, or no stage left.
    ///
    /// # Example
    /// ```
    /// use replibook_core::playbook::{Narrowing, NarrowingAsked, Playbook};
    /// # use serde_json::json;
    /// # let stage = |name: &str| json!({
    /// #     "name": name, "select": null, "strategy": { "plugin": "rolling", "with": {} },
    /// #     "budget": { "max_failed": { "count": 0 }, "scope": "stage", "on_exceeded": "pause" },
    /// #     "membership": { "added": "include", "removed": "ignore" }, "steps": [],
    /// # });
    /// # let playbook: Playbook = serde_json::from_value(json!({
    /// #     "name": "restart", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
    /// #     "concurrency": "queue", "params": {}, "plugins": {}, "stages": [stage("drain"), stage("restart")],
    /// # }))?;
    ///
    /// let asked = NarrowingAsked {
    ///     limit: Some(2),
    ///     start_at: Some("restart".to_owned()),
    ///     ..NarrowingAsked::default()
    /// };
    /// let narrowed = Narrowing::check(&playbook, asked)?;
    /// assert_eq!(narrowed.to_string(), "at most 2 agents; from stage restart on");
    /// assert_eq!(narrowed.stages(&playbook).collect::<Vec<_>>(), [1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(playbook: &Playbook, asked: Asked) -> Result<Self, Problems> {
        let Asked { select, limit, mut skip_stages, start_at } = asked;
        let mut problems = Vec::new();
        let select = select.and_then(|source| match select_of(playbook, &source) {
            Ok(expression) => Some(expression),
            Err(message) => {
                let message = format!("invalid expression: {message}");
                problems.push(Problem::new(code::BAD_EXPRESSION, "/select", message));
                None
            }
        });
        if limit == Some(0) {
            let message = "a run over no agents does nothing";
            let problem = Problem::new(code::BAD_VALUE, "/limit", message);
            problems.push(problem.found("0").expected("at least 1"));
        }
        if skip_stages.len() > playbook.stages.len() {
            // A request may have many thousand names, each of which would be a problem of its own.
            let found = format!("{} names", skip_stages.len());
            let problem = Problem::new(code::BAD_VALUE, "/skip_stages", "too many stages");
            let expected = format!("at most {}, as many as there are", playbook.stages.len());
            problems.push(problem.found(found).expected(expected));
            skip_stages.clear();
        }
        let named = (0..).zip(&skip_stages).map(|(at, name)| (format!("/skip_stages/{at}"), name));
        for (path, name) in named.chain(start_at.iter().map(|name| ("/start_at".to_owned(), name)))
        {
            problems.extend(no_such_stage(playbook, path, name));
        }
        let place = |name: &String| playbook.stages.iter().position(|stage| stage.name == *name);
        skip_stages.sort_by_key(place);
        skip_stages.dedup();
        let narrowed = Self { select, limit, skip_stages, start_at };
        if problems.is_empty() && narrowed.stages(playbook).next().is_none() {
            let path = if narrowed.skip_stages.is_empty() { "/start_at" } else { "/skip_stages" };
            let problem = Problem::new(code::BAD_VALUE, path, "no stage is left");
            problems.push(problem.expected("at least one stage that the run goes through"));
        }
        Problems::check(problems)?;
        Ok(narrowed)
    }

    /// Whether nothing is narrowed.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The same as a person would ask for it, so that it can be checked against another playbook.
    pub fn asked(&self) -> Asked {
        let Self { select, limit, skip_stages, start_at } = self.clone();
        let select = select.map(|select| select.source().to_owned());
        Asked { select, limit, skip_stages, start_at }
    }

    /// The indexes of the stages of the playbook that are not left out, in order.
    pub fn stages<'a>(&'a self, playbook: &'a Playbook) -> impl Iterator<Item = u16> + 'a {
        let begins = self
            .start_at
            .as_ref()
            .and_then(|start_at| playbook.stages.iter().position(|stage| stage.name == *start_at));
        let stages = (0..).zip(&playbook.stages).skip(begins.unwrap_or(0));
        stages.filter(|(_, stage)| !self.skip_stages.contains(&stage.name)).map(|(index, _)| index)
    }
}

impl fmt::Display for Narrowing {
    /// For example `only agents with agent.id == "node-1"; without stage drain`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { select, limit, skip_stages, start_at } = self;
        let select = select.as_ref().map(|select| format!("only agents with {}", select.source()));
        let limit = limit.map(|limit| match limit {
            1 => "at most 1 agent".to_owned(),
            _ => format!("at most {limit} agents"),
        });
        let skips = (!skip_stages.is_empty()).then(|| {
            let noun = if skip_stages.len() == 1 { "stage" } else { "stages" };
            format!("without {noun} {}", skip_stages.join(", "))
        });
        let begins = start_at.as_ref().map(|stage| format!("from stage {stage} on"));
        let parts: Vec<_> = [select, limit, skips, begins].into_iter().flatten().collect();
        f.write_str(&parts.join("; "))
    }
}

/// The expression, if it would be valid as the `select` of a stage.
fn select_of(playbook: &Playbook, source: &str) -> Result<Expr, String> {
    let expression = Expr::parse(source).map_err(|error| error.message().to_owned())?;
    if !expression.secrets().is_empty() {
        return Err("secrets can't be used at this place".to_owned());
    }
    let (none, params) = (&[][..], &playbook.params);
    let (before, all) = (&[][..], &[][..]);
    let names = Names { roots: IN_SELECT, earlier: none, before, steps: none, all, params };
    match expression.paths().iter().find_map(|path| names.check(path)) {
        Some(message) => Err(message),
        None => Ok(expression),
    }
}

fn no_such_stage(playbook: &Playbook, path: String, name: &str) -> Option<Problem> {
    let names = || playbook.stages.iter().map(|stage| stage.name.as_str());
    if names().any(|known| known == name) {
        return None;
    }
    let message = match did_you_mean(name, names()) {
        Some(meant) => format!("the playbook has no such stage: did you mean {meant:?}?"),
        None => "the playbook has no such stage".to_owned(),
    };
    let expected = format!("one of {}", names().collect::<Vec<_>>().join(", "));
    Some(Problem::new(code::BAD_VALUE, path, message).found(format!("{name:?}")).expected(expected))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn playbook() -> Playbook {
        let stage = |name: &str| {
            json!({
                "name": name, "select": null, "strategy": {"plugin": "rolling", "with": {}},
                "budget": {"max_failed": {"count": 0}, "scope": "stage", "on_exceeded": "pause"},
                "membership": {"added": "include", "removed": "ignore"}, "steps": [],
            })
        };
        let stages = ["drain", "upgrade", "check"].map(stage);
        let params = json!({"properties": {"zone": {"type": "string"}}});
        let document = json!({
            "name": "p", "version": "1.0.0", "summary": null, "vcs": null, "approval": "granted",
            "concurrency": "queue", "params": params, "plugins": {}, "stages": stages,
        });
        serde_json::from_value(document).unwrap()
    }

    fn asked(skips: &[&str], start_at: Option<&str>) -> Asked {
        let skip_stages = skips.iter().map(|&name| name.to_owned()).collect();
        Asked { skip_stages, start_at: start_at.map(str::to_owned), ..Asked::default() }
    }

    #[test]
    fn stages_that_are_left_out_are_those_before_the_first_and_those_that_are_named() {
        let playbook = playbook();
        for (skips, start_at, left) in [
            (&[][..], None, &[0, 1, 2][..]),
            (&["upgrade"], None, &[0, 2]),
            (&[], Some("upgrade"), &[1, 2]),
            (&["upgrade", "drain"], Some("upgrade"), &[2]),
        ] {
            let narrowed = Narrowing::check(&playbook, asked(skips, start_at)).unwrap();
            assert_eq!(narrowed.stages(&playbook).collect::<Vec<_>>(), left, "{narrowed}");
            assert_eq!(Narrowing::check(&playbook, narrowed.asked()).unwrap(), narrowed);
            let text = serde_json::to_string(&narrowed).unwrap();
            assert_eq!(serde_json::from_str::<Narrowing>(&text).unwrap(), narrowed);
        }
    }

    #[test]
    fn what_does_not_go_with_the_playbook_is_refused_with_its_place() {
        let select = |source: &str| Asked { select: Some(source.to_owned()), ..Asked::default() };
        for (asked, expected) in [
            (select("agent.attributes.zone =="), "/select: invalid expression: "),
            (select("steps.drain.result"), "/select: invalid expression: there is no \"steps\""),
            (select("agent.id == params.zones"), "did you mean \"zone\"?"),
            (Asked { limit: Some(0), ..Asked::default() }, "/limit: a run over no agents"),
            (asked(&["drains"], None), "/skip_stages/0: the playbook has no such stage: did you"),
            (asked(&[], Some("x")), "/start_at: the playbook has no such stage; found \"x\""),
            (asked(&["drain", "upgrade", "check"], None), "/skip_stages: no stage is left"),
            (asked(&["drain"; 4], None), "/skip_stages: too many stages; found 4 names"),
        ] {
            let problems = Narrowing::check(&playbook(), asked).unwrap_err().to_string();
            assert!(problems.contains(expected), "{problems}");
        }
        assert!(Narrowing::check(&playbook(), select("agent.id == params.zone")).is_ok());
    }

    #[test]
    fn it_is_told_in_words() {
        let asked = Asked {
            select: Some("agent.id != 'a'".to_owned()),
            limit: Some(1),
            ..asked(&["check", "drain"], None)
        };
        let narrowed = Narrowing::check(&playbook(), asked).unwrap();
        let expected =
            "only agents with agent.id != 'a'; at most 1 agent; without stages drain, check";
        assert_eq!(narrowed.to_string(), expected);
        assert!(Narrowing::check(&playbook(), Asked::default()).unwrap().is_none());
    }
}
