//! Pages of made-up lists.

use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::api::limits::MAX_READS;
use crate::api::selector::RUN_ROOTS;
use crate::api::wire::Listing;

/// Reads a whole list whose items have `items` bytes, page by page. Returns the number of items on each page,
/// and the most bytes that were read at once.
async fn pages_of(items: &[usize], limit: u32) -> (Vec<usize>, usize) {
    let reads = Memory::new(MAX_READS);
    let most = Mutex::new(0);
    let (mut after, mut pages, mut seen) = (None, Vec::new(), 0);
    let heaviest = items.iter().copied().max().unwrap_or(1);
    loop {
        let most = &most;
        let list = List {
            read: async |after: Option<usize>, limit: u32| {
                let from = after.map_or(0, |after| after + 1);
                let piece: Vec<_> = (from..items.len()).take(limit as usize).collect();
                let bytes: usize = piece.iter().map(|item| items[*item]).sum();
                let mut most = most.lock().unwrap();
                *most = bytes.max(*most);
                Ok(piece.into_iter().map(|item| Ok((item, "x".repeat(items[item])))).collect())
            },
            key: |item: &(usize, String)| item.0.to_string(),
            view: |item| (item, 0),
            heaviest,
        };
        let page = page(&reads, after, limit, list).await.unwrap();
        let read: Listing<(usize, String)> = serde_json::from_slice(&page.body).unwrap();
        let numbers: Vec<_> = read.items.iter().map(|item| item.0).collect();
        assert_eq!(numbers, (seen..seen + numbers.len()).collect::<Vec<_>>());
        assert!(page.body.len() <= PAGE_BYTES + 100 || numbers.len() == 1, "{}", page.body.len());
        assert_eq!(page.is_empty, numbers.is_empty());
        seen += numbers.len();
        pages.push(numbers.len());
        match read.next {
            Some(next) => after = Some(next.parse().unwrap()),
            None => {
                assert_eq!(seen, items.len());
                return (pages, *most.lock().unwrap());
            }
        }
    }
}

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn a_page_of_small_items_has_as_many_as_were_asked_for() {
    assert_eq!(pages_of(&[], 1_000).await.0, [0]);
    assert_eq!(pages_of(&[10; 7], 1_000).await.0, [7]);
    assert_eq!(pages_of(&[10; 2_500], 1_000).await.0, [1_000, 1_000, 500]);
    assert_eq!(pages_of(&[10; 20], 10).await.0, [10, 10, 0], "a full page has a next");
}

#[tokio::test]
async fn a_page_of_large_items_is_short_and_no_page_takes_much_memory() {
    let (pages, most) = pages_of(&[MIB; 50], 1_000).await;
    assert!(pages.iter().all(|items| *items <= 4), "{pages:?}");
    assert!(most <= 8 * MIB, "{most}");
    // An item that is larger than a page has a page to itself.
    let (pages, _) = pages_of(&[5 * MIB, 10, 5 * MIB, 5 * MIB, 10], 1_000).await;
    assert_eq!(pages, [1, 1, 1, 1, 1]);
    // Some large items among many small ones.
    let mut mixed = vec![100; 300];
    mixed[150..160].fill(MIB);
    let (pages, most) = pages_of(&mixed, 1_000).await;
    assert!(pages.len() <= 5 && most <= 12 * MIB, "{pages:?}, {most}");
    // So many small items that nobody expects a large one.
    let mut late = vec![100; 200];
    late.resize(600, MIB);
    let (_, most) = pages_of(&late, 1_000).await;
    assert!(most <= READ_BYTES, "{most}");
}

#[tokio::test]
async fn what_can_not_be_read_is_named_and_a_page_is_as_a_listing_is_written() {
    let damage =
        || Damage { what: "an event (2)".to_owned(), why: "EOF".to_owned(), key: "2".to_owned() };
    let reads = Memory::new(MAX_READS);
    let list = List {
        read: async |_: Option<u64>, _| Ok(vec![Ok(1), Err(damage())]),
        key: |item: &u64| item.to_string(),
        view: |item| (item, 0),
        heaviest: MIB,
    };
    let page = page(&reads, None, 2, list).await.unwrap();
    let listing = Listing {
        items: vec![1],
        next: Some("2".to_owned()),
        damaged: vec![DamagedView { what: "an event (2)".to_owned(), why: "EOF".to_owned() }],
    };
    let read: Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(read, serde_json::to_value(listing).unwrap());
}

