//! What a run's network sees and what its answers are called: `network.json` of a run's folder.
//!
//! It is written when a run starts and never changes. Every later command reads class names, mean,
//! deviation and image size there, and not from what lies in the data's folder by then.
//!
//! ```json
//! {
//!   "version": 1,
//!   "input": {
//!     "height": 224, "width": 224, "channels": 3,
//!     "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
//!     "fit": {"name": "resize_and_crop", "resize": 256, "crop": 224}
//!   },
//!   "classes": ["cat", "dog"],
//!   "graph": {"image": .., "nodes": [{"name": "conv1", "inputs": [0], "op": {"layer": ..}}, ..]}
//! }
//! ```
//!
//! `input` has `"numbers": "floats"` where images are no bytes but numbers that count as they are
//! ([`Numbers`]).
//!
//! `graph` is what was trained ([`Graph`] of [`Plan`]s): a later program that builds another
//! network of the same name still reads this one. Runs of older versions have none. Members that
//! are not named here are left to later versions of the program; a reader ignores them.

use super::folder::RunFolder;
use crate::config::MAX_WEIGHTS;
use crate::data::crop::side_of;
use crate::data::{Dataset, Images};
use anyhow::{Context, Result, bail, ensure};
pub use s3_layers::model::Fit;
use s3_layers::model::{Graph, Numbers, Size};
use s3_layers::zoo::Plan;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The file's name.
pub const FILE: &str = "network.json";
/// The layout that this program writes and reads.
pub const VERSION: u32 = 1;

/// What a value of a normalised image is at most: beyond it sums of squares overflow f32.
const LARGEST: f32 = 1e6;

/// What a network sees and what its answers are called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    version: u32,
    /// The image that it takes.
    pub input: Input,
    /// What class 0, 1, .. stands for.
    pub classes: Vec<String>,
    /// The network's nodes and what each was built to hold; a run of an older version names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph<Plan>>,
}

/// An image as a network takes it: `[height, width, channels]`, `(byte / 255 - mean) / std`, or of
/// floats `(float - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// What is subtracted from each channel of value / 255, or of floats.
    pub mean: Vec<f32>,
    /// What the difference is divided by; positive.
    pub std: Vec<f32>,
    /// How evaluation makes what the network sees of an image.
    pub fit: Fit,
    /// What images are made of; a run of an older version says none, and saw bytes.
    #[serde(default, skip_serializing_if = "Numbers::is_bytes")]
    pub numbers: Numbers,
}

impl Description {
    /// Of a network that is trained on `data`, without its [graph](Self::graph).
    ///
    /// ```
    /// use s3_train::network::{Description, Fit};
    ///
    /// let (train, _) = s3_train::data::shapes::generate(Some(1), Some(1));
    /// let seen = Description::of(&train);
    /// assert_eq!((seen.input.shape(), seen.input.fit), ([32, 32, 3], Fit::AsIs {}));
    /// assert_eq!(seen.classes.len(), 10);
    /// ```
    #[must_use]
    pub fn of(data: &Dataset) -> Self {
        Self {
            version: VERSION,
            input: Input {
                height: data.height,
                width: data.width,
                channels: data.channels,
                mean: data.mean.clone(),
                std: data.std.clone(),
                fit: fit_of(data),
                numbers: data.images.numbers(),
            },
            classes: data.class_names.clone(),
            graph: None,
        }
    }

    /// The same of the network `graph`.
    #[must_use]
    pub fn with_graph(self, graph: &Graph<Plan>) -> Self {
        let graph = Some(graph.clone());
        Self { graph, ..self }
    }

    /// Reads that of a run; `None` where a run of an older version has none.
    ///
    /// # Errors
    /// It cannot be read, is no such file, has another version, or its numbers do not fit each
    /// other; the message names the file and the member.
    pub fn read(folder: &RunFolder) -> Result<Option<Self>> {
        let path = folder.file(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let value = folder.read_json(FILE)?;
        let checked = || -> Result<Self> {
            let version = &value["version"];
            ensure!(
                *version == VERSION,
                "version: expected {VERSION}, got {version}"
            );
            let read: Self = serde_path_to_error::deserialize(&value)?;
            read.check()?;
            Ok(read)
        };
        let read = checked().with_context(|| path.display().to_string())?;
        Ok(Some(read))
    }

    /// Writes it into a run's folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        folder.write_json(FILE, self)
    }

