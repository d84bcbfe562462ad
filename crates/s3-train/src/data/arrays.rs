//! Arrays that NumPy has written: measurements, features of sound, tables, small images.
//!
//! ```text
//! DATA_DIR/arrays/{train,test}.npz         arrays `x` and `y`; `classes`, texts, where it is there
//! DATA_DIR/arrays/{train,test}_{x,y}.npy   the same without an archive
//! DATA_DIR/arrays/classes.txt              a name a line, beside either; `folder` names another
//! ```
//!
//! `x` holds the images, uint8, of which 255 counts as 1 as in images, or float32 or float64,
//! which count as they are. Its sides are `[n, height, width, channels]`, or `[n, height, width]`
//! of one channel, or `[n, features]`, images of one pixel with so many channels. `y` holds their
//! classes, `[n]` integers of any type, from 0.
//!
//! Features are channels, so that each has its own mean and deviation; an `mlp` takes them. What
//! classes are called is said by `classes.txt`, else by the array `classes`, else they are numbers,
//! as many as the training labels reach.
//!
//! Mean and deviation are those of the training array unless the config names them. Both byte
//! orders are read, not Fortran order (`npy.rs`, `npz.rs`, which say what a file may unpack to).
//! Floats take 4 bytes a number in memory, and while they are read those of the file as well. What
//! headers say is compared before the numbers are read: labels and images in their count, a network
//! for such images in its size, classes in theirs.

mod classes;
mod files;

use std::path::{Path, PathBuf};

use s3_layers::model::{Numbers, Size};

use super::config::DataConfig;
use super::dataset::{Dataset, Images, channel_statistics, float_statistics};
use super::error::{DataError, Problem};
use super::name::DataName;
use super::npy::{Array, MAGIC};
use super::read::Failure;
use classes::{checked, class_names};
use files::{Files, Place, size_of};

/// Reads the training and the test split of the folder that `config` names, below `data_dir`.
///
/// # Errors
///
/// One line that names the file: what is missing, no array or archive, another type, sides that do
/// not fit each other, a label that names no class, a number that is not finite, no image at all; a
/// mean or a deviation that does not fit.
///
/// ```
/// use s3_train::data::{self, DataConfig, DataName, Images};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path().join("arrays");
/// # std::fs::create_dir(&folder)?;
/// # let npy = |descr: &str, shape: &str, numbers: &[u8]| {
/// #     let order = "'fortran_order': False";
/// #     let text = format!("{{'descr': '{descr}', {order}, 'shape': {shape}, }}\n");
/// #     let length = (text.len() as u16).to_le_bytes();
/// #     [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), numbers].concat()
/// # };
/// # let x: Vec<u8> = [1.5f32, -1.0, 2.5, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// # for split in ["train", "test"] {
/// #     std::fs::write(folder.join(format!("{split}_x.npy")), npy("<f4", "(2, 2)", &x))?;
/// #     std::fs::write(folder.join(format!("{split}_y.npy")), npy("|u1", "(2,)", &[0, 1]))?;
/// # }
/// // A data folder with arrays/train_x.npy, `[[1.5, -1], [2.5, 3]]`, and its three companions.
/// let splits = data::load(&DataConfig::of(DataName::Arrays), Some(dir.path()))?;
/// assert_eq!(splits.train.images, Images::Floats(vec![1.5, -1.0, 2.5, 3.0]));
/// assert_eq!((splits.train.channels, &splits.train.mean[..]), (2, &[2.0, 1.0][..]));
/// assert_eq!(splits.test.class_names, ["0", "1"]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn load(config: &DataConfig, data_dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    let place = Place::of(config, data_dir)?;
    let train = Part::read(&place, "train")?;
    let test = Part::read(&place, "test")?;
    if (train.size, train.numbers()) != (test.size, test.numbers()) {
        let text = format!(
            "{}, {} holds {}",
            test.about(),
            train.x.display(),
            train.about()
        );
        return Err(DataError::malformed(&test.x, Problem::array(text)));
    }
    let class_names = class_names(
        &place.folder,
        &train.y,
        &train.labels,
        &[&train.names, &test.names],
    )?;
    let statistics = statistics(config, &train.images, train.size.channels)?;
    let dataset = |part: Part, split: &str| -> Result<Dataset, DataError> {
        let labels = checked(&part.labels, class_names.len());
        let Size {
            height,
            width,
            channels,
        } = part.size;
        Ok(Dataset {
            name: format!("{}/{split}", place.name),
            height,
            width,
            channels,
            images: part.images,
            labels: labels.map_err(|problem| DataError::malformed(&part.y, problem))?,
            class_names: class_names.clone(),
            mean: statistics.0.clone(),
            std: statistics.1.clone(),
        })
    };
    Ok((dataset(train, "train")?, dataset(test, "test")?))
}

