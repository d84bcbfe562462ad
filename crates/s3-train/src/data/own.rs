//! Data sets that a program has added ([`App::data`](crate::app::App::data)).

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use s3_layers::model::Size;

use super::config::DataConfig;
use super::dataset::Dataset;
use super::error::DataError;
use super::name;

/// A data set of a program's own.
///
/// ```
/// use s3_layers::model::Size;
/// use s3_train::data::{DataConfig, DataError, DataSet, Dataset, Images, statistics};
/// use std::path::Path;
///
/// /// Images of two pixels, the brighter of which is the class.
/// struct Brighter;
///
/// impl DataSet for Brighter {
///     const NAME: &'static str = "brighter";
///     const IMAGE: Size = Size { height: 1, width: 2, channels: 1 };
///     const CLASSES: usize = 2;
///
///     fn load(_: &DataConfig, _: Option<&Path>) -> Result<[Dataset; 2], DataError> {
///         let images = Images::Bytes(vec![0, 255, 255, 0]);
///         let (mean, std) = statistics(&images, 1);
///         let split = |name: &str| Dataset {
///             name: format!("brighter/{name}"),
///             height: 1,
///             width: 2,
///             channels: 1,
///             images: images.clone(),
///             labels: vec![1, 0],
///             class_names: ["left", "right"].map(String::from).to_vec(),
///             mean: mean.clone(),
///             std: std.clone(),
///         };
///         Ok(["train", "test"].map(split))
///     }
/// }
///
/// let [train, test] = Brighter::load(&toml::from_str("name = 'shapes'")?, None)?;
/// assert_eq!((train.len(), test.mean), (2, vec![0.5]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DataSet {
    /// What `data.name` says.
    const NAME: &'static str;
    /// The size of an image.
    const IMAGE: Size;
    /// The number of classes.
    const CLASSES: usize;

    /// The training and the test images, in a fixed order; `train_limit` and `test_limit` are kept
    /// by the caller. `folder` is that of all data sets, where there is one.
    ///
    /// # Errors
    /// What is missing or damaged, in one line that names the file ([`DataError::argument`]).
    fn load(config: &DataConfig, folder: Option<&Path>) -> Result<[Dataset; 2], DataError>;
}

/// What the list holds of a [`DataSet`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) image: Size,
    pub(crate) classes: usize,
    load: fn(&DataConfig, Option<&Path>) -> Result<[Dataset; 2], DataError>,
}

pub(crate) fn entry<D: DataSet>() -> Entry {
    Entry {
        name: D::NAME,
        image: D::IMAGE,
        classes: D::CLASSES,
        load: D::load,
    }
}

static OWN: OnceLock<Vec<Entry>> = OnceLock::new();

/// The data set called `name`, if a program has added it.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    OWN.get()?.iter().find(|entry| entry.name == name)
}

/// Makes these the ones that this process has.
///
/// # Errors
/// They were set before.
pub(crate) fn set(entries: Vec<Entry>) -> Result<()> {
    let late = || anyhow!("data sets were added before");
    let names = entries.iter().map(|entry| entry.name).collect();
    name::set_own(names).map_err(|_| late())?;
    OWN.set(entries).map_err(|_| late())
}

/// Training and test images of a data set that a program has added, which are what it says.
pub(super) fn load(
    name: &'static str,
    config: &DataConfig,
    folder: Option<&Path>,
) -> Result<(Dataset, Dataset), DataError> {
    let entry = find(name).ok_or_else(|| DataError::argument(name, "no program has added it"))?;
    let [train, test] = (entry.load)(config, folder)?;
    for split in [&train, &test] {
        split.check()?;
        let (
            Size {
                height,
                width,
                channels,
            },
            classes,
        ) = (entry.image, entry.classes);
        if split.size() != entry.image || split.classes() != classes {
            let text = format!("images are not {height}x{width}x{channels} of {classes} classes");
            return Err(DataError::argument(&split.name, text));
        }
        if let Some(at) = split
            .labels
            .iter()
            .position(|&label| usize::from(label) >= classes)
        {
            let text = format!("label {at} is {}, of {classes} classes", split.labels[at]);
            return Err(DataError::argument(&split.name, text));
        }
    }
    Ok((train, test))
}
