//! Makes a playbook that can be run, from a document that was read and what is known about its plugins. No other
//! function makes a [`Playbook`] from a document.

use std::collections::BTreeMap;

use super::arguments;
use super::draft::{Declared, PluginUse};
use super::explain::MAX_LISTED;
use super::grants::Grants;
use super::model::{Playbook, PluginKind, PluginPin};
use super::plugin_info::PluginInfo;
use super::problem::{Problem, Problems, code, did_you_mean};
use super::read::PlaybookDocument;
use super::schema::Schema;
use super::secrets::merge;
use super::spans::push_segment;

/// Resolves a playbook: pins its plugins, gives them what the document grants, and checks that each is of the
/// right kind and that its arguments fit it.
///
/// `plugins` has what is known about the plugins that the document declares, by the name that they have there;
/// built-in plugins need no entry. A name in the document takes precedence over a built-in plugin of that name, so
/// a new built-in plugin never changes an old playbook.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
///
/// use replibook_core::playbook::{PluginInfo, PluginKind, parse_playbook, resolve};
/// # use replibook_core::ids::Digest;
///
/// let builtin = |kind, name: &str| PluginInfo {
///     kind,
///     name: name.to_owned(),
///     digest: Digest::of(name.as_bytes()),
///     # version: "1.0.0".to_owned(),
///     # summary: String::new(),
///     # size: 0,
///     # calls: Vec::new(),
///     arguments: serde_json::json!({ "type": "object" }),
/// };
/// let builtins = [builtin(PluginKind::Strategy, "rolling"), builtin(PluginKind::Step, "action")];
/// # let text = b"
/// # apiVersion: replicante.io/v1
/// # kind: Playbook
/// # metadata: { name: restart, version: 1.0.0 }
/// # spec:
/// #   stages:
/// #     - name: all
/// #       strategy: { use: rolling }
/// #       steps: [{ name: restart, action: demo.example.com/restart }]
/// # ";
/// let playbook = resolve(&parse_playbook(text)?, &BTreeMap::new(), &builtins)?;
/// assert_eq!(playbook.plugins["rolling"].source, "builtin:rolling");
/// assert!(playbook.stages[0].steps[0].grants.allows_action("demo.example.com/restart"));
///
/// let problems = resolve(&parse_playbook(text)?, &BTreeMap::new(), &[]).unwrap_err();
/// assert_eq!(problems.0[0].message, "there is no strategy \"rolling\"");
/// # Ok::<(), replibook_core::playbook::Problems>(())
/// ```
pub fn resolve(
    doc: &PlaybookDocument,
    plugins: &BTreeMap<String, PluginInfo>,
    builtins: &[PluginInfo],
) -> Result<Playbook, Problems> {
    let draft = doc.draft();
    let mut resolver = Resolver {
        doc,
        declared: &draft.plugins,
        plugins,
        builtins,
        schemas: BTreeMap::new(),
        problems: vec![],
    };
    let mut playbook = draft.playbook.clone();
    for (name, declared) in &draft.plugins {
        resolver.check_declared(name, declared);
    }
    for used in &draft.uses {
        let Some(mut pin) = resolver.pin(used) else { continue };
        let stage = &mut playbook.stages[used.stage];
        let with = match used.step {
            Some(step) => {
                let step = &mut stage.steps[step];
                if draft.plugins.contains_key(&used.name) {
                    step.grants = pin.grants.clone();
                } else {
                    // What all uses of a built-in step may send where, for people to see in one place.
                    let others = playbook.plugins.get(&used.name);
                    let others =
                        others.map(|pin| pin.grants.secrets.as_slice()).unwrap_or_default();
                    merge(&mut pin.grants.secrets, others);
                    merge(&mut pin.grants.secrets, &step.grants.secrets);
                }
                &step.with
            }
            None => &stage.strategy.with,
        };
        resolver.check_arguments(used, with);
        playbook.plugins.insert(used.name.clone(), pin);
    }
    doc.check_with(resolver.problems)?;
    Ok(playbook)
}

