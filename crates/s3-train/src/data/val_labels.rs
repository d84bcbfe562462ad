//! The classes of a flat `val`, as ILSVRC2012 is published: all images in one folder, and a file
//! that says which is what.
//!
//! The first of these files that is found in the data set's folder or in `val` is read; images
//! are known by their names, whatever the folder below `val`:
//!
//! | file | a line |
//! | --- | --- |
//! | `LOC_val_solution.csv` (Kaggle) | `ILSVRC2012_val_00000001,n01751748 111 108 441 193` |
//! | `val_annotations.txt` (Tiny ImageNet) | `val_0.JPEG n03444034 0 32 44 62`, with tabs |
//! | `val.txt` | `ILSVRC2012_val_00000001.JPEG 65` (place of the class in the order of the names, from 0) or `... n01751748` |
//! | `ILSVRC2012_validation_ground_truth.txt` (development kit) | `490`, line i for the i-th image by name; needs `meta.mat` beside it |

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::listing::stem;
use super::matlab;
use crate::files::read_regular;

const KAGGLE: &str = "LOC_val_solution.csv";
const TINY: &str = "val_annotations.txt";
const LIST: &str = "val.txt";
const NUMBERS: &str = "ILSVRC2012_validation_ground_truth.txt";
const META: &str = "meta.mat";
/// No file of classes may be longer; ILSVRC2012's largest has 3 MB.
const MAX_BYTES: u64 = 1 << 26;

/// Whether a file of this name says classes.
pub(super) fn is_of(name: &str) -> bool {
    [KAGGLE, TINY, LIST, NUMBERS, META].contains(&name)
}

/// The folders where such a file is looked for.
fn folders(root: &Path, val: &Path) -> [PathBuf; 3] {
    let kit = Path::new("ILSVRC2012_devkit_t12/data");
    [root.to_owned(), val.to_owned(), root.join(kit)]
}

/// Whether there is such a file.
pub(super) fn is_there(root: &Path, val: &Path) -> bool {
    let names = [KAGGLE, TINY, LIST, NUMBERS];
    let folders = folders(root, val);
    let mut all = names
        .iter()
        .flat_map(|name| folders.iter().map(move |f| f.join(name)));
    all.any(|path| path.is_file())
}

/// The class of each of `images`, which are sorted, in `val`; `classes` are sorted too.
///
/// # Errors
///
/// No such file, one that cannot be read, an image without a line, one whose line names no class,
/// lines that contradict each other.
pub(super) fn labels(
    root: &Path,
    val: &Path,
    images: &[String],
    classes: &[String],
) -> Result<Vec<u16>, DataError> {
    let folders = folders(root, val);
    // By their names alone.
    let of_path = |path: &String| {
        path.rsplit_once('/')
            .map_or(path.clone(), |(_, n)| n.to_owned())
    };
    let images: &[String] = &images.iter().map(of_path).collect::<Vec<_>>();
    let find = |name: &str| -> Option<PathBuf> {
        let mut paths = folders.iter().map(|folder| folder.join(name));
        paths.find(|path| path.is_file())
    };
    if let Some(path) = find(KAGGLE) {
        return named(&path, images, classes, |line| {
            let (name, rest) = line.split_once(',')?;
            Some((name, rest.split_whitespace().next()?))
        });
    }
    if let Some(path) = find(TINY) {
        return named(&path, images, classes, |line| {
            let mut words = line.split('\t');
            Some((words.next()?, words.next()?.trim()))
        });
    }
    if let Some(path) = find(LIST) {
        return named(&path, images, classes, |line| {
            let (name, class) = line.split_once(char::is_whitespace)?;
            Some((name, class.trim()))
        });
    }
    let Some(path) = find(NUMBERS) else {
        let file = format!("class folders and no {KAGGLE}, {TINY}, {LIST} or {NUMBERS}");
        return Err(DataError::missing("imagenet", file, &folders[..2]));
    };
    numbered(&path, images, classes)
}

