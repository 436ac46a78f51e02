//! Lists that are too long to be looked at as a whole, by pages with numbers.
//!
//! A page begins where the one before it ended: the place is remembered for a while, so that who walks
//! page by page sees each entry that is there all the time exactly once, and a page costs the same
//! wherever it is. Who asks for a page whose place is not known has the entries before it skipped, up
//! to a limit.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::control::context::Context;
use crate::control::cores::Cursor;
use crate::control::http::error::ApiError;
use crate::control::http::extract::{Paging, Params};
use crate::gate::manage::{Manage, Page};
use crate::gate::reply::Reply;

/// Places that are remembered, those of the longest unused list go first.
const PLACES_MAX: usize = 512;
/// Entries that are skipped to find a page whose place is not known: about a second.
const SKIPPED_MAX: usize = 100_000;

/// Where pages begin.
#[derive(Default)]
pub struct Places(Mutex<VecDeque<Place>>);

struct Place {
    list: String,
    page: usize,
    at: Cursor,
}

impl Places {
    /// The last page up to `page` whose beginning is known.
    fn nearest(&self, list: &str, page: usize) -> (usize, Cursor) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = places
            .iter()
            .filter(|p| p.list == list && p.page <= page && p.page > 1);
        before
            .max_by_key(|p| p.page)
            .map_or_else(|| (1, Cursor::default()), |p| (p.page, p.at))
    }

    fn note(&self, list: &str, page: usize, at: Cursor) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|p| p.list != list || p.page != page);
        if places.len() >= PLACES_MAX {
            places.pop_front();
        }
        let list = list.to_owned();
        places.push_back(Place { list, page, at });
    }
}

/// One page of a list over all cores, and whether there is a further one.
///
/// # Errors
/// A core does not answer, or the page is too far from any that is known.
pub async fn page_of<T: Send + 'static>(
    context: &Context,
    name: &str,
    params: &Params,
    paging: Paging,
    step: impl Fn(u64, usize, Reply<Page<T>>) -> Manage,
) -> Result<(Vec<T>, bool), ApiError> {
    let list = format!("{name}?{}", params.without_paging());
    let (mut page, mut at) = context.places.nearest(&list, paging.page);
    if (paging.page - page).saturating_mul(paging.limit) > SKIPPED_MAX {
        return Err(ApiError::parameter(format!(
            "page {} is too far: walk from page to page, or by cursor",
            paging.page
        )));
    }
    loop {
        let (rows, next) = context.cores.list(at, paging.limit, &step).await?;
        if let Some(next) = next {
            context.places.note(&list, page + 1, next);
        }
        match next {
            _ if page == paging.page => return Ok((rows, next.is_some())),
            None => return Ok((Vec::new(), false)),
            Some(next) => (page, at) = (page + 1, next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_where_the_one_before_it_ended() {
        let places = Places::default();
        let at = Cursor::from_number;
        places.note("a", 2, at(20));
        places.note("a", 3, at(30));
        places.note("b", 2, at(7));
        assert_eq!(places.nearest("a", 1), (1, Cursor::default()));
        assert_eq!(places.nearest("a", 3), (3, at(30)));
        assert_eq!(places.nearest("a", 9), (3, at(30)));
        assert_eq!(places.nearest("c", 9), (1, Cursor::default()));
        places.note("a", 3, at(31));
        assert_eq!(places.nearest("a", 3), (3, at(31)));
        for page in 0..PLACES_MAX {
            places.note("d", page, at(1));
        }
        assert_eq!(places.nearest("a", 3), (1, Cursor::default()));
    }
}
