//! The `[data]` section of an experiment.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::name::DataName;
use super::shapes::Difficulty;

/// The `[data]` section of an experiment.
///
/// ```
/// use s3_train::data::{AugmentConfig, DataConfig, DataName};
///
/// let text = "name = 'cifar10'\naugment = { pad = 4, flip = true }";
/// let config: DataConfig = toml::from_str(text)?;
/// assert_eq!(config.name, DataName::Cifar10);
/// assert_eq!(config.train_limit, None);
/// assert_eq!(config.augment, AugmentConfig { pad: 4, flip: true, ..AugmentConfig::OFF });
/// assert!(toml::from_str::<DataConfig>("name = 'mnist'\nflip = true").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Which data set.
    pub name: DataName,
    /// Train on at most this many images, the first ones of the official order; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Test on at most this many images, the first ones of the official order; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Of `shapes`: how hard the images are to tell apart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub difficulty: Difficulty,
    /// Of `imagenet` and `arrays`: the folder below the data sets' folder; the data set's name if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Of `arrays`: the mean of each channel, of bytes in units of 255; that of the training images
    /// if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Of `arrays`: the standard deviation of each channel, in the same units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Of `imagenet`: rows and columns that the network sees; 224 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Of `imagenet`: read the shards that `s3 shards` has made, instead of the image files.
    /// Training then sees images that were shrunk and compressed again, in another order. The
    /// files stay needed: they are listed at each start, for the labels and to see whether the
    /// shards are stale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shards: bool,
    /// Of `imagenet`: whether an image that cannot be decoded stops the run (`stop`, the default)
    /// or is counted and left out of its batch (`skip`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub broken: Broken,
    /// Random changes to the training images; none if absent.
    #[serde(default)]
    pub augment: AugmentConfig,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl DataConfig {
    /// All images of `name`, without augmentation.
    #[must_use]
    pub const fn of(name: DataName) -> Self {
        Self {
            name,
            train_limit: None,
            test_limit: None,
            difficulty: Difficulty::Easy,
            folder: None,
            mean: None,
            std: None,
            size: None,
            shards: false,
            broken: Broken::Stop,
            augment: AugmentConfig::OFF,
        }
    }
}

/// What happens when an image cannot be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Broken {
    /// The run stops, naming the file.
    #[default]
    Stop,
    /// The image is counted and left out of its batch.
    Skip,
}

impl FromStr for Broken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stop" => Ok(Self::Stop),
            "skip" => Ok(Self::Skip),
            _ => Err(format!("expected stop or skip, got {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_configs_are_those_of_as_str() {
        for name in DataName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            let config: DataConfig = toml::from_str(&format!("name = '{name}'")).unwrap();
            assert_eq!(config, DataConfig::of(name));
            assert_eq!(
                toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(),
                config
            );
        }
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key() {
        let cases = [
            ("side", "name = 'mnist'\nside = 3"),
            ("rotate", "name = 'mnist'\naugment = { rotate = 3 }"),
        ];
        for (key, text) in cases {
            let message = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("unknown field `{key}`")),
                "{message}"
            );
        }
    }
}
