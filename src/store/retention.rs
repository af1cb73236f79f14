//! Which retention counts when several servers share a store. A shorter one, set on one server by mistake, would
//! remove what all the others want to keep.

use super::contract::Result;
use super::error::StoreError;
use super::options::StoreOptions;
use replibook_core::run::Millis;

/// How the retention in the options is reconciled with the one that the store has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// It was set explicitly. The store takes it over, unless it is shorter than the store's: then opening fails.
    #[default]
    Asked,
    /// It is only the default. The store's retention counts; this one counts if the store has none yet.
    Unsaid,
    /// It is to be changed. The store takes it over, even if it is shorter.
    Changed,
}

impl StoreOptions {
    /// The retention that counts, and that the store is to keep, if the store has `stored`.
    ///
    /// # Errors
    /// [`StoreError::Unfit`], which names both, if a shorter one was set explicitly.
    pub(super) fn retention_over(&self, stored: Option<Millis>) -> Result<Millis> {
        let asked = self.retention;
        let refused = |stored| {
            format!(
                "found a retention of {asked}, expected at least the {stored} that this store has: \
                 history that others count on would be removed at once. Leave --retention out to use \
                 that of the store; `replibook store migrate --retention {asked}` makes it shorter",
            )
        };
        over(asked, self.keeping, stored, refused)
    }

    /// The same for the retention of plugins that nothing pins.
    ///
    /// # Errors
    /// Like [`retention_over`](Self::retention_over).
    pub(super) fn plugin_retention_over(&self, stored: Option<Millis>) -> Result<Millis> {
        let asked = self.plugin_retention;
        let refused = |stored| {
            format!(
                "found a plugin retention of {asked}, expected at least the {stored} that this store has: \
                 plugins that others count on would be removed at once. Leave --plugin-retention out to use \
                 that of the store; `replibook store migrate --plugin-retention {asked}` makes it shorter",
            )
        };
        over(asked, self.plugin_keeping, stored, refused)
    }
}

fn over(
    asked: Millis,
    keeping: Keeping,
    stored: Option<Millis>,
    refused: impl Fn(Millis) -> String,
) -> Result<Millis> {
    let Some(stored) = stored else { return Ok(asked) };
    match keeping {
        Keeping::Changed => Ok(asked),
        Keeping::Unsaid => Ok(stored),
        Keeping::Asked if asked >= stored => Ok(asked),
        Keeping::Asked => Err(StoreError::Unfit { message: refused(stored), source: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shorter_retention_that_is_asked_for_is_refused() {
        let (hour, day) = (Millis::from_secs(3_600), Millis::from_secs(86_400));
        let over = |keeping, retention, stored| {
            StoreOptions { retention, keeping, ..StoreOptions::default() }.retention_over(stored)
        };
        for keeping in [Keeping::Asked, Keeping::Unsaid, Keeping::Changed] {
            assert_eq!(over(keeping, hour, None).unwrap(), hour);
            assert_eq!(over(keeping, hour, Some(hour)).unwrap(), hour);
        }
        assert_eq!(over(Keeping::Asked, day, Some(hour)).unwrap(), day);
        assert_eq!(over(Keeping::Unsaid, day, Some(hour)).unwrap(), hour);
        assert_eq!(over(Keeping::Unsaid, hour, Some(day)).unwrap(), day);
        assert_eq!(over(Keeping::Changed, hour, Some(day)).unwrap(), hour);
        let error = over(Keeping::Asked, hour, Some(day)).unwrap_err().to_string();
        assert!(error.contains("found a retention of 1h, expected at least the 1d"), "{error}");
        assert!(error.contains("`replibook store migrate --retention 1h`"), "{error}");
        let plugins = StoreOptions { plugin_retention: hour, ..StoreOptions::default() };
        assert_eq!(plugins.plugin_retention_over(None).unwrap(), hour);
        let error = plugins.plugin_retention_over(Some(day)).unwrap_err().to_string();
        assert!(error.contains("`replibook store migrate --plugin-retention 1h`"), "{error}");
    }
}
