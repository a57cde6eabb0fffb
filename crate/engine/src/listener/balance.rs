//! Deals the connections of a listener to workers so that each has as many (`connection_balance_config.exact_balance`).

use std::sync::{Arc, Mutex, PoisonError};

/// How many connections of a listener each worker has.
pub struct Balance(Mutex<Vec<usize>>);

/// A connection's place at a worker, until it is dropped.
pub struct Place {
    balance: Arc<Balance>,
    /// The worker's number.
    pub worker: usize,
}

impl Balance {
    /// Of so many workers, at least one.
    pub fn new(workers: usize) -> Arc<Balance> {
        Arc::new(Balance(Mutex::new(vec![0; workers.max(1)])))
    }

    /// A place at the worker that has the fewest; at the first of equals, as in Envoy.
    pub fn deal(self: &Arc<Balance>) -> Place {
        let worker = self.with(|counts| {
            let (worker, count) = counts.iter_mut().enumerate().min_by_key(|(_, count)| **count).unzip();
            if let Some(count) = count {
                *count += 1;
            }
            worker.unwrap_or(0)
        });
        Place { balance: self.clone(), worker }
    }

    /// A place at this worker, however many it has.
    pub fn at(self: &Arc<Balance>, worker: usize) -> Place {
        self.with(|counts| counts[worker] += 1);
        Place { balance: self.clone(), worker }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<usize>) -> T) -> T {
        // Each change is one step, so that a panic elsewhere leaves the counts whole.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.balance.with(|counts| counts[self.worker] -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_fewest_is_next() {
        let balance = Balance::new(3);
        let mut places: Vec<_> = (0..6).map(|_| balance.deal()).collect();
        assert_eq!(places.iter().map(|p| p.worker).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        places.remove(4);
        assert_eq!(balance.deal().worker, 1);
        let _more = [balance.at(0), balance.at(0)];
        drop(places);
        assert_eq!([balance.deal(), balance.deal()].map(|p| p.worker), [1, 2]);
    }
}