#[tokio::test]
async fn what_can_be_read_is_shown_though_nothing_can_be_read_after_it() {
    let reads = Memory::new(MAX_READS);
    let list = List {
        read: async |after: Option<u64>, limit: u32| match after {
            None => Ok((0..u64::from(limit)).map(Ok).collect()),
            Some(_) => Err(ApiError::new(Code::BadParameter, "that is no key")),
        },
        key: |item: &u64| item.to_string(),
        view: |item| (item, 0),
        heaviest: 1,
    };
    let page = page(&reads, None, 100, list).await.unwrap();
    let read: Listing<u64> = serde_json::from_slice(&page.body).unwrap();
    assert_eq!((read.items.len(), read.next.as_deref()), (8, Some("7")));
}

/// A list of 50 items in a damaged database: reading the item `at` fails.
async fn broken_at(at: u64, after: Option<u64>) -> Result<Listing<u64>, ApiError> {
    let reads = Memory::new(MAX_READS);
    let list = List {
        read: async |after: Option<u64>, limit: u32| {
            let from = after.map_or(0, |after| after + 1);
            let to = 50_u64.min(from + u64::from(limit));
            match from <= at && at < to {
                true => Err(ApiError::new(Code::StoreDamaged, "page 7")),
                false => Ok((from..to).map(Ok).collect()),
            }
        },
        key: |item: &u64| item.to_string(),
        view: |item| (item, 0),
        heaviest: 1,
    };
    let page = page(&reads, after, 1_000, list).await?;
    Ok(serde_json::from_slice(&page.body).unwrap())
}

#[tokio::test]
async fn what_is_in_front_of_a_damage_of_the_database_is_shown_and_the_damage_is_named() {
    for at in [1, 2, 7, 8, 30, 49] {
        let read = broken_at(at, None).await.unwrap();
        assert_eq!(read.items, (0..at).collect::<Vec<_>>());
        assert_eq!(read.next, None);
        let [rest] = read.damaged.as_slice() else { panic!("{read:?}") };
        assert_eq!((rest.what.as_str(), rest.why.as_str()), (PART_OF_LIST, "page 7"));
    }
    let read = broken_at(30, Some(29)).await.unwrap();
    assert_eq!((read.items.len(), read.damaged.len(), read.next), (0, 1, None));
    // If nothing can be read, there is nothing to show.
    assert_eq!(broken_at(0, None).await.unwrap_err().code, Code::StoreDamaged);
}

#[tokio::test]
async fn a_page_that_may_lack_items_says_so_wherever_they_are() {
    let of = async |count: u64, after: Option<u64>| {
        let reads = Memory::new(MAX_READS);
        let list = List {
            read: async |_: Option<u64>, _| Ok((0..count).map(Ok).collect()),
            key: |item: &u64| item.to_string(),
            view: |item| (item, 0),
            heaviest: 1,
        };
        let lost = || Some(ApiError::new(Code::StoreDamaged, "page 7"));
        let page = page_of_known(&reads, after, 3, list, lost).await?;
        Ok::<Listing<u64>, ApiError>(serde_json::from_slice(&page.body).unwrap())
    };
    for (count, after, next) in [(3, None, Some("2")), (2, None, None), (0, Some(2), None)] {
        let read = of(count, after).await.unwrap();
        assert_eq!((read.items.len() as u64, read.next.as_deref()), (count, next));
        let [part] = read.damaged.as_slice() else { panic!("{read:?}") };
        assert_eq!((part.what.as_str(), part.why.as_str()), (PART_OF_LIST, "page 7"));
    }
    assert_eq!(of(0, None).await.unwrap_err().code, Code::StoreDamaged);
}

