//! What an architecture is: a family of networks, by name and settings.

use std::string::{String, ToString};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Error;
use super::plan::Plan;
use crate::model::{Graph, Size};

/// An architecture's settings, as a configuration holds them.
pub type Settings = Map<String, Value>;

/// A family of networks; the value is its settings.
pub trait Architecture: Serialize + DeserializeOwned {
    /// The names of its networks in configurations.
    const NAMES: &'static [&'static str];
    /// One line on what they are.
    const SUMMARY: &'static str;
    /// Small networks of the family, which the tests of every network take.
    const EXAMPLES: &'static [Example];

    /// The settings of network `name` with what was left open filled in, where a record of a run
    /// names it.
    ///
    /// # Errors
    /// A setting that the network has not, or of a value that it cannot have; the message names its
    /// key.
    fn resolved(self, name: &str) -> Result<Self, String>;

    /// Network `name` for images of this size and a number of classes.
    ///
    /// # Errors
    /// Those of [`resolved`](Self::resolved), and a node that does not fit.
    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error>;
}

/// A network that tests can afford.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Its name.
    pub name: &'static str,
    /// Its settings, as JSON.
    pub settings: &'static str,
    /// Height of an image.
    pub side: usize,
}

impl Example {
    /// Network `name` with settings as JSON, for images of 8x8 pixels.
    #[must_use]
    pub const fn new(name: &'static str, settings: &'static str) -> Self {
        let side = 8;
        Example {
            name,
            settings,
            side,
        }
    }
}

/// Settings as the type that holds them; a message names the key that is wrong.
pub(super) fn read<A: DeserializeOwned>(settings: &Settings) -> Result<A, String> {
    let read = |settings| serde_json::from_value::<A>(Value::Object(settings));
    read(settings.clone()).map_err(|error| {
        // A mistyped value's message does not name its key: it is the one without which the rest is
        // read.
        let message = error.to_string();
        let blamed = settings.keys().find(|key| {
            let mut others = settings.clone();
            others.remove(*key);
            !message.contains(std::format!("`{key}`").as_str()) && read(others).is_ok()
        });
        blamed.map_or(message.clone(), |key| std::format!("{key}: {message}"))
    })
}