    fn check(&self) -> Result<()> {
        let Input {
            channels,
            mean,
            std,
            ..
        } = &self.input;
        for (name, numbers) in [("mean", mean), ("std", std)] {
            let found = numbers.len();
            ensure!(
                found == *channels,
                "input.{name}: {found} numbers of {channels} channels"
            );
        }
        ensure!(
            std.iter().all(|s| *s > 0.0 && s.is_finite()),
            "input.std: expected numbers > 0, got {std:?}"
        );
        let seen = |byte: f32, (mean, std): (&f32, &f32)| ((byte - mean) / std).abs();
        let channel = |numbers: (&f32, &f32)| seen(0.0, numbers).max(seen(1.0, numbers));
        ensure!(
            // Floats may have any size. In this order NaN is refused.
            self.input.numbers == Numbers::Floats
                || mean
                    .iter()
                    .zip(std)
                    .all(|numbers| channel(numbers) <= LARGEST),
            "input: mean {mean:?} and std {std:?} make values beyond {LARGEST:e} of an image"
        );
        let fit = self.input.fit.check(self.input.size());
        fit.map_err(anyhow::Error::msg)?;
        ensure!(!self.classes.is_empty(), "classes: none");
        let Some(graph) = &self.graph else {
            return Ok(());
        };
        ensure!(
            graph.image == self.input.size(),
            "graph.image: {:?}, input is {:?}",
            graph.image,
            self.input.shape()
        );
        let sizes = graph.sizes().context("graph")?;
        let weights = graph.weights().context("graph")?;
        ensure!(
            weights <= MAX_WEIGHTS,
            "graph: {weights} weights, at most {MAX_WEIGHTS} are trained"
        );
        let scores = sizes.last().map_or(0, Size::len);
        let classes = self.classes.len();
        ensure!(
            scores == classes,
            "graph: {scores} scores, classes has {classes} names"
        );
        Ok(())
    }

    /// In words, each in which `data` is another than what the network was trained on.
    #[must_use]
    pub fn differences(&self, data: &Dataset) -> Vec<String> {
        let (own, other) = (&self.input, Self::of(data).input);
        let mut found = Vec::new();
        found.extend(class_difference(&self.classes, &data.class_names));
        found.extend(normalisation_difference(&own.mean, &own.std, data));
        if (own.shape(), own.fit, own.numbers) != (other.shape(), other.fit, other.numbers) {
            let of = |input: &Input| match input.numbers {
                Numbers::Bytes => format!("{:?}, {}", input.shape(), input.fit),
                Numbers::Floats => format!("{:?}, floats", input.shape()),
            };
            found.push(format!(
                "the network sees images of {}, the data has {}",
                of(own),
                of(&other)
            ));
        }
        found
    }
}

impl Input {
    /// The size of the image.
    #[must_use]
    pub const fn size(&self) -> Size {
        Size {
            height: self.height,
            width: self.width,
            channels: self.channels,
        }
    }

