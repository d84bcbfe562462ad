//! The text of an experiment, and the settings that are given beside it.

use crate::keys;
use crate::lists;
use anyhow::{Context, Result, bail};
use std::num::IntErrorKind::{NegOverflow, PosOverflow};
use toml::{Table, Value};

/// What to say where `--set method.name=..` has kept the keys of another method.
pub(super) fn other_keys(method: &Table, overrides: &[String]) -> String {
    let key = |o: &String| o.split_once('=').map(|(key, _)| key.trim().to_string());
    let is_renamed = overrides
        .iter()
        .any(|o| key(o).as_deref() == Some("method.name"));
    let name = method
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let has_bits = |key: keys::Key| {
        key.name == "method.bits" && key.methods.is_some_and(|of| of.contains(&name))
    };
    match s3_quant::find_in(&lists::get().methods, name) {
        Ok(entry) if is_renamed => {
            let bits = match keys::all().any(has_bits) {
                true => format!(", bits = {}", entry.bits[0]),
                false => String::new(),
            };
            format!(
                "; --set method.name keeps the other keys of [method], --set 'method={{ name \
                 = \"{name}\"{bits} }}' replaces the table"
            )
        }
        _ => String::new(),
    }
}

/// `a.b=value` into the table; the value is TOML, or else a string.
pub(super) fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let Some((key, text)) = assignment.split_once('=') else {
        bail!("--set {assignment}: expected key=value")
    };
    let (key, text) = (key.trim(), text.trim());
    let value = value_of(text).with_context(|| format!("--set {key}"))?;
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path
        .pop()
        .filter(|k| !k.is_empty())
        .with_context(|| format!("--set {assignment}: no key"))?;
    let mut at = table;
    for part in path {
        at = at
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .with_context(|| format!("--set {assignment}: `{part}` is no table"))?;
    }
    at.insert(last.to_string(), value);
    Ok(())
}

/// A TOML value, or else a string of one line.
fn value_of(text: &str) -> Result<Value> {
    let parsed = format!("x = {text}").parse::<Table>();
    let several = parsed.as_ref().is_ok_and(|table| table.len() > 1);
    if let Some(value) = parsed.ok().and_then(|mut table| table.remove("x"))
        && !several
    {
        return Ok(value);
    }
    if several || text.contains('\n') {
        bail!("several lines: each setting has a --set of its own")
    }
    // Longer integers are no TOML.
    let number = text.replace('_', "");
    let parsed = number.parse::<i64>();
    if parsed.is_err_and(|e| matches!(e.kind(), PosOverflow | NegOverflow)) {
        bail!("{text} is no integer from {} to {}", i64::MIN, i64::MAX)
    }
    Ok(Value::String(text.to_string()))
}

/// An error text of several lines as one.
pub(super) fn one_line(text: &str) -> anyhow::Error {
    anyhow::anyhow!("{}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}
