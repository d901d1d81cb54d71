//! The same work on many items, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::interrupt::{self, Interrupted};

/// What `work` makes of each item, in the order of the items. They are begun in that order too, so those that take
/// longest belong first. After a failure, or when the user asks to stop, nothing more is begun.
///
/// # Errors
/// The first item's that failed, or [`Interrupted`].
pub fn try_map<T, R, E>(items: &[T], work: impl Fn(&T) -> Result<R, E> + Sync) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send + From<Interrupted>,
{
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = interrupt::check().map_err(E::from).and_then(|()| work(item));
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().expect("no thread panics holding this").push((index, result));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(items.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(run)));
    let mut results = results.into_inner().expect("no thread panics holding this");
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Failed(usize);

    impl From<Interrupted> for Failed {
        fn from(_: Interrupted) -> Self {
            unreachable!("nobody interrupts a test")
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled = try_map(&items, |item| Ok::<_, Failed>(item * 2)).expect("works");
        assert!(doubled.iter().enumerate().all(|(index, value)| *value == index * 2));
        assert_eq!(try_map(&[], |_: &usize| Ok::<usize, Failed>(0)), Ok(vec![]));
    }

    #[test]
    fn the_first_failure_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        let begun = AtomicUsize::new(0);
        let result = try_map(&items, |&item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item >= 3 { Err(Failed(item)) } else { Ok(()) }
        });
        assert_eq!(result, Err(Failed(3)));
        assert!(begun.into_inner() < 1000);
    }
}
