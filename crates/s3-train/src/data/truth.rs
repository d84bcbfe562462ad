//! The classes of a flat `val`, as ILSVRC2012 is published: all pictures in one folder, and a file
//! that says which is what.
//!
//! The first of these files that is found in the data set's folder or in `val` is read:
//!
//! | file | a line |
//! | --- | --- |
//! | `LOC_val_solution.csv` (Kaggle) | `ILSVRC2012_val_00000001,n01751748 111 108 441 193` |
//! | `val.txt` | `ILSVRC2012_val_00000001.JPEG 65` (place of the class in the order of the names, from 0) or `... n01751748` |
//! | `ILSVRC2012_validation_ground_truth.txt` (development kit) | `490`, line i for the i-th picture by name; needs `meta.mat` beside it |

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::folder::problem;
use super::matlab;

const KAGGLE: &str = "LOC_val_solution.csv";
const LIST: &str = "val.txt";
const NUMBERS: &str = "ILSVRC2012_validation_ground_truth.txt";
const META: &str = "meta.mat";

/// The class of each of `pictures`, which are sorted, in `val`; `classes` are sorted too.
///
/// # Errors
///
/// No such file, one that cannot be read, a line that names no class, a picture without a line.
pub(super) fn labels(
    root: &Path,
    val: &Path,
    pictures: &[String],
    classes: &[String],
) -> Result<Vec<u16>, DataError> {
    let kit = Path::new("ILSVRC2012_devkit_t12/data");
    let folders = [root.to_owned(), val.to_owned(), root.join(kit)];
    let find = |name: &str| -> Option<PathBuf> {
        let mut paths = folders.iter().map(|folder| folder.join(name));
        paths.find(|path| path.is_file())
    };
    if let Some(path) = find(KAGGLE) {
        return named(&path, pictures, classes, |line| {
            let (name, rest) = line.split_once(',')?;
            Some((name, rest.split_whitespace().next()?))
        });
    }
    if let Some(path) = find(LIST) {
        return named(&path, pictures, classes, |line| {
            let (name, class) = line.split_once(char::is_whitespace)?;
            Some((name, class.trim()))
        });
    }
    let Some(path) = find(NUMBERS) else {
        return Err(DataError::Missing {
            dataset: "imagenet",
            file: format!("class folders and no {KAGGLE}, {LIST} or {NUMBERS}"),
            searched: folders[..2].to_vec(),
        });
    };
    numbered(&path, pictures, classes)
}

/// Lines that `split` takes apart into a picture's name, with or without its ending, and its class.
fn named(
    path: &Path,
    pictures: &[String],
    classes: &[String],
    split: impl Fn(&str) -> Option<(&str, &str)>,
) -> Result<Vec<u16>, DataError> {
    let stem = |name: &str| {
        name.rsplit_once('.')
            .map_or(name, |(stem, _)| stem)
            .to_owned()
    };
    let text = read(path)?;
    let mut found = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let is_heading = at == 0 && line.starts_with("ImageId,");
        if is_heading || line.trim().is_empty() {
            continue;
        }
        let wrong = || {
            problem(
                path,
                format!(
                    "line {}: `{line}` names no picture and class of train",
                    at + 1
                ),
            )
        };
        let (name, class) = split(line).ok_or_else(wrong)?;
        let label = match classes.binary_search_by(|c| c[..].cmp(class)) {
            Ok(label) => label,
            Err(_) => class
                .parse()
                .ok()
                .filter(|&l: &usize| l < classes.len())
                .ok_or_else(wrong)?,
        };
        found.insert(stem(name), label as u16);
    }
    let label = |picture: &String| {
        let label = found.get(&stem(picture)).copied();
        label.ok_or_else(|| problem(path, format!("no line for {picture}")))
    };
    pictures.iter().map(label).collect()
}

/// Lines of the development kit's class numbers, which `meta.mat` translates.
fn numbered(path: &Path, pictures: &[String], classes: &[String]) -> Result<Vec<u16>, DataError> {
    let text = read(path)?;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if lines.len() != pictures.len() {
        let (lines, pictures) = (lines.len(), pictures.len());
        return Err(problem(
            path,
            format!("{lines} lines for {pictures} pictures in val"),
        ));
    }
    let meta = path.with_file_name(META);
    let bytes = fs::read(&meta).map_err(|source| DataError::io(&meta, source))?;
    let synsets = matlab::synsets(&bytes).map_err(|text| problem(&meta, text))?;
    let label = |(at, line): (usize, &&str)| {
        let wnid = line
            .parse()
            .ok()
            .and_then(|number: u32| synsets.get(&number));
        let label = wnid.and_then(|wnid| classes.binary_search(wnid).ok());
        let wrong = || {
            problem(
                path,
                format!("line {}: `{line}` is no class of train", at + 1),
            )
        };
        label.map(|label| label as u16).ok_or_else(wrong)
    };
    lines.iter().enumerate().map(label).collect()
}

fn read(path: &Path) -> Result<String, DataError> {
    fs::read_to_string(path).map_err(|source| DataError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::super::folder::scan;
    use super::super::folder::testing::folder_of;

    /// The labels of a flat `val` of three pictures, in the order of their names.
    fn labels_of(file: &str, text: &str) -> Result<Vec<u16>, String> {
        let names = [
            "train/n1/1.JPEG",
            "train/n2/1.JPEG",
            "val/v_1.JPEG",
            "val/v_2.JPEG",
            "val/v_3.JPEG",
            file,
        ];
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
        assert_eq!(files[0].path, "v_1.JPEG");
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
                "no class folders and no LOC_val_solution.csv, val.txt or ILSVRC2012",
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
