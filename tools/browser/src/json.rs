//! The little JSON that is written here.

use std::fmt::Write as _;

/// `text` as a JSON string.
///
/// ```
/// assert_eq!(s3_browser::json::string("a\"\n"), r#""a\"\u000a""#);
/// ```
#[must_use]
pub fn string(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// The items, each of them JSON, as an array.
///
/// ```
/// assert_eq!(s3_browser::json::array([1, 2]), "[1,2]");
/// ```
#[must_use]
pub fn array<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}
