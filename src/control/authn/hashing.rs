//! Threads for what computes long: a bounded queue, so that a storm of logins is refused instead of
//! piling up.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The threads' queue.
#[derive(Clone)]
pub(super) struct Hashing {
    jobs: Arc<Sender<Job>>,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Hashing {
    /// So many threads behind a queue of so many jobs.
    pub(super) fn start(threads: usize, queue: usize) -> std::io::Result<Self> {
        let (jobs, waiting) = bounded::<Job>(queue);
        for number in 0..threads {
            let waiting = waiting.clone();
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || waiting.iter().for_each(|job| job()))?;
        }
        Ok(Self {
            jobs: Arc::new(jobs),
        })
    }

    /// Runs a job and waits for what it returns.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who does not wait any more does not want it computed.
            if !done.is_closed() {
                let _ = done.send(job());
            }
        });
        self.jobs.try_send(job).map_err(|_| Busy)?;
        result.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let hashing = Hashing::start(1, 1).unwrap();
        assert_eq!(hashing.run(|| 7).await, Ok(7));
        let (release, held) = crossbeam_channel::bounded::<()>(1);
        let (started, running) = oneshot::channel();
        let own = hashing.clone();
        let first = tokio::spawn(async move {
            own.run(move || {
                let _ = started.send(());
                held.recv().ok();
            })
            .await
        });
        running.await.unwrap();
        let own = hashing.clone();
        let second = tokio::spawn(async move { own.run(|| ()).await });
        while hashing.jobs.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.run(|| ()).await, Err(Busy));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(second.await.unwrap(), Ok(()));
    }
}
