//! Which arrays has a split, and what do their headers say of its images?

use std::path::{Path, PathBuf};

use s3_layers::model::Size;

use super::super::config::DataConfig;
use super::super::error::{DataError, Problem};
use super::super::name::DataName;
use super::super::npy::{Array, Header};
use super::super::npz::Npz;
use super::super::read::Failure;
use super::classes::check_count;
use crate::files::open_regular;

/// Numbers that an image may have: each is a channel with sums of its own where images are vectors,
/// and no packed network holds as many.
const MAX_NUMBERS: usize = 1 << 24;

/// What `config` says of the folder.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) folder: PathBuf,
}

impl<'a> Place<'a> {
    pub(super) fn of(config: &'a DataConfig, data_dir: &Path) -> Result<Self, DataError> {
        let dataset = DataName::Arrays.as_str();
        let name = config.folder.as_deref().unwrap_or(dataset);
        let name = name.trim_end_matches('/');
        if name.is_empty() {
            let text = "folder is empty: name a folder below the data sets' folder";
            return Err(DataError::argument(dataset, text));
        }
        let folder = data_dir.join(name);
        Ok(Self { name, folder })
    }
}

/// The arrays of a split.
pub(super) struct Files<'a> {
    folder: &'a Path,
    split: &'a str,
    npz: Option<Npz>,
}

impl<'a> Files<'a> {
    pub(super) fn open(place: &'a Place<'_>, split: &'a str) -> Result<Self, DataError> {
        let folder = &place.folder;
        let [archive, x, y] = ["", "_x", "_y"].map(|part| {
            let ending = if part.is_empty() { "npz" } else { "npy" };
            format!("{split}{part}.{ending}")
        });
        let is_there = |name: &String| folder.join(name).exists();
        let dataset = DataName::Arrays.as_str();
        let npz = match (is_there(&archive), [&x, &y].map(is_there)) {
            (true, [false, false]) => Some(Npz::open(&folder.join(&archive))?),
            (true, [has_x, _]) => {
                let other = if has_x { x } else { y };
                let folder = folder.display();
                let text = format!("{folder} holds both {archive} and {other}: which is meant?");
                return Err(DataError::argument(dataset, text));
            }
            (false, [true, true]) => None,
            (false, _) => {
                let wanted = format!("{archive}, or {x} and {y},");
                let searched = [folder.clone()];
                return Err(DataError::missing(dataset, wanted, &searched));
            }
        };
        Ok(Self { folder, split, npz })
    }

    /// Where the array `key` is.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        match &self.npz {
            Some(npz) => npz.path(key),
            None => self.folder.join(format!("{}_{key}.npy", self.split)),
        }
    }

    /// `result`, whose problem is one of the array `key`.
    pub(super) fn at<T>(&self, key: &str, result: Result<T, Problem>) -> Result<T, DataError> {
        result.map_err(|problem| DataError::malformed(&self.path(key), problem))
    }

    /// What `read` reads of the array `key`: as [`Npz::read`] has it.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut dyn std::io::Read, u64) -> Result<T, Failure>,
    ) -> Result<T, DataError> {
        let path = self.path(key);
        if let Some(npz) = &mut self.npz {
            let found = npz.read(key, read)?;
            return found.ok_or_else(|| npz.without(key));
        }
        let io = |cause| DataError::io(&path, cause);
        let file = open_regular(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut file = std::io::BufReader::new(file);
        read(&mut file, length).map_err(|failure| failure.at(&path))
    }

    /// The size of each image, by the headers of `x` and `y` alone: what is refused here is not
    /// read.
    pub(super) fn size(&mut self) -> Result<Size, DataError> {
        let x = self.read("x", Header::read)?.shape;
        let size = self.at("x", size_of_all(&x))?;
        let y = self.read("y", Header::read)?.shape;
        match y[..] {
            [labels] if labels == x[0] => Ok(size),
            [labels] => Err(DataError::Unpaired {
                image_file: self.path("x"),
                images: x[0],
                label_file: self.path("y"),
                labels,
            }),
            _ => {
                let text = format!("sides {y:?}, expected [n]");
                self.at("y", Err(Problem::array(text)))
            }
        }
    }

    /// The array `y`, which holds integers.
    pub(super) fn labels(&mut self) -> Result<Array, DataError> {
        let y = self.read("y", Array::read)?;
        self.at("y", y.integers().map(drop))?;
        Ok(y)
    }

    /// The array `classes` of an archive, with its path.
    pub(super) fn names(&mut self) -> Result<Option<(PathBuf, Vec<String>)>, DataError> {
        let Some(npz) = &mut self.npz else {
            return Ok(None);
        };
        let read = |reader: &mut dyn std::io::Read, most| {
            let header = Header::read(reader, most)?;
            match header.shape[..] {
                [count] => check_count(count)?,
                ref other => {
                    let text = format!("sides {other:?}, expected one");
                    return Err(Problem::array(text).into());
                }
            }
            Ok(Array::behind(header, reader)?.texts()?)
        };
        let names = npz.read("classes", read)?;
        Ok(names.map(|names| (npz.path("classes"), names)))
    }
}

/// The size of an image whose array has these sides.
pub(super) fn size_of(sides: &[usize]) -> Option<Size> {
    let (height, width, channels) = match *sides {
        [features] => (1, 1, features),
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return None,
    };
    Some(Size {
        height,
        width,
        channels,
    })
}

/// The size of each image of an array whose first side counts them.
fn size_of_all(shape: &[usize]) -> Result<Size, Problem> {
    let size = match shape {
        [_, sides @ ..] => size_of(sides),
        [] => None,
    };
    let size = size.ok_or_else(|| {
        let expected = "[n, height, width, channels], [n, height, width] or [n, features]";
        Problem::array(format!("sides {shape:?}, expected {expected}"))
    })?;
    if shape.contains(&0) {
        return Err(Problem::array(format!("sides {shape:?}: no image")));
    }
    let numbers = shape[1..]
        .iter()
        .fold(1, |all: usize, &side| all.saturating_mul(side));
    if numbers > MAX_NUMBERS {
        let text = format!("sides {shape:?}: an image of at most {MAX_NUMBERS} numbers is read");
        return Err(Problem::array(text));
    }
    if u32::try_from(shape[0]).is_err() {
        let text = format!("sides {shape:?}: fewer than 2^32 images are read");
        return Err(Problem::array(text));
    }
    Ok(size)
}
