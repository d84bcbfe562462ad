//! Which network an experiment trains.

use super::text::one_line;
use crate::lists;
use anyhow::{Result, bail};
use s3_layers::zoo::{self, Settings};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The network of an experiment; its image and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelConfig {
    /// A name of [`zoo::ARCHITECTURES`].
    pub name: String,
    /// The architecture's own settings.
    #[serde(flatten)]
    pub settings: Table,
}

impl ModelConfig {
    /// The settings with what was left open filled in.
    pub(super) fn resolved(&self) -> Result<Table> {
        let settings = self.as_json()?;
        let resolved = zoo::find_in(&lists::get().architectures, &self.name)
            .and_then(|entry| Ok(entry.resolved(&self.name, &settings)?));
        Ok(Table::try_from(resolved.map_err(|e| self.error(&e))?)?)
    }

    /// The settings as architectures read them.
    ///
    /// # Errors
    /// A float that is not finite, for which JSON has no word; the message names its key.
    pub(super) fn as_json(&self) -> Result<Settings> {
        for (key, value) in &self.settings {
            check_finite(&format!("model.{key}"), value)?;
        }
        Ok(serde_json::from_value(serde_json::to_value(
            &self.settings,
        )?)?)
    }

    /// The key that the size of the network comes from, and its value.
    pub(super) fn key(&self) -> String {
        match self.settings.get("width") {
            Some(width) => format!("model.width: {width}"),
            None => format!("model.name: {}", self.name),
        }
    }

    pub(super) fn error(&self, error: &zoo::Error) -> anyhow::Error {
        one_line(&match error {
            zoo::Error::Unknown { .. } => format!("model.name: {error}"),
            zoo::Error::Setting { message } => {
                let key = message.split(": ").next().unwrap_or_default();
                match self.settings.contains_key(key) {
                    true => format!("model.{message}"),
                    false => format!("model: {message}"),
                }
            }
            _ => format!("{}: {error}", self.key()),
        })
    }
}

/// Refuses floats that are not finite at `key` and below it. A table of a list is called by its
/// name, where it has one.
fn check_finite(key: &str, value: &Value) -> Result<()> {
    match value {
        Value::Float(float) if !float.is_finite() => {
            bail!("{key}: expected a finite number, got {float}")
        }
        Value::Table(table) => {
            let mut entries = table.iter();
            entries.try_for_each(|(below, value)| check_finite(&format!("{key}.{below}"), value))
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(number, item)| {
            let name = item.get("name").and_then(Value::as_str);
            let name = name.map_or_else(|| number.to_string(), str::to_owned);
            check_finite(&format!("{key}.{name}"), item)
        }),
        _ => Ok(()),
    }
}
