//! Architectures: from a name, its settings and an image to a [`Graph`] of what each layer will hold.
//!
//! An architecture is one file and one line of [`ARCHITECTURES`]; its settings are a serde struct. Nothing
//! else names it.
//!
//! ```
//! use s3_kernels::model::Size;
//! use s3_kernels::zoo::{self, Architecture, ResNet, Settings, Shortcut};
//!
//! let image = Size { height: 32, width: 32, channels: 3 };
//! let resnet20 = zoo::graph("resnet20", &Settings::new(), image, 10)?;
//! assert_eq!(resnet20.parameters()?, 269_722);
//!
//! // The same from Rust, with the shortcut that has parameters.
//! let b = ResNet { shortcut: Some(Shortcut::B), ..ResNet::default() };
//! assert_eq!(b.graph("resnet20", image, 10)?.parameters()?, 272_474);
//!
//! let unknown = zoo::graph("resnet21", &Settings::new(), image, 10).unwrap_err();
//! assert!(unknown.to_string().starts_with("unknown network `resnet21`, expected one of resnet8, "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ds_cnn;
mod fuse;
mod lenet5;
mod mlp;
mod mobilenet_v1;
mod mobilenet_v2;
mod nodes;
mod plan;
mod preact_resnet;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg_small;

pub use ds_cnn::DsCnn;
pub use lenet5::LeNet5;
pub use mlp::Mlp;
pub use mobilenet_v1::MobileNetV1;
pub use mobilenet_v2::MobileNetV2;
pub use nodes::Nodes;
pub use plan::{Plan, Role};
pub use preact_resnet::PreActResNet;
pub use resnet::{ResNet, Shortcut};
pub use vgg_small::VggSmall;

use plan::{factor, is_small, scaled};

use std::borrow::ToOwned;
use std::fmt;
use std::string::{String, ToString};
use std::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::model::{self, Graph, Size};

/// An architecture's settings, as a configuration holds them.
pub type Settings = Map<String, Value>;

/// The list of architectures.
pub const ARCHITECTURES: &[Entry] = &[
    entry::<ResNet>(),
    entry::<PreActResNet>(),
    entry::<VggSmall>(),
    entry::<MobileNetV1>(),
    entry::<MobileNetV2>(),
    entry::<DsCnn>(),
    entry::<LeNet5>(),
    entry::<Mlp>(),
    entry::<Nodes>(),
];

/// A family of networks; the value is its settings.
pub trait Architecture: Serialize + DeserializeOwned {
    /// The names of its networks in configurations.
    const NAMES: &'static [&'static str];
    /// One line on what they are.
    const SUMMARY: &'static str;
    /// Small networks of the family, which the tests of every network take.
    const EXAMPLES: &'static [Example];

    /// The settings of network `name` with what was left open filled in, where a record of a run names it.
    ///
    /// # Errors
    /// A setting that the network has not, or of a value that it cannot have; the message names its key.
    fn resolved(self, name: &str) -> Result<Self, String>;

    /// Network `name` for images of this size and a number of classes.
    ///
    /// # Errors
    /// Those of [`resolved`](Self::resolved), and a node that does not fit.
    fn graph(&self, name: &str, image: Size, classes: usize) -> Result<Graph<Plan>, Error>;
}

/// From a name, settings, an image and a number of classes.
type Build = fn(&str, &Settings, Size, usize) -> Result<Graph<Plan>, Error>;

/// What the list holds of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The names of its networks in configurations.
    pub names: &'static [&'static str],
    /// One line on what they are.
    pub summary: &'static str,
    /// Small networks of it, which the tests of every network take.
    pub examples: &'static [Example],
    resolved: fn(&str, &Settings) -> Result<Settings, String>,
    graph: Build,
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

/// Why there is no such network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The name is not in the list.
    Unknown {
        /// The name given.
        name: String,
    },
    /// A key is unknown, missing, of the wrong type or out of range.
    Setting {
        /// What is wrong, naming the key.
        message: String,
    },
    /// The nodes do not fit together on this image.
    Graph(model::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown { name } => {
                let known: Vec<&str> = names().collect();
                let known = known.join(", ");
                write!(f, "unknown network `{name}`, expected one of {known}")
            }
            Error::Setting { message } => f.write_str(message),
            Error::Graph(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<model::Error> for Error {
    fn from(error: model::Error) -> Self {
        Error::Graph(error)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::Setting { message }
    }
}

/// Every name that a configuration may give a network.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().flat_map(|entry| entry.names).copied()
}

/// The settings of network `name` with what was left open filled in.
///
/// # Errors
/// An unknown name; a key that is unknown, missing, mistyped or out of range.
pub fn resolved(name: &str, settings: &Settings) -> Result<Settings, Error> {
    Ok(find(name)?.resolved(name, settings)?)
}

/// Network `name` for images of this size and a number of classes.
///
/// # Errors
/// Those of [`resolved`], and a node that does not fit, by its name.
pub fn graph(
    name: &str,
    settings: &Settings,
    image: Size,
    classes: usize,
) -> Result<Graph<Plan>, Error> {
    find(name)?.graph(name, settings, image, classes)
}

fn find(name: &str) -> Result<&'static Entry, Error> {
    let found = ARCHITECTURES.iter().find(|e| e.names.contains(&name));
    found.ok_or_else(|| Error::Unknown {
        name: name.to_owned(),
    })
}

impl Entry {
    /// The settings of network `name`, one of [`names`](Self::names), with what was left open filled in.
    ///
    /// # Errors
    /// A key that is unknown, missing, mistyped or out of range.
    pub fn resolved(&self, name: &str, settings: &Settings) -> Result<Settings, String> {
        (self.resolved)(name, settings)
    }

    /// Network `name` for images of this size and a number of classes.
    ///
    /// # Errors
    /// Those of [`resolved`](Self::resolved), and a node that does not fit, by its name.
    pub fn graph(
        &self,
        name: &str,
        settings: &Settings,
        image: Size,
        classes: usize,
    ) -> Result<Graph<Plan>, Error> {
        (self.graph)(name, settings, image, classes)
    }
}

/// What a list holds of an architecture.
#[must_use]
pub const fn entry<A: Architecture>() -> Entry {
    Entry {
        names: A::NAMES,
        summary: A::SUMMARY,
        examples: A::EXAMPLES,
        resolved: |name, settings| {
            let resolved = read::<A>(settings)?.resolved(name)?;
            match serde_json::to_value(resolved) {
                Ok(Value::Object(settings)) => Ok(settings),
                other => Err(std::format!("settings are no table: {other:?}")),
            }
        },
        graph: |name, settings, image, classes| {
            read::<A>(settings)?
                .resolved(name)?
                .graph(name, image, classes)
        },
    }
}

fn read<A: DeserializeOwned>(settings: &Settings) -> Result<A, String> {
    let read = |settings| serde_json::from_value::<A>(Value::Object(settings));
    read(settings.clone()).map_err(|error| {
        // A mistyped value's message does not name its key: it is the one without which the rest is read.
        let message = error.to_string();
        let blamed = settings.keys().find(|key| {
            let mut others = settings.clone();
            others.remove(*key);
            !message.contains(std::format!("`{key}`").as_str()) && read(others).is_ok()
        });
        blamed.map_or(message.clone(), |key| std::format!("{key}: {message}"))
    })
}
