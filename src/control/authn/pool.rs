//! Connections to one backend: at most so many, kept open while they work.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The connections that are open and not in use.
pub(super) struct Pool<C> {
    idle: Mutex<Vec<C>>,
    places: Semaphore,
}

/// The right to one connection.
pub(super) struct Place<'a, C> {
    pool: &'a Pool<C>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<C> Pool<C> {
    pub(super) fn new(size: u16) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(usize::from(size.max(1))),
        }
    }

    /// Waits for a place; the caller bounds the time.
    pub(super) async fn place(&self) -> Place<'_, C> {
        Place {
            pool: self,
            _permit: self.places.acquire().await.ok(),
        }
    }
}

impl<C> Place<'_, C> {
    /// A connection that is open already, if there is one.
    pub(super) fn open(&self) -> Option<C> {
        let idle = self.pool.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// The connection has worked: it is used again.
    pub(super) fn keep(self, connection: C) {
        let idle = self.pool.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    /// A connection that was open did not work any more: the others were opened before it.
    pub(super) fn forget_all(&self) {
        let idle = self.pool.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Asks over a connection of a pool: an open one, and if that has ended meanwhile a new one.
macro_rules! over_pool {
    ($pool:expr, $connect:expr, |$connection:ident| $work:expr) => {{
        let place = $pool.place().await;
        let mut answer = None;
        #[allow(
            unused_mut,
            reason = "some backends are asked through a shared reference"
        )]
        if let Some(mut $connection) = place.open() {
            match $work.await {
                Ok(found) => answer = Some((found, $connection)),
                Err(_) => place.forget_all(),
            }
        }
        let (found, connection) = match answer {
            Some(answer) => answer,
            None => {
                #[allow(unused_mut, reason = "as above")]
                let mut $connection = $connect.await.map_err(|error| error.to_string())?;
                let found = $work.await.map_err(|error| error.to_string())?;
                (found, $connection)
            }
        };
        place.keep(connection);
        found
    }};
}
pub(super) use over_pool;
