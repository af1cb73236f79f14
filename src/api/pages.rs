//! Pages of lists: their items and bytes are bounded, and so is the memory of all pages that are read at once.
//! All lists of large items go through here.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::bodies::off_loop;
use super::error::{ApiError, Code};
use super::limits::{FIRST_PIECE, PAGE_BYTES, PIECE_BYTES, READ_BYTES};
use super::selector::{MAX_EXAMINED, MAX_EXAMINED_BYTES, Selector};
use super::weigh::Weighed;
use super::wire::{DamagedView, PART_OF_LIST};
use crate::playbook::Picks;
use crate::store::{Damage, Found};
use crate::web::{Memory, Share};

/// A page in JSON: a [`Listing`](super::wire::Listing), with the memory that it takes until it is sent.
pub(super) struct Paged {
    body: Vec<u8>,
    share: Share,
    /// Whether it has neither items nor damaged ones.
    pub(super) is_empty: bool,
}

impl IntoResponse for Paged {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        Weighed((json, axum::body::Body::from(self.body)), self.share).into_response()
    }
}

/// How to read and show the items of a list.
pub(super) struct List<R, K, V> {
    /// Reads at most the given number of items after a key.
    pub(super) read: R,
    /// The key of an item.
    pub(super) key: K,
    /// Gives an item as it is shown, and how many bytes it takes in memory in addition to those.
    pub(super) view: V,
    /// The most bytes that an item may have in memory.
    pub(super) heaviest: usize,
}

/// Reads a page after `after`, with at most `limit` items. It has fewer if more would exceed [`PAGE_BYTES`],
/// but at least one. A full page has a `next`, even if it happens to be the last one: the page after it is
/// empty then. Items that can't be read are named beside the others. If the database is damaged at some place
/// of the list, the page has what comes before that place, and the list ends there.
pub(super) async fn page<C, S, T, F>(
    reads: &Memory,
    after: Option<C>,
    limit: u32,
    list: List<impl Fn(Option<C>, u32) -> F, impl Fn(&S) -> String, impl Fn(S) -> (T, usize)>,
) -> Result<Paged, ApiError>
where
    C: FromStr + Clone,
    T: Serialize,
    F: Future<Output = Result<Found<S>, ApiError>>,
{
    page_of_known(reads, after, limit, list, || None).await
}

/// Reads a page of a list from which items may be missing: after the read, `lost` says why, if that was found.
/// The page then says so, wherever they may be.
pub(super) async fn page_of_known<C, S, T, F>(
    reads: &Memory,
    after: Option<C>,
    limit: u32,
    list: List<impl Fn(Option<C>, u32) -> F, impl Fn(&S) -> String, impl Fn(S) -> (T, usize)>,
    lost: impl FnOnce() -> Option<ApiError>,
) -> Result<Paged, ApiError>
where
    C: FromStr + Clone,
    T: Serialize,
    F: Future<Output = Result<Found<S>, ApiError>>,
{
    page_of_wanted(reads, after, limit, list, lost, None).await
}

/// Reads a page of the items that a selector picks. It may have few or none, although there are more further on.
pub(super) async fn page_of_wanted<C, S, T, F>(
    reads: &Memory,
    after: Option<C>,
    limit: u32,
    list: List<impl Fn(Option<C>, u32) -> F, impl Fn(&S) -> String, impl Fn(S) -> (T, usize)>,
    lost: impl FnOnce() -> Option<ApiError>,
    selector: Option<Selector>,
) -> Result<Paged, ApiError>
where
    C: FromStr + Clone,
    T: Serialize,
    F: Future<Output = Result<Found<S>, ApiError>>,
{
    let mut share = reads.take(READ_BYTES.max(list.heaviest)).await;
    let goes_on = after.is_some();
    let mut page = Page::new(selector);
    let (next, rest) = fill(&mut page, after, limit, list).await?;
    if let Some(error) = rest.or_else(lost) {
        if page.count == 0 && !goes_on {
            return Err(error);
        }
        page.damaged.push(DamagedView { what: PART_OF_LIST.to_owned(), why: error.detail });
    }
    let (is_empty, damaged) = (page.count == 0, page.damaged);
    let body = finish(page.body, &next, &damaged)?;
    share.shrink_to(body.len());
    Ok(Paged { body, share, is_empty })
}

