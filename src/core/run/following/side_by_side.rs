//! Goes through two maps side by side. The members of a large cluster are compared this way every few seconds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Goes through two maps by key. Each key comes once, with what either map has for it. A step costs one
/// comparison, while looking up each key would cost several.
pub(super) fn side_by_side<'m, K: Ord, A, B>(
    one: &'m BTreeMap<K, A>,
    other: &'m BTreeMap<K, B>,
) -> impl Iterator<Item = (&'m K, Option<&'m A>, Option<&'m B>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (Some((key, _)), Some((with, _))) => key.cmp(with),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let first = one.next_if(|_| order.is_le());
        let second = other.next_if(|_| order.is_ge());
        let key = first.map(|(key, _)| key).or(second.map(|(key, _)| key))?;
        Some((key, first.map(|(_, value)| value), second.map(|(_, value)| value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_once_and_in_order() {
        let one = BTreeMap::from([(1, 'a'), (3, 'c'), (4, 'd')]);
        let other = BTreeMap::from([(0, 'Z'), (3, 'C'), (5, 'E')]);
        let found: Vec<_> = side_by_side(&one, &other).map(|(k, a, b)| (*k, a, b)).collect();
        let expected = [
            (0, None, Some(&'Z')),
            (1, Some(&'a'), None),
            (3, Some(&'c'), Some(&'C')),
            (4, Some(&'d'), None),
            (5, None, Some(&'E')),
        ];
        assert_eq!(found, expected);
        assert_eq!(side_by_side(&one, &BTreeMap::<u8, ()>::new()).count(), 3);
    }
}
