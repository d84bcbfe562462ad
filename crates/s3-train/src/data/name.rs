//! The names of data sets.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The data sets that a config can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataName {
    /// Generated images of ten geometric shapes.
    Shapes,
    /// Handwritten digits.
    Mnist,
    /// CIFAR-10.
    Cifar10,
    /// ILSVRC2012, or any other folder of images.
    Imagenet,
    /// Arrays that NumPy has written.
    Arrays,
    /// One that a program has added ([`App::data`](crate::app::App::data)).
    Own(&'static str),
}

/// The names of those that a program has added.
static OWN: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Makes these the names that a program has added; an error where there are such.
pub(super) fn set_own(names: Vec<&'static str>) -> Result<(), Vec<&'static str>> {
    OWN.set(names)
}

impl DataName {
    /// Every data set of the project.
    pub const ALL: [Self; 5] = [
        Self::Shapes,
        Self::Mnist,
        Self::Cifar10,
        Self::Imagenet,
        Self::Arrays,
    ];

    /// The name as configs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shapes => "shapes",
            Self::Mnist => "mnist",
            Self::Cifar10 => "cifar10",
            Self::Imagenet => "imagenet",
            Self::Arrays => "arrays",
            Self::Own(name) => name,
        }
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DataName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let own = OWN.get().into_iter().flatten();
        let all = Self::ALL.into_iter().chain(own.map(|name| Self::Own(name)));
        let found = all.clone().find(|data| data.as_str() == name);
        found.ok_or_else(|| {
            let known = all.map(Self::as_str).collect::<Vec<_>>().join(", ");
            format!("unknown data set `{name}`, expected one of {known}")
        })
    }
}

impl Serialize for DataName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DataName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}