/// Lines that `split` takes apart into an image's name, with or without its ending, and its class.
/// What they say of images that are not there does not matter.
fn named(
    path: &Path,
    images: &[String],
    classes: &[String],
    split: impl Fn(&str) -> Option<(&str, &str)>,
) -> Result<Vec<u16>, DataError> {
    let text = read(path)?;
    let lines: Vec<&str> = text.lines().collect();
    let wrong = |at: usize, what: &str| {
        DataError::folder(path, format!("line {}: `{}` {what}", at + 1, lines[at]))
    };
    const NOTHING: &str = "names no picture and class of train";
    // By the name without its ending: the number, name and class of each line.
    let mut found: HashMap<&str, Vec<(usize, &str, &str)>> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let is_heading = at == 0 && line.starts_with("ImageId,");
        if is_heading || line.trim().is_empty() {
            continue;
        }
        let (name, class) = split(line).ok_or_else(|| wrong(at, NOTHING))?;
        let of_stem = found.entry(stem(name).unwrap_or(name)).or_default();
        of_stem.push((at, name, class));
    }
    let class_of = |at: usize, class: &str| {
        let by_name = classes.binary_search_by(|c| c[..].cmp(class)).ok();
        let number = || class.parse().ok().filter(|&l: &usize| l < classes.len());
        by_name.or_else(number).ok_or_else(|| wrong(at, NOTHING))
    };
    // A line with the whole name counts more than one with another ending or none.
    let label = |image: &String| {
        let all = found.get(stem(image).unwrap_or(image));
        let all = all.map(Vec::as_slice).unwrap_or_default();
        let is_exact = all.iter().any(|(_, name, _)| name == image);
        let mut known = None;
        for &(at, name, class) in all {
            if is_exact && name != image {
                continue;
            }
            let label = class_of(at, class)?;
            match known.replace((at, label)) {
                Some((before, other)) if other != label => {
                    let what = format!("contradicts line {}", before + 1);
                    return Err(wrong(at, &what));
                }
                _ => {}
            }
        }
        let (_, label) =
            known.ok_or_else(|| DataError::folder(path, format!("no line for {image}")))?;
        Ok(label as u16)
    };
    images.iter().map(label).collect()
}

/// Lines of the development kit's class numbers, which `meta.mat` translates.
fn numbered(path: &Path, images: &[String], classes: &[String]) -> Result<Vec<u16>, DataError> {
    let text = read(path)?;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if lines.len() != images.len() {
        let (lines, images) = (lines.len(), images.len());
        return Err(DataError::folder(
            path,
            format!("{lines} lines for {images} pictures in val"),
        ));
    }
    let meta = path.with_file_name(META);
    let bytes = read_regular(&meta, MAX_BYTES).map_err(|source| DataError::io(&meta, source))?;
    let synsets = matlab::synsets(&bytes).map_err(|text| DataError::folder(&meta, text))?;
    let label = |(at, line): (usize, &&str)| {
        let wnid = line
            .parse()
            .ok()
            .and_then(|number: u32| synsets.get(&number));
        let label = wnid.and_then(|wnid| classes.binary_search(wnid).ok());
        let wrong = || {
            DataError::folder(
                path,
                format!("line {}: `{line}` is no class of train", at + 1),
            )
        };
        label.map(|label| label as u16).ok_or_else(wrong)
    };
    lines.iter().enumerate().map(label).collect()
}

