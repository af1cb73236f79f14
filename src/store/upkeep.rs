//! What becomes of plugins that nothing pins. All back ends decide it here, and differ only in how they make sure that
//! nobody pins a plugin at the moment of its removal.

use super::damage::Found;
use super::documents::Plugin;
use super::options::Moment;
use replibook_core::run::{Digest, Millis, Timestamp};

/// How long a plugin that nothing pins is kept by default: as long as the history of runs, so that a playbook of last
/// month is applied again without an upload.
pub const DEFAULT_PLUGIN_RETENTION: Millis = Millis::from_secs(30 * 24 * 60 * 60);

/// The shortest retention of plugins: longer than an upload or an import takes and is known after its end, so that what
/// just came is still there when its playbook is applied.
pub const MIN_PLUGIN_RETENTION: Millis = Millis::from_secs(30 * 60);

/// The least time between two sweeps over plugins, whoever makes them. Nobody waits for the space, and a thousand
/// plugins are looked at within an hour.
pub const PLUGIN_SWEEP: Millis = Millis::from_secs(60);

/// What a sweep does with a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing.
    Stays,
    /// Something pins it now, so its retention no longer counts.
    Pinned,
    /// Nothing pins it any more: its retention begins.
    Unpinned,
    /// Its retention has passed.
    Goes,
}

/// What a sweep does with a plugin at this moment.
pub(super) fn fate(plugin: &Plugin, is_pinned: bool, at: &Moment) -> Fate {
    match (plugin.unpinned_at, is_pinned) {
        (Some(_), true) => Fate::Pinned,
        (None, false) => Fate::Unpinned,
        (Some(since), false) if since < at.plugins_cutoff => Fate::Goes,
        (None, true) | (Some(_), false) => Fate::Stays,
    }
}

/// Whether a sweep may be made, if the next one was to be made at `next`. A moment that is much further away than that was
/// written by a clock that was wrong. It may be a little further away: engines don't agree about the time to the
/// millisecond, so the engine that has just taken the turn may be ahead of the one that asks.
pub(super) fn is_due(next: Timestamp, at: &Moment) -> bool {
    next <= at.now || next > at.now.plus(PLUGIN_SWEEP).plus(PLUGIN_SWEEP)
}

/// After which plugin the next sweep goes on, if one with this limit looked at these. None: a round has ended.
pub(super) fn goes_on_after<T>(looked_at: &[T], limit: u32) -> Option<&T> {
    looked_at.last().filter(|_| looked_at.len() >= limit as usize)
}

/// [`goes_on_after`] for plugins of which some can't be read. None is also a name that can't be: the next sweep begins anew.
pub(super) fn goes_on_after_found(looked_at: &Found<Plugin>, limit: u32) -> Option<Digest> {
    match goes_on_after(looked_at, limit)? {
        Ok(plugin) => Some(plugin.info.digest.clone()),
        Err(damage) => damage.key.parse().ok(),
    }
}

/// Where a sweep over plugins goes on, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) next: Timestamp,
    /// The last plugin that was looked at. None: the round begins.
    pub(super) after: Option<Digest>,
}

impl Round {
    /// Takes the turn to make a sweep. Returns after which plugin it goes on; `None` if it is not time yet.
    pub(super) fn take(&mut self, at: &Moment) -> Option<Option<Digest>> {
        if !is_due(self.next, at) {
            return None;
        }
        self.next = at.now.plus(PLUGIN_SWEEP);
        Some(self.after.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::StoreOptions;
    use replibook_core::playbook::{PluginInfo, PluginKind};

    fn at(now: i64) -> Moment {
        let plugin_retention = Millis(100);
        let options = StoreOptions { plugin_retention, ..StoreOptions::default() };
        options.at(Timestamp::from_millis(now))
    }

    #[test]
    fn a_plugin_goes_when_its_retention_has_passed_and_nothing_pins_it() {
        let info = PluginInfo {
            digest: Digest::of(b"1"),
            kind: PluginKind::Step,
            name: "one".to_owned(),
            version: "1.0.0".to_owned(),
            summary: String::new(),
            arguments: serde_json::json!({}),
            size: 1,
            calls: Vec::new(),
        };
        let mut plugin = Plugin::new(info, Timestamp::from_millis(1_000));
        let fates =
            |plugin: &Plugin, now| [false, true].map(|pinned| fate(plugin, pinned, &at(now)));
        assert_eq!(fates(&plugin, 1_100), [Fate::Stays, Fate::Pinned]);
        assert_eq!(fates(&plugin, 1_101), [Fate::Goes, Fate::Pinned]);
        assert!(plugin.renew(Timestamp::from_millis(1_001)));
        assert!(!plugin.renew(Timestamp::from_millis(1_000)), "it never begins earlier");
        assert_eq!(fates(&plugin, 1_101), [Fate::Stays, Fate::Pinned]);
        plugin.unpinned_at = None;
        assert!(!plugin.renew(Timestamp::from_millis(9_000)), "it has not begun");
        assert_eq!(fates(&plugin, 9_000), [Fate::Unpinned, Fate::Stays]);
    }

    #[test]
    fn sweeps_keep_their_distance_and_no_wrong_clock_stops_them() {
        let mut round = Round::default();
        let pause = i64::try_from(PLUGIN_SWEEP.0).unwrap();
        assert_eq!(round.take(&at(5)), Some(None));
        round.after = Some(Digest::of(b"1"));
        assert_eq!([round.take(&at(5)), round.take(&at(4 + pause))], [None, None]);
        assert_eq!(round.take(&at(3)), None, "an engine whose clock is a little behind");
        assert_eq!(round.take(&at(5 + pause)), Some(Some(Digest::of(b"1"))));
        round.next = Timestamp::from_millis(1_000 * pause);
        assert!(round.take(&at(5 + pause)).is_some());
    }
}
