//! Which retention counts: a shorter one, said on one server by mistake, would remove what all others keep.

use super::contract::Result;
use super::error::StoreError;
use super::options::StoreOptions;
use replibook_core::run::Millis;

/// How the retention that a store is opened with meets the one that the store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// It was asked for: the store has it from then on, if it is not shorter. A shorter one is refused.
    #[default]
    Asked,
    /// Nobody asked for it: what the store has counts, and this one only where there is none yet.
    Unsaid,
    /// It is to change: the store has it from then on, also if it is shorter.
    Changed,
}

impl StoreOptions {
    /// The retention that counts over a store that has this one, if it has any. It is kept then.
    ///
    /// # Errors
    /// [`StoreError::Unfit`], which says both, when a shorter one was asked for.
    pub(super) fn retention_over(&self, stored: Option<Millis>) -> Result<Millis> {
        let asked = self.retention;
        let Some(stored) = stored else { return Ok(asked) };
        match self.keeping {
            Keeping::Changed => Ok(asked),
            Keeping::Unsaid => Ok(stored),
            Keeping::Asked if asked >= stored => Ok(asked),
            Keeping::Asked => Err(StoreError::Unfit {
                message: format!(
                    "found a retention of {asked}, expected at least the {stored} that this store has: \
                     history that others count on would be removed at once. Leave --retention out to use \
                     that of the store; `replibook store migrate --retention {asked}` makes it shorter",
                ),
                source: None,
            }),
        }
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
    }
}