struct Resolver<'a> {
    doc: &'a PlaybookDocument,
    declared: &'a BTreeMap<String, Declared>,
    plugins: &'a BTreeMap<String, PluginInfo>,
    builtins: &'a [PluginInfo],
    /// Schemas by plugin, each compiled only once; `None` where compiling failed.
    schemas: BTreeMap<String, Option<Schema>>,
    problems: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    fn check_declared(&mut self, name: &str, declared: &Declared) {
        let mut path = "/spec/plugins".to_owned();
        push_segment(&mut path, name);
        let Some(info) = self.plugins.get(name) else {
            let source = &declared.source.source;
            let message =
                format!("this plugin is unknown: {source} was neither found nor uploaded");
            self.problems.push(Problem::new(code::UNKNOWN_PLUGIN, path, message));
            return;
        };
        if let Some(pinned) = &declared.source.digest
            && *pinned != info.digest
        {
            let message = "the plugin is not the one that the document pins";
            let problem = Problem::new(code::DIGEST_DIFFERS, format!("{path}/digest"), message);
            // Digests are compared by eye, so this one is not cut.
            let found = Some(info.digest.to_string());
            self.problems.push(Problem { found, ..problem.expected(pinned.as_str()) });
        }
        if info.kind == PluginKind::Strategy && declared.grants != Grants::default() {
            let message = "a strategy decides and does nothing, so there is nothing to grant to it";
            let problem = Problem::new(code::NOT_GRANTED, format!("{path}/grants"), message);
            self.problems.push(problem.expected("grants only where the plugin is a step"));
        }
    }

    /// What is known about the plugin that `name` means, its source, and what is granted to it.
    fn find(&self, name: &str) -> Option<(&'a PluginInfo, String, Grants)> {
        match self.declared.get(name) {
            Some(declared) => {
                let info = self.plugins.get(name)?;
                Some((info, declared.source.source.to_string(), declared.grants.clone()))
            }
            None => {
                let info = self.builtins.iter().find(|info| info.name == name)?;
                Some((info, format!("builtin:{name}"), Grants::default()))
            }
        }
    }

    fn pin(&mut self, used: &PluginUse) -> Option<PluginPin> {
        let path = used.name_pointer();
        let wanted = used.kind.as_str();
        let Some((info, source, grants)) = self.find(&used.name) else {
            // A declared plugin that nothing is known about is reported where it is declared.
            if !self.doc.may_declare(&used.name) {
                let builtins = self.builtins.iter().filter(|info| info.kind == used.kind);
                let known: Vec<&str> = self
                    .declared
                    .keys()
                    .map(String::as_str)
                    .chain(builtins.map(|b| b.name.as_str()))
                    .collect();
                let message = match did_you_mean(&used.name, known.iter().copied()) {
                    Some(meant) => {
                        format!("there is no {wanted} {:?}: did you mean {meant:?}?", used.name)
                    }
                    None => format!("there is no {wanted} {:?}", used.name),
                };
                let mut problem = Problem::new(code::UNKNOWN_PLUGIN, path, message);
                // Listing thousands of names in each of thousands of problems would fill the memory.
                if known.len() <= MAX_LISTED {
                    problem = problem.expected(format!("one of {}", known.join(", ")));
                }
                self.problems.push(problem);
            }
            return None;
        };
        if info.kind != used.kind {
            let message = format!("{:?} can't be used here", used.name);
            let problem = Problem::new(code::WRONG_PLUGIN_KIND, path, message);
            let problem = problem.found(format!("a {}", info.kind.as_str()));
            self.problems.push(problem.expected(format!("a {wanted}")));
            return None;
        }
        Some(PluginPin {
            source,
            digest: info.digest.clone(),
            kind: info.kind,
            name: info.name.clone(),
            version: info.version.clone(),
            grants,
            // The store knows it.
            provenance: None,
            signers: Vec::new(),
        })
    }

    fn check_arguments(&mut self, used: &PluginUse, with: &super::Template) {
        if !self.schemas.contains_key(&used.name) {
            let Some((info, ..)) = self.find(&used.name) else { return };
            let schema = Schema::compile(&info.arguments);
            let schema = schema.map_err(|bad| {
                let why = bad.first().map(|problem| problem.message.as_str()).unwrap_or_default();
                let message =
                    format!("the schema that plugin {:?} gives of its arguments: {why}", used.name);
                self.problems.push(Problem::new(code::BAD_SCHEMA, used.name_pointer(), message));
            });
            self.schemas.insert(used.name.clone(), schema.ok());
        }
        if let Some(Some(schema)) = self.schemas.get(&used.name) {
            let placed = arguments::check(schema, with).into_iter();
            let placed = placed.map(|p| Problem { path: used.argument_pointer(&p.path), ..p });
            self.problems.extend(placed);
        }
    }
}