    /// `[height, width, channels]`.
    #[must_use]
    pub const fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// The first place where the class names of a network and of data disagree, in words.
///
/// ```
/// use s3_train::network::class_difference;
///
/// let names = |all: &[&str]| all.iter().map(|n| n.to_string()).collect::<Vec<_>>();
/// let network = names(&["cat", "dog"]);
/// assert_eq!(class_difference(&network, &network), None);
/// let order = class_difference(&network, &names(&["dog", "kitten"]));
/// assert_eq!(order.unwrap(), "class 0 is \"cat\" in the network and \"dog\" in the data");
/// let more = class_difference(&network, &names(&["cat", "dog", "fox"]));
/// assert_eq!(more.unwrap(), "class 2, \"fox\", is in the data alone: the network has 2 classes");
/// ```
#[must_use]
pub fn class_difference(network: &[String], data: &[String]) -> Option<String> {
    let both = network.iter().zip(data).enumerate();
    if let Some((class, (own, other))) = both.into_iter().find(|(_, (a, b))| a != b) {
        let (own, other) = (quoted(own), quoted(other));
        return Some(format!(
            "class {class} is {own} in the network and {other} in the data"
        ));
    }
    let class = network.len().min(data.len());
    let (name, alone, without) = match (network.get(class), data.get(class)) {
        (Some(name), _) => (name, "network", "data"),
        (_, Some(name)) => (name, "data", "network"),
        (None, None) => return None,
    };
    let name = quoted(name);
    Some(format!(
        "class {class}, {name}, is in the {alone} alone: the {without} has {class} classes"
    ))
}

/// The first channel whose mean and deviation in `data` are others than a network's, in words.
///
/// ```
/// use s3_train::network::normalisation_difference;
///
/// let (train, _) = s3_train::data::shapes::generate(Some(1), Some(1));
/// assert_eq!(normalisation_difference(&train.mean, &train.std, &train), None);
/// let mut mean = train.mean.clone();
/// mean[2] = 0.5;
/// let line = normalisation_difference(&mean, &train.std, &train).unwrap();
/// assert!(line.starts_with("channel 2: mean 0.5 and std 0."));
/// ```
#[must_use]
pub fn normalisation_difference(mean: &[f32], std: &[f32], data: &Dataset) -> Option<String> {
    let (own, other) = (mean.iter().zip(std), data.mean.iter().zip(&data.std));
    let mut channels = own.zip(other).enumerate();
    let (channel, ((mean, std), other)) = channels.find(|(_, (own, other))| own != other)?;
    Some(format!(
        "channel {channel}: mean {mean} and std {std} are the network's, the data has {} and {}",
        other.0, other.1
    ))
}

/// How evaluation fits the images of `data`.
fn fit_of(data: &Dataset) -> Fit {
    match data.images {
        Images::Bytes(_) | Images::Floats(_) => Fit::AsIs {},
        Images::Files(_) => Fit::ResizeAndCrop {
            resize: side_of(data.height),
            crop: data.height,
        },
    }
}

/// How images of `data` are fitted in another way than those of a network that says it, in words.
///
/// ```
/// use s3_train::network::{Fit, fit_difference};
///
/// let (data, _) = s3_train::data::shapes::generate(Some(1), Some(1));
/// assert_eq!(fit_difference(None, &data), None);
/// assert_eq!(fit_difference(Some(Fit::AsIs {}), &data), None);
/// let said = fit_difference(Some(Fit::ResizeAndCrop { resize: 36, crop: 32 }), &data).unwrap();
/// let shown = "the network sees pictures resized to 36 pixels, the middle 32 of them";
/// assert_eq!(said, format!("{shown}, the data has them as they are"));
/// ```
#[must_use]
pub fn fit_difference(fit: Option<Fit>, data: &Dataset) -> Option<String> {
    let (own, other) = (fit?, fit_of(data));
    (own != other).then(|| format!("the network sees pictures {own}, the data has them {other}"))
}

/// Refuses images of another shape than `[height, width, channels]`, that of the network called
/// `name`, or made of something else than `numbers`.
pub(crate) fn check_images(
    name: &str,
    shape: [usize; 3],
    numbers: Numbers,
    data: &Dataset,
) -> Result<()> {
    let found = [data.height, data.width, data.channels];
    ensure!(
        found == shape,
        "{}: images of {found:?}, network {name} takes {shape:?}",
        data.name
    );
    let word = |numbers| match numbers {
        Numbers::Bytes => "bytes",
        Numbers::Floats => "floats",
    };
    ensure!(
        data.images.numbers() == numbers,
        "{}: images of {}, network {name} takes {}",
        data.name,
        word(data.images.numbers()),
        word(numbers)
    );
    Ok(())
}

/// Makes labels of `data` mean what the answers of a network with `classes` mean: their names are
/// the same, or there are as many and `other_classes` says that number i of the one is number i of
/// the other.
///
/// # Errors
/// Names that disagree, with the first of them.
pub fn take_labels(classes: &[String], data: &mut Arc<Dataset>, other_classes: bool) -> Result<()> {
    let Some(difference) = class_difference(classes, &data.class_names) else {
        return Ok(());
    };
    if classes.len() != data.classes() {
        bail!("{}: {difference}", data.name)
    }
    if !other_classes {
        bail!(
            "{}: {difference} (--other-classes: class i of the one is class i of the other)",
            data.name
        )
    }
    Arc::make_mut(data).class_names = classes.to_vec();
    Ok(())
}

/// A name of any bytes and length as a message shows it.
fn quoted(name: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = name.chars().take(LONGEST).collect();
    if short.len() < name.len() {
        short.push_str("..");
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes;
    use s3_layers::zoo;

    /// A run's folder with nothing but a `config.toml`.
    fn folder() -> Result<(tempfile::TempDir, RunFolder)> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("config.toml"), "")?;
        let folder = RunFolder::open(dir.path())?;
        Ok((dir, folder))
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() -> Result<()> {
        let (_dir, folder) = folder()?;
        assert_eq!(Description::read(&folder)?, None);
        let mut seen = Description::of(&shapes::generate(Some(1), Some(1)).0);
        for bits in (0x3600_0000u32..0x3f80_0000).step_by(654_321) {
            seen.input.mean[0] = f32::from_bits(bits);
            seen.input.std[2] = f32::from_bits(bits + 1);
            seen.classes[0] = "\u{1b}[31mcat\n".to_owned();
            seen.write(&folder)?;
            assert_eq!(Description::read(&folder)?, Some(seen.clone()));
        }
        Ok(())
    }

    #[test]
    fn what_images_are_made_of_is_kept_and_a_file_that_says_nothing_means_bytes() -> Result<()> {
        let (_dir, folder) = folder()?;
        let mut data = shapes::generate(Some(1), Some(1)).0;
        let seen = Description::of(&data);
        seen.write(&folder)?;
        let text = std::fs::read_to_string(folder.file(FILE))?;
        assert!(!text.contains("numbers"), "{text}");
        let floats = data.images.bytes().iter().map(|&b| f32::from(b)).collect();
        data.images = Images::Floats(floats);
        let of_floats = Description::of(&data);
        of_floats.write(&folder)?;
        assert_eq!(folder.read_json(FILE)?["input"]["numbers"], "floats");
        assert_eq!(Description::read(&folder)?, Some(of_floats));
        let said = seen.differences(&data).join("; ");
        assert!(said.ends_with("the data has [32, 32, 3], floats"), "{said}");
        let refused = check_images("a", [32, 32, 3], Numbers::Bytes, &data);
        let line = refused.expect_err("floats").to_string();
        assert!(
            line.ends_with("images of floats, network a takes bytes"),
            "{line}"
        );
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_named_with_its_member() -> Result<()> {
        let (_dir, folder) = folder()?;
        let seen = Description::of(&shapes::generate(Some(1), Some(1)).0);
        let whole = serde_json::to_value(&seen)?;
        let refusal = |change: &dyn Fn(&mut serde_json::Value)| -> Result<String> {
            let mut value = whole.clone();
            change(&mut value);
            folder.write_json(FILE, &value)?;
            let message = format!("{:#}", Description::read(&folder).expect_err("damaged"));
            assert!(
                !message.contains('\n') && message.contains(FILE),
                "{message}"
            );
            Ok(message)
        };
        let later = refusal(&|v| v["version"] = 2.into())?;
        assert!(later.contains("version: expected 1, got 2"), "{later}");
        let few = refusal(&|v| v["input"]["mean"] = serde_json::json!([0.5]))?;
        assert!(few.contains("input.mean: 1 numbers of 3 channels"), "{few}");
        let zero = refusal(&|v| v["input"]["std"][1] = 0.into())?;
        assert!(zero.contains("input.std"), "{zero}");
        let tiny = refusal(&|v| v["input"]["std"][1] = 1e-45.into())?;
        assert!(tiny.contains("values beyond 1e6 of an image"), "{tiny}");
        let crop = |resize: u64, crop: u64| {
            refusal(&|v| {
                v["input"]["fit"] =
                    serde_json::json!({"name": "resize_and_crop", "resize": resize, "crop": crop});
            })
        };
        let other = crop(256, 224)?;
        assert!(
            other.contains("input.fit: cuts 224x224 out, the network sees 32x32"),
            "{other}"
        );
        for resize in [0, 31, 257, 1 << 40] {
            let wrong = crop(resize, 32)?;
            let said = format!("input.fit.resize: expected 32 to 256, got {resize}");
            assert!(wrong.contains(&said), "{wrong}");
        }
        let fit = refusal(&|v| v["input"]["fit"]["name"] = "stretch".into())?;
        assert!(
            fit.contains("input.fit") && fit.contains("stretch"),
            "{fit}"
        );
        let none = refusal(&|v| v["classes"] = serde_json::json!([]))?;
        assert!(none.contains("classes: none"), "{none}");
        // What later versions add is theirs.
        let mut more = whole.clone();
        more["licence"] = serde_json::json!([]);
        folder.write_json(FILE, &more)?;
        assert_eq!(Description::read(&folder)?, Some(seen));
        Ok(())
    }

    #[test]
    fn a_graph_is_read_as_it_was_trained_and_refused_where_it_does_not_fit() -> Result<()> {
        let (_dir, folder) = folder()?;
        let seen = Description::of(&shapes::generate(Some(1), Some(1)).0);
        let image = seen.input.size();
        for name in zoo::names().filter(|name| *name != "nodes") {
            let Ok(graph) = zoo::graph(name, &zoo::Settings::new(), image, 10) else {
                continue;
            };
            let seen = seen.clone().with_graph(&graph);
            seen.write(&folder)?;
            assert_eq!(Description::read(&folder)?, Some(seen), "{name}");
        }
        let resnet8 = zoo::graph("resnet8", &zoo::Settings::new(), image, 10)?;
        let whole = serde_json::to_value(seen.with_graph(&resnet8))?;
        let refusal = |change: &dyn Fn(&mut serde_json::Value)| -> Result<String> {
            let mut value = whole.clone();
            change(&mut value);
            folder.write_json(FILE, &value)?;
            let message = format!("{:#}", Description::read(&folder).expect_err("damaged"));
            assert!(!message.contains('\n'), "{message}");
            Ok(message)
        };
        let few = refusal(&|v| v["classes"] = serde_json::json!(["cat"]))?;
        assert!(few.contains("graph: 10 scores, classes has 1"), "{few}");
        let side = refusal(&|v| v["input"]["width"] = 31.into())?;
        assert!(side.contains("graph.image"), "{side}");
        let wires = refusal(&|v| v["graph"]["nodes"][1]["inputs"] = serde_json::json!([9]))?;
        assert!(wires.contains("layer1.0.conv1"), "{wires}");
        let op = refusal(&|v| v["graph"]["nodes"][0]["op"] = serde_json::json!("tensor"))?;
        assert!(op.contains("graph.nodes[0].op"), "{op}");
        Ok(())
    }

    #[test]
    fn labels_are_taken_by_name_or_by_number_where_asked() -> Result<()> {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let data = shapes::generate(Some(1), Some(1)).0;
        let mut own = Arc::new(data.clone());
        take_labels(&data.class_names, &mut own, false)?;
        assert_eq!(*own, data);
        let mut other = data.class_names.clone();
        other.swap(3, 4);
        let refused = take_labels(&other, &mut own, false).expect_err("another order");
        assert!(refused.to_string().contains("class 3 is "), "{refused}");
        take_labels(&other, &mut own, true)?;
        assert_eq!((&own.class_names, &own.labels), (&other, &data.labels));
        let few = take_labels(&names(&["cat"]), &mut own, true).expect_err("another number");
        assert!(few.to_string().contains("class 0 is \"cat\""), "{few}");
        Ok(())
    }

    #[test]
    fn names_of_any_bytes_are_one_short_line() {
        let long = "x".repeat(1 << 20) + "\u{1b}";
        let said = class_difference(&[long], &["\u{1b}[2J\n".to_owned()]).expect("a difference");
        assert!(
            said.len() < 300 && !said.contains(char::is_control),
            "{said}"
        );
    }
}
