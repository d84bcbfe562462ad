//! Architectures: from a name, its settings and an image to a [`Graph`] of what each layer will
//! hold.
//!
//! An architecture is one file and one line of [`ARCHITECTURES`]; its settings are a serde struct.
//! Nothing else names it.
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
//! let expected = "unknown network `resnet21`, expected one of resnet8, ";
//! assert!(unknown.to_string().starts_with(expected));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod architecture;
mod ds_cnn;
mod error;
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

pub use architecture::{Architecture, Example, Settings};
pub use ds_cnn::DsCnn;
pub use error::Error;
pub use lenet5::LeNet5;
pub use mlp::Mlp;
pub use mobilenet_v1::MobileNetV1;
pub use mobilenet_v2::MobileNetV2;
pub use nodes::Nodes;
pub use plan::{Plan, Role};
pub use preact_resnet::PreActResNet;
pub use resnet::{ResNet, Shortcut};
pub use vgg_small::VggSmall;

use std::borrow::ToOwned;
use std::string::String;

use serde_json::Value;

use crate::model::{Graph, Size};
use architecture::read;

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
    find_in(ARCHITECTURES, name)
}

/// The entry of `list` that has network `name`.
///
/// # Errors
/// [`Error::Unknown`], with every name of the list.
pub fn find_in<'a>(list: &'a [Entry], name: &str) -> Result<&'a Entry, Error> {
    let found = list.iter().find(|e| e.names.contains(&name));
    found.ok_or_else(|| Error::Unknown {
        name: name.to_owned(),
        expected: list.iter().flat_map(|e| e.names).copied().collect(),
    })
}

impl Entry {
    /// The settings of network `name`, one of [`names`](Self::names), with what was left open
    /// filled in.
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
