//! Lists in pages. A page ends with a link that says after which item the next one begins, so that what is made or
//! removed in between neither repeats nor hides others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Control;
use super::answer::ApiError;
use super::call::Call;
use crate::arm::envelope::Page;

/// The parameters that say where a page begins; clients of two providers call it by two names.
pub(super) const SKIP: [&str; 2] = ["$skip", "$skiptoken"];
/// The largest page.
const MOST: usize = 1_000;

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// How many items a page has, as the query says, in one of these parameters.
pub(super) fn size(call: &Call, names: &[&str], default: usize) -> Result<usize, ApiError> {
    let Some((name, text)) = names.iter().find_map(|name| Some((*name, call.query(name)?))) else {
        return Ok(default);
    };
    match text.parse::<usize>() {
        Ok(count) if count > 0 => Ok(count.min(MOST)),
        _ => Err(ApiError::bad("BadArgument", format!("`{name}` is a whole number from 1"), Some(name))),
    }
}

impl Control {
    /// Cuts a page out of a list whose items have unique keys by which they are ordered; only what is on it is shown.
    pub(super) fn page<T, V>(
        &self,
        call: &Call,
        mut items: Vec<(String, T)>,
        order: Order,
        size: usize,
        show: impl Fn(T) -> V,
    ) -> Result<Page<V>, ApiError> {
        items.sort_by(|(a, _), (b, _)| if order == Order::Ascending { a.cmp(b) } else { b.cmp(a) });
        let begin = match SKIP.iter().find_map(|name| call.query(name)) {
            None | Some("") => 0,
            Some(token) => {
                let wrong = || {
                    ApiError::bad("InvalidSkipToken", "$skip is not one that a nextLink gave", Some("$skip"))
                };
                let last = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
                let last = String::from_utf8(last).map_err(|_| wrong())?;
                items.partition_point(
                    |(key, _)| if order == Order::Ascending { *key <= last } else { *key >= last },
                )
            }
        };
        let more = items.len() > begin + size;
        let mut page: Vec<(String, T)> = items.into_iter().skip(begin).take(size).collect();
        let last = page.last().map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        let next_link = last.filter(|_| more).map(|token| self.next_link(call, &token));
        Ok(Page { value: page.drain(..).map(|(_, item)| show(item)).collect(), next_link })
    }

    pub(super) fn next_link(&self, call: &Call, token: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.query_without(&SKIP));
        query.append_pair("$skip", token);
        format!("{}{}?{}", self.addresses.control, call.raw_path, query.finish())
    }
}