/// The size of the training images and their number of classes; of the images only the header is
/// read.
///
/// # Errors
///
/// As [`load`], of the training split.
pub fn shape(config: &DataConfig, data_dir: &Path) -> Result<(Size, usize), DataError> {
    let place = Place::of(config, data_dir)?;
    let mut files = Files::open(&place, "train")?;
    let size = files.size()?;
    let names = files.names()?;
    let labels = files.labels()?;
    let names = class_names(&place.folder, &files.path("y"), &labels, &[&names])?;
    Ok((size, names.len()))
}

/// Whether a file that starts like this is an array.
#[must_use]
pub fn is_array(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// The one image of an array's file, for a network that takes images of `size` made of `numbers`:
/// `[height, width, channels]` and what [`load`] reads it from, with or without a leading side of
/// 1.
///
/// # Errors
///
/// As [`load`] of an array; another size, or other numbers.
pub fn image(file: &[u8], size: Size, numbers: Numbers) -> Result<Images, Problem> {
    let array =
        Array::read(&mut &file[..], file.len() as u64).map_err(|failure| match failure {
            Failure::Problem(problem) => problem,
            Failure::Io(cause) => Problem::array(cause.to_string()),
        })?;
    let shape = array.shape();
    let fits = |sides: &[usize]| size_of(sides) == Some(size);
    if !fits(shape) && !matches!(shape, [1, sides @ ..] if fits(sides)) {
        let text = format!("an array of {shape:?}, the network takes {}", said(size));
        return Err(Problem::array(text));
    }
    let images = array.images()?;
    if images.numbers() != numbers {
        let (has, takes) = (words(images.numbers()), words(numbers));
        return Err(Problem::array(format!("{has}, the network takes {takes}")));
    }
    Ok(images)
}

/// A split as it was read.
struct Part {
    size: Size,
    images: Images,
    labels: Array,
    /// Where images and labels are, for messages.
    x: PathBuf,
    y: PathBuf,
    names: Option<(PathBuf, Vec<String>)>,
}

impl Part {
    fn read(place: &Place<'_>, split: &str) -> Result<Self, DataError> {
        let mut files = Files::open(place, split)?;
        let size = files.size()?;
        // Small, and a reason to refuse before the images are read.
        let names = files.names()?;
        let labels = files.labels()?;
        let x = files.read("x", Array::read)?;
        let images = files.at("x", x.images())?;
        Ok(Self {
            size,
            images,
            labels,
            x: files.path("x"),
            y: files.path("y"),
            names,
        })
    }

    fn numbers(&self) -> Numbers {
        self.images.numbers()
    }

    fn about(&self) -> String {
        format!("{} of {}", words(self.numbers()), said(self.size))
    }
}

fn words(numbers: Numbers) -> &'static str {
    match numbers {
        Numbers::Bytes => "bytes",
        Numbers::Floats => "floats",
    }
}

fn said(size: Size) -> String {
    format!("{}x{}x{}", size.height, size.width, size.channels)
}

