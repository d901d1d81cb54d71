//! A difference as one page: no script, nothing from elsewhere, light or dark as the browser is.

use indicatif::HumanBytes;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, Value, context};
use time::OffsetDateTime;

use super::Difference;

/// Lists of files that are longer are cut: nobody reads them, and browsers take long.
const MOST_FILES: usize = 5000;

/// The page.
///
/// # Errors
/// None that can happen: the template is our own.
pub fn page(difference: &Difference) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("size", |bytes: u64| HumanBytes(bytes).to_string());
    environment.add_filter("date", |epoch: i64| {
        OffsetDateTime::from_unix_timestamp(epoch).map_or(String::new(), |it| it.date().to_string())
    });
    environment.add_filter("growth", |to: u64, from: u64| match to >= from {
        true => format!("+{}", HumanBytes(to - from)),
        false => format!("−{}", HumanBytes(from - to)),
    });
    let headings: Vec<Vec<String>> = difference
        .configuration
        .iter()
        .map(|file| file.hunks.iter().map(super::Hunk::heading).collect())
        .collect();
    let cut = difference.files.len().saturating_sub(MOST_FILES);
    let files = &difference.files[..difference.files.len() - cut];
    let context = context! {
        difference => Value::from(Serde(difference)),
        files => Value::from(Serde(files)),
        headings, cut,
    };
    environment.render_str(include_str!("page.html"), context)
}
