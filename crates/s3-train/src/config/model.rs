//! Which network an experiment trains.

use super::text::one_line;
use anyhow::Result;
use s3_layers::zoo::{self, Settings};
use serde::{Deserialize, Serialize};
use toml::Table;

/// The network of an experiment; its image and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        let resolved = zoo::resolved(&self.name, &self.as_json()?);
        Ok(Table::try_from(resolved.map_err(|e| self.error(&e))?)?)
    }

    pub(super) fn as_json(&self) -> Result<Settings> {
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