/// Mean and deviation of each channel: the config's, else those of the training images.
fn statistics(
    config: &DataConfig,
    images: &Images,
    channels: usize,
) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let refuse = |text| Err(DataError::argument(DataName::Arrays.as_str(), text));
    let is_deviation = |x: &f32| x.is_finite() && *x > 0.0;
    for (key, given) in [("mean", &config.mean), ("std", &config.std)] {
        let Some(given) = given else { continue };
        if given.len() != channels {
            let found = given.len();
            return refuse(format!("{key}: {found} numbers of {channels} channels"));
        }
        if !given.iter().all(|x| x.is_finite()) {
            return refuse(format!("{key}: expected finite numbers, got {given:?}"));
        }
    }
    if let Some(std) = &config.std
        && !std.iter().all(is_deviation)
    {
        return refuse(format!("std: expected numbers > 0, got {std:?}"));
    }
    if let (Some(mean), Some(std)) = (&config.mean, &config.std) {
        return Ok((mean.clone(), std.clone()));
    }
    let (mean, std) = match images {
        Images::Floats(floats) => float_statistics(floats, channels),
        other => channel_statistics(other.bytes(), channels),
    };
    let given = |own: &Option<Vec<f32>>, found| own.clone().unwrap_or(found);
    Ok((given(&config.mean, mean), given(&config.std, std)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::npy::testing::{file, npy};
    use super::super::npz::testing::npz;
    use super::super::{AugmentConfig, Batch, Loader, LoaderConfig, load as load_any};
    use super::*;

    fn le(floats: &[f32]) -> Vec<u8> {
        floats.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Three images of 2x2 floats and two, with labels of 3 classes; `.npy` files.
    fn floats() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("speech")).unwrap();
        for (split, count) in [("train", 3), ("test", 2)] {
            let x: Vec<f32> = (0..4 * count).map(|i| i as f32 / 4.0 - 1.0).collect();
            let y: Vec<u8> = (0..count).map(|i| (2 - i) as u8).collect();
            let shape = format!("({count}, 2, 2)");
            write(
                &dir,
                &format!("{split}_x.npy"),
                &npy("<f4", &shape, &le(&x)),
            );
            write(
                &dir,
                &format!("{split}_y.npy"),
                &npy("|u1", &format!("({count},)"), &y),
            );
        }
        dir
    }

    fn write(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) {
        fs::write(dir.path().join("speech").join(name), bytes).unwrap();
    }

    fn config() -> DataConfig {
        DataConfig {
            folder: Some("speech".to_owned()),
            ..DataConfig::of(DataName::Arrays)
        }
    }

    #[track_caller]
    fn refused(config: &DataConfig, dir: &tempfile::TempDir, words: &str) {
        let message = load_any(config, Some(dir.path())).unwrap_err().to_string();
        let root = dir.path().display().to_string();
        let message = message.replace(&root, "ROOT");
        assert!(message.contains(words), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn floats_are_read_with_their_statistics() {
        let dir = floats();
        let splits = load_any(&config(), Some(dir.path())).unwrap();
        let (train, test) = (&splits.train, &splits.test);
        assert_eq!((train.height, train.width, train.channels), (2, 2, 1));
        assert_eq!((train.name.as_str(), test.len()), ("speech/train", 2));
        assert_eq!(
            (&train.labels[..], &test.labels[..]),
            (&[2, 1, 0][..], &[2, 1][..])
        );
        assert_eq!(train.class_names, ["0", "1", "2"]);
        // -1 to 1.75 in steps of a quarter.
        assert_eq!(train.mean, [0.375]);
        let deviation = (143f64 / 12.0).sqrt() / 4.0;
        assert!((f64::from(train.std[0]) - deviation).abs() < 1e-7);
        assert_eq!((&train.mean, &train.std), (&test.mean, &test.std));
        let batches = Loader::new(test, &LoaderConfig::eval(2), 0, 0).unwrap();
        let batches: Vec<Batch> = batches.collect::<Result<_, _>>().unwrap();
        assert_eq!(batches[0].images[0], (-1.0 - 0.375) / train.std[0]);
        let (size, classes) = shape(&config(), dir.path()).unwrap();
        assert_eq!((size, classes), (train.size(), 3));
    }

    #[test]
    fn batches_of_floats_are_those_of_the_same_bytes() {
        let bytes: Vec<u8> = (0..6 * 5 * 4 * 3).map(|i| (i * 89 % 256) as u8).collect();
        let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
        let loaded = |x: &[u8]| {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("speech")).unwrap();
            let y: Vec<u8> = (0..6i64).flat_map(|i| (i % 2).to_le_bytes()).collect();
            let y = npy("<i8", "(6,)", &y);
            for split in ["train", "test"] {
                write(
                    &dir,
                    &format!("{split}.npz"),
                    &npz(&[("x", x), ("y", &y)], true),
                );
            }
            let given = DataConfig {
                mean: Some(vec![0.5, 0.25, 0.125]),
                std: Some(vec![0.5, 0.25, 2.0]),
                ..config()
            };
            load_any(&given, Some(dir.path())).unwrap()
        };
        let shape = "(6, 5, 4, 3)";
        let (bytes, floats) = (
            loaded(&npy("|u1", shape, &bytes)),
            loaded(&npy("<f4", shape, &le(&floats))),
        );
        assert_eq!(floats.train.images.numbers(), Numbers::Floats);
        assert_eq!(bytes.train.images.numbers(), Numbers::Bytes);
        let augment = AugmentConfig {
            pad: 2,
            flip: true,
            ..AugmentConfig::OFF
        };
        let batches = |data| -> Vec<Batch> {
            let config = LoaderConfig::train(4, 1, augment);
            let loader = Loader::new(data, &config, 3, 0).unwrap();
            loader.collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(batches(&bytes.train), batches(&floats.train));
    }

    #[test]
    fn what_the_headers_say_is_refused_before_the_numbers_are_read() {
        // None of these arrays has its numbers: who reads them says that they are truncated.
        let dir = floats();
        for name in ["train_x", "train_y", "test_x", "test_y"] {
            fs::remove_file(dir.path().join(format!("speech/{name}.npy"))).unwrap();
        }
        let many = (1usize << 28) - 200;
        let (x, y) = (npy("|u1", "(2, 3)", &[]), npy("<i8", "(2,)", &[]));
        let both = |dir: &tempfile::TempDir, words: &str| {
            refused(&config(), dir, words);
            let error = shape(&config(), dir.path()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        };
        let labels = npy("|u1", &format!("({many},)"), &[]);
        write(&dir, "train.npz", &npz(&[("x", &x), ("y", &labels)], true));
        let said = format!(
            "train.npz/x.npy holds 2 images but ROOT/speech/train.npz/y.npy holds {many} labels"
        );
        refused(&config(), &dir, &said);
        both(&dir, &format!("holds {many} labels"));
        // Whoever loads arrays asks: to train, and to evaluate.
        let (vast, one) = (
            npy("|u1", &format!("(1, {many})"), &[]),
            npy("|u1", "(1,)", &[]),
        );
        write(&dir, "train.npz", &npz(&[("x", &vast), ("y", &one)], true));
        both(&dir, "an image of at most 16777216 numbers is read");
        for (descr, sides) in [
            ("|S1", format!("({many},)")),
            ("<U9", "(65537,)".to_owned()),
        ] {
            let classes = npy(descr, &sides, &[]);
            let members = [("x", &x[..]), ("y", &y), ("classes", &classes)];
            write(&dir, "train.npz", &npz(&members, true));
            both(&dir, "train.npz/classes.npy: ");
            both(&dir, " classes, expected 1 to 65536");
        }
        write(&dir, "train.npz", &npz(&[("x", &x), ("y", &y)], true));
        both(&dir, "train.npz/y.npy: truncated");
    }

    #[test]
    fn features_are_channels_of_one_pixel_and_four_sides_are_what_they_say() {
        let dir = floats();
        for split in ["train", "test"] {
            let rows = [1.0, 5.0, 3.0, 5.0];
            write(
                &dir,
                &format!("{split}_x.npy"),
                &npy("<f4", "(2, 2)", &le(&rows)),
            );
            write(
                &dir,
                &format!("{split}_y.npy"),
                &npy("|i1", "(2,)", &[1, 0]),
            );
        }
        let (train, _) = load(&config(), dir.path()).unwrap();
        assert_eq!((train.height, train.width, train.channels), (1, 1, 2));
        // The second feature never varies.
        assert_eq!(
            (&train.mean[..], &train.std[..]),
            (&[2.0, 5.0][..], &[1.0, 1.0][..])
        );
        for (shape, size) in [("(2, 2, 1, 3)", [2, 1, 3]), ("(2, 3, 2, 1)", [3, 2, 1])] {
            for split in ["train", "test"] {
                let x: Vec<u8> = (0..12).collect();
                write(&dir, &format!("{split}_x.npy"), &npy("|u1", shape, &x));
            }
            let (train, _) = load(&config(), dir.path()).unwrap();
            assert_eq!([train.height, train.width, train.channels], size);
        }
    }

    #[test]
    fn classes_are_named_by_a_file_or_an_array() {
        let dir = floats();
        write(&dir, "classes.txt", "yes\r\nno\nup\ndown\n".as_bytes());
        let (train, test) = load(&config(), dir.path()).unwrap();
        assert_eq!(train.class_names, ["yes", "no", "up", "down"]);
        assert_eq!(test.class_names, train.class_names);
        write(&dir, "classes.txt", b"yes\nno\n");
        refused(
            &config(),
            &dir,
            "train_y.npy: label 2 of item 0 is out of range (0 to 1)",
        );
        write(&dir, "classes.txt", b"yes\n\nno\n");
        refused(&config(), &dir, "classes.txt: the name of class 1 is empty");
        write(
            &dir,
            "classes.txt",
            format!("yes\nno\n{}\n", "x".repeat(10_001)).as_bytes(),
        );
        let long = "classes.txt: the name of class 2 has 10001 bytes, at most 10000 are read";
        refused(&config(), &dir, long);
        write(&dir, "classes.txt", b"");
        refused(&config(), &dir, "classes.txt: 0 classes");
        write(&dir, "classes.txt", b"\xff\n");
        refused(&config(), &dir, "classes.txt: not UTF-8");
        fs::remove_file(dir.path().join("speech/classes.txt")).unwrap();
        let archive = |names: &[u8]| {
            let x = npy("|u1", "(2, 1, 1)", &[0, 9]);
            let y = npy("<u2", "(2,)", &[0, 0, 1, 0]);
            let names = npy("|S2", "(2,)", names);
            npz(&[("x", &x), ("y", &y), ("classes", &names)], false)
        };
        for split in ["train", "test"] {
            for part in ["x", "y"] {
                let name = format!("speech/{split}_{part}.npy");
                fs::remove_file(dir.path().join(name)).unwrap();
            }
            write(&dir, &format!("{split}.npz"), &archive(b"a\0bc"));
        }
        let (train, _) = load(&config(), dir.path()).unwrap();
        assert_eq!(train.class_names, ["a", "bc"]);
        assert_eq!(shape(&config(), dir.path()).unwrap().1, 2);
        write(&dir, "test.npz", &archive(b"bca\0"));
        refused(
            &config(),
            &dir,
            "test.npz/classes.npy: other classes than ROOT/speech/train.npz",
        );
        for split in ["train.npz", "test.npz"] {
            write(&dir, split, &archive(b"a\0\x07x"));
        }
        refused(
            &config(),
            &dir,
            "train.npz/classes.npy: the name of class 1 is empty or",
        );
    }

    #[test]
    fn each_bad_input_is_one_line_that_names_its_file() {
        let config = config();
        let bad = |name: &str, bytes: &[u8], words: &str| {
            let dir = floats();
            write(&dir, name, bytes);
            refused(&config, &dir, words);
        };
        let x = |shape: &str, count: usize| npy("<f4", shape, &vec![0; 4 * count]);
        bad("train_x.npy", b"", "train_x.npy: truncated");
        bad(
            "train_x.npy",
            b"\x89PNG\r\n\x1a\n",
            "train_x.npy: no array that NumPy",
        );
        bad(
            "train_x.npy",
            &x("(3, 2)", 5),
            "train_x.npy: the header promises 152 bytes",
        );
        bad(
            "train_x.npy",
            &x("(2, 2, 2)", 8),
            "train_x.npy holds 2 images but",
        );
        bad(
            "train_x.npy",
            &x("(12,)", 12),
            "train_x.npy: sides [12], expected [n, height,",
        );
        bad(
            "train_x.npy",
            &x("(3, 1, 1, 1, 4)", 12),
            "sides [3, 1, 1, 1, 4], expected",
        );
        bad(
            "train_x.npy",
            &x("()", 1),
            "train_x.npy: sides [], expected",
        );
        bad(
            "train_x.npy",
            &x("(3, 0, 4)", 0),
            "train_x.npy: sides [3, 0, 4]: no image",
        );
        bad(
            "test_x.npy",
            &x("(0, 2, 2)", 0),
            "test_x.npy: sides [0, 2, 2]: no image",
        );
        bad(
            "test_x.npy",
            &x("(2, 4)", 8),
            "test_x.npy: floats of 1x1x4, ROOT/speech/train_x.npy holds floats of 2x2x1",
        );
        let bytes = npy("|u1", "(2, 2, 2)", &[0; 8]);
        bad(
            "test_x.npy",
            &bytes,
            "test_x.npy: bytes of 2x2x1, ROOT/speech/train_x.npy holds floats",
        );
        let mut nan = vec![0.0; 12];
        nan[6] = f32::INFINITY;
        let nan = npy("<f4", "(3, 2, 2)", &le(&nan));
        bad(
            "train_x.npy",
            &nan,
            "train_x.npy: [1, 1, 0] is inf: expected",
        );
        let wide = npy("<i4", "(3, 2, 2)", &[0; 48]);
        bad(
            "train_x.npy",
            &wide,
            "train_x.npy: dtype <i4: expected uint8, float32 or float64",
        );
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2, 2), }";
        bad(
            "train_x.npy",
            &file(1, fortran, &[0; 48]),
            "train_x.npy: in Fortran order",
        );
        let huge = npy("<f4", "(1152921504606846976, 1)", &[]);
        bad(
            "train_x.npy",
            &huge,
            "train_x.npy: the header promises 4611686018427388032",
        );
        let y = |bytes: &[u8]| npy("|i1", "(3,)", bytes);
        bad(
            "train_y.npy",
            &y(&[0, 0xff, 1]),
            "train_y.npy: label -1 of item 1 is out of range",
        );
        bad(
            "test_y.npy",
            &npy("|i1", "(2,)", &[0, 3]),
            "test_y.npy: label 3 of item 1",
        );
        bad(
            "train_y.npy",
            &npy("<f4", "(3,)", &[0; 12]),
            "train_y.npy: dtype <f4: expected integers",
        );
        bad(
            "train_y.npy",
            &npy("|i1", "(3, 1)", &[0; 3]),
            "train_y.npy: sides [3, 1], expected [n]",
        );
        bad(
            "train_y.npy",
            &npy("<i4", "(3,)", &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "label 65536",
        );
        bad("train.npz", b"", "holds both train.npz and train_x.npy");
        let dir = floats();
        fs::remove_file(dir.path().join("speech/test_y.npy")).unwrap();
        refused(
            &config,
            &dir,
            "no test.npz, or test_x.npy and test_y.npy, in ROOT/speech",
        );
        refused(&DataConfig::of(DataName::Arrays), &dir, "no train.npz, or");
        let empty = DataConfig {
            folder: Some("/".to_owned()),
            ..config.clone()
        };
        refused(&empty, &dir, "folder is empty");
    }

    #[test]
    fn an_archive_without_an_array_says_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("speech")).unwrap();
        let y = npy("|u1", "(1,)", &[0]);
        write(&dir, "train.npz", &npz(&[("images", &y), ("y", &y)], false));
        let words = "train.npz: no array x, the archive holds images, y";
        refused(&config(), &dir, words);
        write(&dir, "train.npz", b"PK\x03\x04 and no more");
        refused(&config(), &dir, "train.npz: no archive of arrays");
    }

    #[test]
    fn a_mean_and_a_deviation_may_be_given() {
        let dir = floats();
        let given = |mean: Option<Vec<f32>>, std: Option<Vec<f32>>| DataConfig {
            mean,
            std,
            ..config()
        };
        let own = load(&config(), dir.path()).unwrap().0;
        let half = load(&given(Some(vec![-4.0]), None), dir.path()).unwrap().1;
        assert_eq!((&half.mean[..], &half.std), (&[-4.0][..], &own.std));
        let all = load(&given(Some(vec![1.0]), Some(vec![0.5])), dir.path()).unwrap();
        assert_eq!((&all.0.mean[..], &all.0.std[..]), (&[1.0][..], &[0.5][..]));
        for (config, words) in [
            (
                given(Some(vec![0.0; 3]), None),
                "mean: 3 numbers of 1 channels",
            ),
            (given(None, Some(vec![])), "std: 0 numbers of 1 channels"),
            (given(None, Some(vec![0.0])), "std: expected numbers > 0"),
            (
                given(Some(vec![f32::NAN]), None),
                "mean: expected finite numbers",
            ),
        ] {
            refused(&config, &dir, words);
        }
        let text = toml::to_string(&given(Some(vec![0.5]), Some(vec![2.0]))).unwrap();
        let read: DataConfig = toml::from_str(&text).unwrap();
        assert_eq!(read.mean, Some(vec![0.5]));
    }

    #[test]
    fn an_image_of_its_own_has_the_networks_size_and_numbers() {
        let size = Size {
            height: 2,
            width: 3,
            channels: 1,
        };
        let values = [1.0, -2.0, 3.0, 4.0, 5.0, 6.0];
        for shape in ["(2, 3)", "(2, 3, 1)", "(1, 2, 3)", "(1, 2, 3, 1)"] {
            let file = npy("<f4", shape, &le(&values));
            assert!(is_array(&file));
            let read = image(&file, size, Numbers::Floats).unwrap();
            assert_eq!(read, Images::Floats(values.to_vec()), "{shape}");
            let refused = image(&file, size, Numbers::Bytes).unwrap_err().to_string();
            assert_eq!(refused, "floats, the network takes bytes");
        }
        for shape in ["(3, 2)", "(6,)", "(2, 1, 3)", "(1, 6)"] {
            let refused = image(&npy("<f4", shape, &le(&values)), size, Numbers::Floats);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("the network takes 2x3x1"), "{refused}");
        }
        let bytes = npy("|u1", "(2, 3)", &[0; 6]);
        assert!(image(&bytes, size, Numbers::Floats).is_err());
        assert_eq!(
            image(&bytes, size, Numbers::Bytes).unwrap(),
            Images::Bytes(vec![0; 6])
        );
        assert!(!is_array(b"\x89PNG\r\n\x1a\n"));
    }
}
