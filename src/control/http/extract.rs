//! What a request brings: query, path, body; what is wrong with them is said in the API's own form.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::control::http::error::ApiError;

/// Entries of a page unless the request says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Entries of a page at most.
pub const LIMIT_MAX: usize = 10_000;

/// A JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let axum::Json(value) = axum::Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// Whether something may have that name: letters, digits and these marks.
///
/// # Errors
/// What a name is.
pub fn check_name(name: &str, len_max: usize, marks: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || marks.as_bytes().contains(&byte);
    if name.is_empty() || name.len() > len_max || !name.bytes().all(fits) {
        let marks: Vec<String> = marks.chars().map(|mark| format!("`{mark}`")).collect();
        let marks = marks.join(", ");
        return Err(ApiError::bad_request(format!(
            "a name has 1 to {len_max} letters, digits, {marks}"
        )));
    }
    Ok(())
}

/// The parts of the path that stand for something.
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(value) = Path::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// The query string; a name may come several times.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::from_request_parts(parts, state).await?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// The last value of a name; an empty one is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().rev().filter(|(n, _)| n == name);
        named
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self
            .0
            .iter()
            .filter(|(n, value)| n == name && !value.is_empty());
        named.map(|(_, value)| value.clone()).collect()
    }

    /// A value that is a number, an address and the like.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.read(name, |text| text.parse().ok())
    }

    /// A value that `read` understands.
    pub fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let wrong = || ApiError::parameter(format!("`{text}` is no value for `{name}`"));
        read(text).map(Some).ok_or_else(wrong)
    }

    /// Which page: from 1, and how many entries.
    pub fn paging(&self, prefix: &str) -> Result<Paging, ApiError> {
        let page = self.parsed(&format!("{prefix}page"))?.unwrap_or(1);
        // EMQX 4, whose parameters begin with `_`, gives all it may.
        let default = if prefix.is_empty() {
            LIMIT_DEFAULT
        } else {
            LIMIT_MAX
        };
        let limit = self.parsed(&format!("{prefix}limit"))?.unwrap_or(default);
        if page == 0 || limit == 0 || limit > LIMIT_MAX {
            return Err(ApiError::parameter(format!(
                "`page` is 1 or more and `limit` is 1 to {LIMIT_MAX}"
            )));
        }
        Ok(Paging { page, limit })
    }

    /// The query without its paging, for telling one list from another.
    pub fn without_paging(&self) -> String {
        let others = self
            .0
            .iter()
            .filter(|(n, _)| !n.ends_with("page") && n != "node");
        others.map(|(n, value)| format!("{n}={value}\0")).collect()
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: usize,
    /// Entries of a page.
    pub limit: usize,
}

impl Paging {
    /// The page of a list that lies in memory as a whole.
    pub fn cut<T>(self, all: Vec<T>) -> Listed<T> {
        let count = all.len();
        let skipped = (self.page - 1).saturating_mul(self.limit);
        let data: Vec<T> = all.into_iter().skip(skipped).take(self.limit).collect();
        let hasnext = skipped.saturating_add(data.len()) < count;
        self.listed(data, Some(count as u64), hasnext)
    }

    /// A page with what is known of the list.
    pub fn listed<T>(self, data: Vec<T>, count: Option<u64>, hasnext: bool) -> Listed<T> {
        Listed {
            data,
            meta: Meta {
                page: self.page,
                limit: self.limit,
                count,
                hasnext,
            },
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listed<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Where they are in the list.
    pub meta: Meta,
}

/// Where a page is in its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Meta {
    /// From 1.
    pub page: usize,
    /// Entries of a page.
    pub limit: usize,
    /// Entries of the whole list; absent where nobody has counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Whether there is a further page.
    pub hasnext: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_list_in_memory() {
        let paging = |page| Paging { page, limit: 2 };
        let listed = paging(2).cut(vec![1, 2, 3, 4, 5]);
        assert_eq!((listed.data, listed.meta.hasnext), (vec![3, 4], true));
        let listed = paging(3).cut(vec![1, 2, 3, 4, 5]);
        assert_eq!((listed.data, listed.meta.hasnext), (vec![5], false));
        assert_eq!(paging(usize::MAX).cut(vec![1]).data, Vec::<i32>::new());
    }
}
