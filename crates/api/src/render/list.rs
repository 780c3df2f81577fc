//! Lists: pages of objects, newest first.

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, Page, Reader, Slice, Start};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::value::TimeText;
use crate::visibility::sees_object;

/// Items of a page if nothing else is asked for.
const LIMIT_DEFAULT: u8 = 10;
/// Most items of a page.
const LIMIT_MAX: u8 = 100;

/// A page of a list, newest first.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    #[schema(pattern = "^list$")]
    object: &'static str,
    data: Vec<T>,
    /// Whether the list goes on in the direction of this page.
    has_more: bool,
    /// Where it goes on: pass it as `starting_after` (or as `ending_before`, if that is what you passed). A page may have
    /// fewer items than asked for, or none, and yet go on: one request looks through 10,000 records at most.
    #[schema(required)]
    next_cursor: Option<String>,
    /// The path that was asked.
    url: String,
}

/// Items of a page at most.
#[derive(Clone, Copy, Debug)]
pub struct Limit(u8);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && (1..=LIMIT_MAX).contains(number));
        number
            .map(Limit)
            .ok_or_else(|| serde::de::Error::custom("must be an integer from 1 to 100"))
    }
}

impl Limit {
    /// Returns the number of items of a page that may name it.
    pub fn items(limit: Option<Limit>) -> usize {
        usize::from(limit.map_or(LIMIT_DEFAULT, |limit| limit.0))
    }
}

/// Where a page begins and what window of time it comes from: what all lists are asked by.
#[derive(Debug, Default)]
pub struct PageParams {
    /// Items at most; 10 if left out.
    pub limit: Option<Limit>,
    /// Items older than the one with this id or cursor.
    pub starting_after: Option<String>,
    /// Items newer than the one with this id or cursor.
    pub ending_before: Option<String>,
    /// Not recorded before this time.
    pub created_gte: Option<TimeText>,
    /// Recorded before this time.
    pub created_lt: Option<TimeText>,
}

/// The parameters of a list that has no filter of its own. Filtered lists repeat the fields, since serde can't refuse
/// unknown fields of flattened structs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items at most; 10 if left out.
    #[param(value_type = Option<u8>, minimum = 1, maximum = 100)]
    limit: Option<Limit>,
    /// Items older than the one with this id or cursor.
    starting_after: Option<String>,
    /// Items newer than the one with this id or cursor, the nearest ones.
    ending_before: Option<String>,
    /// Not recorded before this time.
    #[serde(rename = "created[gte]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_gte: Option<TimeText>,
    /// Recorded before this time.
    #[serde(rename = "created[lt]")]
    #[param(value_type = Option<String>, format = DateTime)]
    created_lt: Option<TimeText>,
}

impl From<PageQuery> for PageParams {
    fn from(query: PageQuery) -> PageParams {
        PageParams {
            limit: query.limit,
            starting_after: query.starting_after,
            ending_before: query.ending_before,
            created_gte: query.created_gte,
            created_lt: query.created_lt,
        }
    }
}

impl PageParams {
    /// Whether the page begins at the newest item, so that [`PageParams::page`] reads no record.
    pub fn is_from_the_newest(&self) -> bool {
        self.starting_after.is_none() && self.ending_before.is_none()
    }

    /// Returns the engine's page. The page begins at an object of `kind` that the caller may see, or at a cursor that a list gave
    /// to the caller's owner.
    pub fn page(&self, reader: &Reader, caller: &Caller, kind: IdKind) -> Result<Page, ApiError> {
        let place = |id: &str, param: &str| place(reader, caller, kind, id, param);
        let start = match (&self.starting_after, &self.ending_before) {
            (None, None) => Start::Newest,
            (Some(id), None) => Start::Before(place(id, "starting_after")?),
            (None, Some(id)) => Start::After(place(id, "ending_before")?),
            (Some(_), Some(_)) => {
                let message = "Give either starting_after or ending_before, not both.";
                return Err(ApiError::invalid("ending_before", message));
            }
        };
        Ok(Page {
            limit: Limit::items(self.limit),
            start,
            from: self.created_gte.as_ref().map(|time| time.0),
            until: self.created_lt.as_ref().map(|time| time.0),
        })
    }
}

fn place(
    reader: &Reader,
    caller: &Caller,
    kind: IdKind,
    id: &str,
    param: &str,
) -> Result<u64, ApiError> {
    let ids = reader.ids();
    if let Some(position) = ids.decode_cursor(caller.actor.owner, id) {
        return Ok(position);
    }
    if let Some(position) = ids.decode(kind, id)
        && sees_object(reader, caller, kind, position)?
    {
        return Ok(position);
    }
    let message = format!("{param} must be the id of an item of this list, or a cursor.");
    Err(ApiError::invalid(param, message))
}

/// The list of what `slice` holds.
pub fn list<T, U>(
    reader: &Reader,
    caller: &Caller,
    url: String,
    slice: Slice<T>,
    mut render: impl FnMut(T) -> Result<U, ApiError>,
) -> Result<List<U>, ApiError> {
    let next = slice.next.filter(|_| slice.has_more);
    let mut data = Vec::with_capacity(slice.items.len());
    for item in slice.items {
        data.push(render(item)?);
    }
    Ok(List {
        object: "list",
        data,
        has_more: slice.has_more,
        next_cursor: next.map(|position| {
            let owner = caller.actor.owner;
            reader.ids().encode_cursor(owner, position)
        }),
        url,
    })
}
