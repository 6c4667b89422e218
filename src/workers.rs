//! Items on several threads, each worker the next one, with results in the order of the items.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many threads this machine runs at once; 1 where that cannot be told.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does something for each item on so many threads, the calling one among them.
///
/// After a failure nobody begins another item. The first failure in the order of the items is the result, whoever met
/// it and whenever: it does not depend on the number of threads.
pub fn try_map<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    each: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Result<R, E>>> = Mutex::default();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = each(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
        }
    };
    std::thread::scope(|scope| {
        (1..threads.min(items.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    // Items are taken in order, so that what was begun is all up to somewhere.
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_whatever_the_number_of_threads() {
        let items: Vec<u32> = (0..500).collect();
        for threads in [0, 1, 2, 7, 1000] {
            let doubled = try_map(&items, threads, |item| Ok::<_, ()>(item * 2)).unwrap();
            assert!(doubled.iter().zip(&items).all(|(doubled, item)| *doubled == item * 2), "{threads}");
            assert_eq!(doubled.len(), items.len());
        }
        assert_eq!(try_map(&[], 3, |_: &u32| Err::<(), _>(())), Ok(vec![]));
    }

    #[test]
    fn the_first_failure_in_order_is_told_and_nothing_is_begun_after_one() {
        let items: Vec<u32> = (0..500).collect();
        let begun = AtomicUsize::new(0);
        for threads in [1, 4] {
            begun.store(0, Ordering::Relaxed);
            let failed = try_map(&items, threads, |item| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *item < 20 { Ok(()) } else { Err(*item) }
            });
            assert_eq!(failed, Err(20), "{threads} threads");
            assert!(begun.load(Ordering::Relaxed) < 20 + 1 + threads * 2, "{threads} threads");
        }
    }
}