/// Fills the page. Returns where the list continues, and why it does not if the database is damaged there.
///
/// # Flow
/// It reads a few items, and then as many as fit [`PIECE_BYTES`] if none is larger than those before. Even if
/// all are as large as they may be, they fit [`READ_BYTES`], whatever came before.
async fn fill<C, S, T, F>(
    page: &mut Page,
    mut after: Option<C>,
    limit: u32,
    list: List<impl Fn(Option<C>, u32) -> F, impl Fn(&S) -> String, impl Fn(S) -> (T, usize)>,
) -> Result<(Option<String>, Option<ApiError>), ApiError>
where
    C: FromStr + Clone,
    T: Serialize,
    F: Future<Output = Result<Found<S>, ApiError>>,
{
    let mut most = u32::try_from(READ_BYTES / list.heaviest.max(1)).unwrap_or(u32::MAX).max(1);
    let mut piece = FIRST_PIECE.min(page.room(limit)).min(most);
    loop {
        let found = match (list.read)(after.clone(), piece).await {
            // The key of an item that can't be read may not be a valid one; the items before it are read all
            // the same.
            Err(error) if error.code == Code::BadParameter && page.count > 0 => {
                return Ok((page.last.clone(), None));
            }
            // What comes before the damage can be read in smaller pieces.
            Err(error) if error.code == Code::StoreDamaged && piece > 1 => {
                most = piece / 2;
                piece = most;
                continue;
            }
            Err(error) if error.code == Code::StoreDamaged => return Ok((None, Some(error))),
            found => found?,
        };
        let is_last = found.len() < piece as usize;
        let entries = found.into_iter().map(|one| entry(one, &list.key, &list.view));
        let is_full = if page.selector.is_none() {
            page.add_all(entries.map(|entry| (entry, Ok(Picks::Yes))), limit)?
        } else {
            let picked = page.pick(entries.collect(), limit).await?;
            page.add_all(picked, limit)?
        };
        if is_full {
            return Ok((page.last.clone(), None));
        }
        if is_last {
            return Ok((None, None));
        }
        let last = page.last.as_deref().and_then(|key| key.parse().ok());
        let room = page.room(limit);
        if room == 0 || last.is_none() {
            return Ok((page.last.clone(), None));
        }
        after = last;
        let fit = u32::try_from(PIECE_BYTES / page.largest.max(1)).unwrap_or(u32::MAX);
        piece = fit.clamp(1, piece.saturating_mul(4)).min(most).min(room);
    }
}

/// One item of a list, as a page has it.
struct Entry {
    key: String,
    /// The item as JSON, or how it is damaged.
    item: Result<Vec<u8>, DamagedView>,
    /// How many bytes it takes in memory beside its JSON.
    beside: usize,
}

fn entry<S, T: Serialize>(
    one: Result<S, Damage>,
    key: impl Fn(&S) -> String,
    view: impl Fn(S) -> (T, usize),
) -> Result<Entry, ApiError> {
    match one {
        Ok(item) => {
            let key = key(&item);
            let (view, beside) = view(item);
            let item = serde_json::to_vec(&view).map_err(ApiError::internal)?;
            Ok(Entry { key, item: Ok(item), beside })
        }
        Err(Damage { what, why, key }) => {
            Ok(Entry { key, item: Err(DamagedView { what, why }), beside: 0 })
        }
    }
}

/// Looks at the entries one after the other, until enough are picked or nothing more may be looked at. Expressions take
/// time, so this is not done where requests are answered.
fn pick(entries: Vec<Entry>, selector: &mut Selector, mut room: u32) -> Picked {
    let mut picked = Picked::default();
    for entry in entries {
        let picks = match &entry.item {
            Err(_) => Ok(Picks::Yes),
            Ok(item) => serde_json::from_slice(item)
                .map_err(ApiError::internal)
                .and_then(|value| selector.picks(&value, &entry.key)),
        };
        room = room.saturating_sub(u32::from(matches!(picks, Ok(Picks::Yes))));
        let is_over = room == 0 || matches!(picks, Ok(Picks::Spent) | Err(_));
        picked.push((Ok(entry), picks));
        if is_over {
            break;
        }
    }
    picked
}

