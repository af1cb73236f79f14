//! Agents that guards of the cluster hold: a strategy with `held: yes` may ask for them, besides the roster.

use crate::strategy::Roster;

/// How many identifiers a page has at most.
const PAGE: u32 = 1_000;

/// The import of the interface `held` of version 0.2.0, as the WIT has it.
pub trait Holding {
    /// `held.page`.
    fn page(&self, after: Option<&str>, limit: u32) -> Vec<String>;
}

impl<'a> Roster<'a> {
    /// The agents that the last decision named and that a guard of the cluster held, in the order of the run. In a
    /// strategy without `held: yes` there are none. Pages are asked for only when they are needed.
    ///
    /// # Example
    /// ```
    /// use replibook_plugin_sdk::held::Holding;
    /// use replibook_plugin_sdk::strategy::{Calls, Roster};
    /// # use replibook_plugin_sdk::{Level, strategy::{Counts, Details, NodeView, State}};
    /// # struct Nobody;
    /// # impl Calls for Nobody {
    /// #     fn counts(&self) -> Counts { Counts::default() }
    /// #     fn page(&self, _: State, _: Option<&str>, _: u32) -> Vec<String> { Vec::new() }
    /// #     fn details(&self, _: &str) -> Option<Details> { None }
    /// #     fn node(&self, _: &str) -> Option<NodeView> { None }
    /// #     fn refresh(&self, _: &[String]) -> Result<(), String> { Ok(()) }
    /// #     fn matches(&self, _: &str, _: &str) -> Result<bool, String> { Ok(true) }
    /// #     fn log(&self, _: Level, _: &str) {}
    /// # }
    ///
    /// /// A cluster whose guards hold that many agents, for a test.
    /// struct Held(usize);
    ///
    /// impl Holding for Held {
    ///     fn page(&self, after: Option<&str>, limit: u32) -> Vec<String> {
    ///         let names = (0..self.0).map(|number| format!("node-{number:04}"));
    ///         names.filter(|name| after < Some(name.as_str())).take(limit as usize).collect()
    ///     }
    /// }
    ///
    /// assert_eq!(Roster::knowing(&Nobody, &Held(1_500)).held().count(), 1_500);
    /// assert_eq!(Roster::new(&Nobody).held().count(), 0);
    /// ```
    pub fn held(&self) -> impl Iterator<Item = String> + use<'a> {
        let (holding, mut after) = (self.holding, None::<String>);
        let pages = std::iter::from_fn(move || {
            let page = holding?.page(after.as_deref(), PAGE);
            after = Some(page.last()?.clone());
            Some(page)
        });
        pages.flatten()
    }
}