#[tokio::test]
async fn pages_wait_for_memory_and_keep_of_it_what_they_have() {
    let reads = Memory::new(READ_BYTES);
    let list = || List {
        read: async |_: Option<u64>, _| Ok(vec![Ok(1)]),
        key: |item: &u64| item.to_string(),
        view: |item| (item, 0),
        heaviest: MIB,
    };
    let all = reads.take(READ_BYTES).await;
    let mut second = Box::pin(page(&reads, None, 2, list()));
    assert!(futures::poll!(&mut second).is_pending());
    drop(all);
    let second = second.await.unwrap();
    // Everything but its own share is free again.
    let mut rest = reads.nothing();
    assert!(rest.try_grow_to(READ_BYTES - 1024) && !rest.try_grow_to(READ_BYTES));
    drop(second);
    assert!(rest.try_grow_to(READ_BYTES));
}

/// One page of the numbers below 2,500 that a selector picks, how often the store was asked for it, and the next one.
async fn searched(
    selector: &str,
    after: Option<u32>,
    limit: u32,
) -> (Vec<Value>, u32, Option<u32>) {
    let (reads, asked) = (Memory::new(MAX_READS), Mutex::new(0));
    let asked_too = &asked;
    let list = List {
        read: async |after: Option<u32>, limit: u32| {
            *asked_too.lock().unwrap() += 1;
            let from = after.map_or(0, |after| after + 1);
            Ok((from..(from + limit).min(2_500)).map(Ok).collect())
        },
        key: |number: &u32| number.to_string(),
        view: |number: u32| (serde_json::json!({ "selected": number }), 0),
        heaviest: 100,
    };
    let selector = Selector::parse(selector, &RUN_ROOTS).unwrap();
    let page = page_of_wanted(&reads, after, limit, list, || None, Some(selector)).await.unwrap();
    let read: Listing<Value> = serde_json::from_slice(&page.body).unwrap();
    let numbers = read.items.iter().map(|item| item["selected"].clone()).collect();
    let next = read.next.map(|next| next.parse().unwrap());
    let times = *asked.lock().unwrap();
    (numbers, times, next)
}

#[tokio::test]
async fn a_page_of_a_list_that_is_searched_looks_at_so_many_items_and_leads_on() {
    let few = "run.selected % 900 == 3";
    let (numbers, times, next) = searched(few, None, 1_000).await;
    assert_eq!((numbers, next), (vec![3.into(), 903.into()], Some(999)));
    assert!(times <= 6, "the store was asked {times} times");
    let (numbers, _, next) = searched(few, next, 1_000).await;
    assert_eq!((numbers, next), (vec![1_803.into()], Some(1_999)));
    let (numbers, _, next) = searched(few, next, 1_000).await;
    assert_eq!((numbers, next), (vec![], None));
    // A page that is full ends at its last item.
    let (numbers, _, next) = searched(few, None, 1).await;
    assert_eq!((numbers, next), (vec![3.into()], Some(3)));
    // Loops cost more, so such a page looks at fewer.
    let list = format!("[{}1]", "1, ".repeat(500));
    let (numbers, _, next) =
        searched(&format!("{list}.all(n, n < 2 || run.selected > n)"), None, 1_000).await;
    assert!((1..1_000).contains(&numbers.len()), "{}", numbers.len());
    assert_eq!(next, u32::try_from(numbers.len()).ok().map(|count| count - 1));
}

/// The tests run on one thread: whatever is done on it at once is done before anything else.
#[tokio::test]
async fn others_are_served_while_a_selector_looks_at_items() {
    let served = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&served);
    let other = tokio::spawn(async move { seen.store(true, std::sync::atomic::Ordering::SeqCst) });
    let list = format!("[{}1]", "1, ".repeat(500));
    searched(&format!("{list}.all(n, n < 2)"), None, 1_000).await;
    assert!(served.load(std::sync::atomic::Ordering::SeqCst));
    other.await.unwrap();
}

/// An item beyond the end of the page does not matter, whatever is wrong with it.
#[tokio::test]
async fn what_a_page_has_no_room_for_is_not_looked_at() {
    let (numbers, _, next) = searched("run.selected < 2 || run.selected / 0 > 1", None, 2).await;
    assert_eq!((numbers, next), (vec![0.into(), 1.into()], Some(1)));
}