/// Entries with whether they are wanted. What a page has no room for is never looked at.
type Picked = Vec<(Result<Entry, ApiError>, Result<Picks, ApiError>)>;

/// A page while items are added to it.
struct Page {
    body: Vec<u8>,
    damaged: Vec<DamagedView>,
    count: u32,
    /// Bytes of the largest item so far.
    largest: usize,
    /// Key of the last item so far.
    last: Option<String>,
    /// Picks the items, if not all of them are wanted.
    selector: Option<Selector>,
    /// How many items the selector has looked at, and their bytes.
    examined: (u32, usize),
}

const BEGIN: &[u8] = br#"{"items":["#;

impl Page {
    fn new(selector: Option<Selector>) -> Self {
        Self {
            body: BEGIN.to_vec(),
            damaged: Vec::new(),
            count: 0,
            largest: 0,
            last: None,
            selector,
            examined: (0, 0),
        }
    }

    /// How many more items may be read for this page.
    fn room(&self, limit: u32) -> u32 {
        let (examined, bytes) = self.examined;
        match self.selector {
            None => limit.saturating_sub(self.count),
            Some(_) if self.count >= limit || bytes >= MAX_EXAMINED_BYTES => 0,
            Some(_) => MAX_EXAMINED.saturating_sub(examined),
        }
    }

    /// Has the selector look at the next entries.
    async fn pick(
        &mut self,
        entries: Vec<Result<Entry, ApiError>>,
        limit: u32,
    ) -> Result<Picked, ApiError> {
        let entries = entries.into_iter().collect::<Result<Vec<_>, _>>()?;
        let Some(mut selector) = self.selector.take() else { return Ok(Picked::new()) };
        let room = limit.saturating_sub(self.count);
        let (picked, selector) = off_loop(move || {
            let picked = pick(entries, &mut selector, room);
            (picked, selector)
        })
        .await?;
        self.selector = Some(selector);
        Ok(picked)
    }

    /// Adds the entries that are wanted. Returns whether the page ends before the next one.
    fn add_all(
        &mut self,
        entries: impl IntoIterator<Item = (Result<Entry, ApiError>, Result<Picks, ApiError>)>,
        limit: u32,
    ) -> Result<bool, ApiError> {
        for (entry, picks) in entries {
            let Entry { key, item, beside } = entry?;
            let bytes = item.as_ref().map_or(0, |item| item.len() + beside);
            self.largest = self.largest.max(bytes);
            if self.selector.is_some() && item.is_ok() {
                self.examined = (self.examined.0 + 1, self.examined.1.saturating_add(bytes));
            }
            let has_room = match (picks?, item) {
                (Picks::Spent, _) => false,
                (Picks::No, _) => true,
                (Picks::Yes, Ok(item)) => self.add(&item),
                (Picks::Yes, Err(damaged)) => {
                    self.damaged.push(damaged);
                    self.count += 1;
                    true
                }
            };
            if !has_room {
                return Ok(true);
            }
            self.last = Some(key);
            if self.count >= limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds an item, and returns whether there was room for it.
    fn add(&mut self, item: &[u8]) -> bool {
        let is_first = self.body.len() == BEGIN.len();
        if !is_first && self.body.len() + 1 + item.len() > PAGE_BYTES {
            return false;
        }
        if !is_first {
            self.body.push(b',');
        }
        self.body.extend_from_slice(item);
        self.count += 1;
        true
    }
}

fn finish(
    mut body: Vec<u8>,
    next: &Option<String>,
    damaged: &[DamagedView],
) -> Result<Vec<u8>, ApiError> {
    body.extend_from_slice(br#"],"next":"#);
    serde_json::to_writer(&mut body, next).map_err(ApiError::internal)?;
    if !damaged.is_empty() {
        body.extend_from_slice(br#","damaged":"#);
        serde_json::to_writer(&mut body, damaged).map_err(ApiError::internal)?;
    }
    body.push(b'}');
    Ok(body)
}

/// How many bytes a value takes as JSON.
pub(super) fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A value that can't be serialized fails when it is really written.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// A key that may be any text.
#[derive(Clone, Debug)]
pub(super) struct Key(pub(super) String);

impl FromStr for Key {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