fn read(path: &Path) -> Result<String, DataError> {
    let bytes = read_regular(path, MAX_BYTES).map_err(|source| DataError::io(path, source))?;
    String::from_utf8(bytes).map_err(|_| DataError::folder(path, "no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::super::folder::scan;
    use super::super::folder::testing::folder_of;

    /// The labels of a flat `val` of three images, in the order of their names.
    fn labels_of(file: &str, text: &str) -> Result<Vec<u16>, String> {
        labels_of_these(["v_1.JPEG", "v_2.JPEG", "v_3.JPEG"], file, text)
    }

    fn labels_of_these(val: [&str; 3], file: &str, text: &str) -> Result<Vec<u16>, String> {
        let val = val.map(|name| format!("val/{name}"));
        let mut names = vec!["train/n1/1.JPEG", "train/n2/1.JPEG", file];
        names.extend(val.iter().map(String::as_str));
        let folder = folder_of(&names, |name| {
            if name == file {
                text.as_bytes().to_vec()
            } else {
                vec![0]
            }
        });
        let found = scan(folder.path()).map_err(|e| e.to_string())?;
        let mut files = found.val.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files.into_iter().map(|f| f.label).collect())
    }

    #[test]
    fn each_kind_of_file_gives_the_classes() {
        let kaggle =
            "ImageId,PredictionString\nv_2,n1 1 2 3 4 n1 5 6 7 8\nv_1,n2 1 2 3 4\nv_3,n2 0 0 1 1\n";
        assert_eq!(labels_of("LOC_val_solution.csv", kaggle), Ok(vec![1, 0, 1]));
        assert_eq!(
            labels_of("val/val.txt", "v_1.JPEG 1\nv_2.JPEG 0\n\nv_3.JPEG 1\n"),
            Ok(vec![1, 0, 1])
        );
        assert_eq!(
            labels_of("val.txt", "v_3.JPEG n1\nv_1.JPEG n2\nv_2.JPEG n1"),
            Ok(vec![1, 0, 0])
        );
    }

    #[test]
    fn a_line_with_the_whole_name_counts_more_than_one_with_the_stem() {
        let of_two = |text| labels_of_these(["x.jpg", "x.png", "y.b.jpg"], "val.txt", text);
        assert_eq!(of_two("x.jpg 0\nx.png 1\ny.b n2"), Ok(vec![0, 1, 1]));
        assert_eq!(of_two("x.png 1\nx.jpg 0\ny.b.png n2"), Ok(vec![0, 1, 1]));
        // A stem stands for both where no line has the whole name.
        assert_eq!(of_two("x 1\ny.b 0\n"), Ok(vec![1, 1, 0]));
        let one = |text| labels_of_these(["x.JPEG", "y.jpg", "z.jpg"], "val.txt", text);
        let message = one("y.jpg 0\nx.jpg 0\nx.png 1\nz.jpg 1").unwrap_err();
        assert!(
            message.ends_with("line 3: `x.png 1` contradicts line 2"),
            "{message}"
        );
        let message = labels_of("val.txt", "v_1.JPEG 1\nv_1.JPEG 0").unwrap_err();
        assert!(
            message.ends_with("line 2: `v_1.JPEG 0` contradicts line 1"),
            "{message}"
        );
        // The same class twice is no contradiction.
        let twice = "v_1.JPEG 1\nv_1.JPEG n2\nv_2.JPEG 0\nv_3.JPEG 0";
        assert_eq!(labels_of("val.txt", twice), Ok(vec![1, 0, 0]));
    }

    #[test]
    fn lines_of_images_that_are_not_there_do_not_matter() {
        let lines = "v_9,n777 1\nv_2,n1 1\nv_1,n2 1\nv_8,n1 1\nv_8,n2 1\nv_3,n2 0";
        let kaggle = format!("ImageId,PredictionString\n{lines}\n");
        assert_eq!(
            labels_of("LOC_val_solution.csv", &kaggle),
            Ok(vec![1, 0, 1])
        );
    }

    #[test]
    fn files_that_do_not_fit_are_refused_in_one_line() {
        for (file, text, words) in [
            (
                "val.txt",
                "v_1.JPEG 1\nv_2.JPEG 2\nv_3.JPEG 0",
                "val.txt: line 2: `v_2.JPEG 2`",
            ),
            (
                "val.txt",
                "v_1.JPEG 1\nv_2.JPEG 0",
                "val.txt: no line for v_3.JPEG",
            ),
            ("val.txt", "v_1.JPEG", "val.txt: line 1"),
            (
                "LOC_val_solution.csv",
                "ImageId,PredictionString\nv_1,n3 1",
                "line 2",
            ),
            (
                "ILSVRC2012_validation_ground_truth.txt",
                "1\n2",
                "2 lines for 3 pictures",
            ),
            (
                "ILSVRC2012_validation_ground_truth.txt",
                "1\n2\n1",
                "meta.mat",
            ),
            (
                "val/other.csv",
                "",
                "no class folders and no LOC_val_solution.csv, val_annotations.txt, val.txt or \
                 ILSVRC2012",
            ),
        ] {
            let message = labels_of(file, text).unwrap_err();
            assert!(
                message.contains(words) && !message.contains('\n'),
                "{message}"
            );
        }
    }
}
