//! An image folder: which images are there, and of which class?
//!
//! ```text
//! ROOT/train/<class>/*.JPEG        one folder a class, ILSVRC2012's are WordNet ids (wnid)
//! ROOT/val/<class>/*.JPEG          the same classes
//! ```
//!
//! or, as ILSVRC2012 and Tiny ImageNet are published, `ROOT/val/*.JPEG` or `ROOT/val/images/*.JPEG`
//! with the classes in a file ([`truth`]). A class has all images below its folder, in subfolders
//! too, as in torchvision's `ImageFolder`. Images beside class folders are an error, as they are
//! where files were being moved. Classes are numbered in the order of their names.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::DataError;
use super::listing::{ENDINGS, LeftOut, Listing, file, listing};
use super::val_labels;
use super::walk::{Entries, all_below, entries};

/// The names of the classes, and the two splits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) classes: Vec<String>,
    pub(super) train: Listing,
    pub(super) val: Listing,
}

/// Lists the images below `root`.
///
/// # Errors
///
/// No folder `train` or `val`; no class, or more than 65536; a class without images; classes that
/// differ between the splits; images beside class folders; a flat `val` whose classes are not
/// known; a name that is not UTF-8.
pub(super) fn scan(root: &Path) -> Result<Folder, DataError> {
    for split in ["train", "val"] {
        if !root.join(split).is_dir() {
            let file = format!("folder `{split}` of pictures");
            return Err(DataError::missing("imagenet", file, &[root.to_owned()]));
        }
    }
    let (train, val) = (root.join("train"), root.join("val"));
    let (classes, beside) = class_folders(&train, entries(&train)?)?;
    if classes.is_empty() || u16::try_from(classes.len() - 1).is_err() {
        let count = classes.len();
        return Err(DataError::folder(
            &train,
            format!("{count} class folders in it"),
        ));
    }
    let found = entries(&val)?;
    let is_class = |name: &String| classes.binary_search(name).is_ok();
    let is_flat = !found.folders.iter().any(is_class)
        && (found.folders.is_empty() && !found.images.is_empty()
            || val_labels::is_there(root, &val));
    let val = if is_flat {
        let found = all_below(&val, "")?;
        let labels = val_labels::labels(root, &val, &found.images, &classes)?;
        let files = found.images.into_par_iter().zip(labels);
        let files = files.map(|(name, label)| file(&val, name, label));
        let files = files.collect::<Result<_, _>>()?;
        listing(val, files, found.left_out)
    } else {
        let (of_val, beside) = class_folders(&val, found)?;
        same_classes((&train, &classes), (&val, &of_val))?;
        of_classes(val, &classes, beside)?
    };
    let train = of_classes(train, &classes, beside)?;
    Ok(Folder {
        classes,
        train,
        val,
    })
}

/// The names of the classes of `train` below `root`, in their order; no image is looked at.
///
/// # Errors
///
/// The folder cannot be read; images beside class folders; a name that is not UTF-8.
pub(super) fn classes(root: &Path) -> Result<Vec<String>, DataError> {
    let train = root.join("train");
    Ok(class_folders(&train, entries(&train)?)?.0)
}

/// The class folders of a split, beside which there must be no image, and what else is beside
/// them.
fn class_folders(split: &Path, found: Entries) -> Result<(Vec<String>, LeftOut), DataError> {
    // No file of a network may have one in the name of a class.
    let is_bad = |name: &&String| name.contains(char::is_control);
    if let Some(class) = found.folders.iter().find(is_bad) {
        let text = format!("control characters in the name of the class folder {class:?}");
        return Err(DataError::folder(split, text));
    }
    match found.images.first() {
        Some(first) if !found.folders.is_empty() => {
            let count = found.images.len();
            let text = format!("{count} pictures beside the class folders, the first is {first}");
            Err(DataError::folder(split, text))
        }
        _ => {
            let reasons = found.left_out.into_iter();
            let beside = reasons.map(|(reason, n)| ((String::new(), reason), n));
            Ok((found.folders, beside.collect()))
        }
    }
}

/// The first class that only one of the splits has.
fn same_classes(
    (train, of_train): (&Path, &[String]),
    (val, of_val): (&Path, &[String]),
) -> Result<(), DataError> {
    let differing = of_train.iter().zip(of_val).find(|(a, b)| a != b);
    let lengths = of_train.len().cmp(&of_val.len());
    let (without, with, class) = match (differing, lengths) {
        (Some((a, b)), _) if a < b => (val, train, a),
        (Some((_, b)), _) => (train, val, b),
        (None, Ordering::Greater) => (val, train, &of_train[of_val.len()]),
        (None, Ordering::Less) => (train, val, &of_val[of_train.len()]),
        (None, Ordering::Equal) => return Ok(()),
    };
    let text = format!("no folder of class {class}, which {} has", with.display());
    Err(DataError::folder(without, text))
}

fn of_classes(
    root: PathBuf,
    classes: &[String],
    mut left_out: LeftOut,
) -> Result<Listing, DataError> {
    let of_class = |(label, class): (usize, &String)| {
        let found = all_below(&root, class)?;
        if found.images.is_empty() {
            let other: Vec<String> = found
                .left_out
                .iter()
                .map(|((_, r), n)| format!("{n} {r}"))
                .collect();
            let there = match other.is_empty() {
                true => "nothing is in it".to_owned(),
                false => format!("{} in it", other.join(", ")),
            };
            let text = format!(
                "no picture in this class: {there}; .{} are read",
                ENDINGS.join(", .")
            );
            return Err(DataError::folder(&root.join(class), text));
        }
        let files = found.images.into_iter();
        let files = files.map(|name| file(&root, name, label as u16));
        Ok((files.collect::<Result<Vec<_>, _>>()?, found.left_out))
    };
    let classes = classes.par_iter().enumerate().map(of_class);
    let mut files = Vec::new();
    for (of_class, beside) in classes.collect::<Result<Vec<_>, _>>()? {
        files.extend(of_class);
        left_out.extend(beside);
    }
    Ok(listing(root, files, left_out))
}

/// What the tests of image files share.
#[cfg(test)]
pub(super) mod testing {
    use std::fs;

    /// A folder with the named files, each with the bytes that `content` gives.
    pub(in super::super) fn folder_of(
        names: &[&str],
        content: impl Fn(&str) -> Vec<u8>,
    ) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content(name)).unwrap();
        }
        folder
    }

    /// A PNG of `width` by `height` pixels that depend on `seed`: smooth, with some noise.
    pub(in super::super) fn png(width: u32, height: u32, seed: u8) -> Vec<u8> {
        let image = image::RgbImage::from_fn(width, height, |x, y| {
            let noise = (x.wrapping_mul(31) ^ y.wrapping_mul(17)) as u8 % 16;
            let ramp = (x * 200 / width) as u8;
            image::Rgb([
                ramp.wrapping_add(seed),
                (y * 200 / height) as u8 + noise,
                seed ^ noise,
            ])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use super::testing::folder_of;
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        folder_of(names, |name| name.as_bytes().to_vec())
    }

    fn refusal(names: &[&str]) -> String {
        let folder = folder(names);
        let message = scan(folder.path()).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message.replace(&folder.path().display().to_string(), "ROOT")
    }

    #[test]
    fn classes_are_numbered_by_name_and_what_is_no_image_is_left_out() {
        let names = [
            "train/b/1.JPEG",
            "train/b/2.png",
            "train/a/x.jpg",
            "train/a/notes.txt",
            "train/a/.y.jpg",
            "train/README",
            "val/a/1.jpeg",
            "val/b/1.JPG",
            "val/.cache/1.jpg",
        ];
        let folder = folder(&names);
        let found = scan(folder.path()).unwrap();
        assert_eq!(found.classes, ["a", "b"]);
        let mut files: Vec<(&str, u16)> = found
            .train
            .files
            .iter()
            .map(|f| (&f.path[..], f.label))
            .collect();
        files.sort_unstable();
        assert_eq!(files, [("a/x.jpg", 0), ("b/1.JPEG", 1), ("b/2.png", 1)]);
        assert_eq!(found.val.files.len(), 2);
        assert_eq!(scan(folder.path()).unwrap(), found);
    }

    #[test]
    fn folders_that_do_not_fit_are_refused_in_one_line() {
        let (a, b) = ("train/a/1.jpg", "train/b/1.jpg");
        let missing = |split: &str, there: &str| {
            format!(
                "data set `imagenet`: no folder `{split}` of pictures in ROOT; ROOT holds {there}; \
                 --data-dir or S3_DATA_DIR names another folder, data.folder (of a packed network: \
                 --folder) the one in it"
            )
        };
        assert_eq!(refusal(&[a, "test/1.jpg"]), missing("val", "test, train"));
        assert_eq!(refusal(&["val/a/1.jpg"]), missing("train", "val"));
        assert_eq!(
            refusal(&["train/x.jpg", "val/a/1.jpg"]),
            "ROOT/train: 0 class folders in it"
        );
        for (names, expected) in [
            (
                vec![a, b, "val/a/1.jpg"],
                "ROOT/val: no folder of class b, which ROOT/train has",
            ),
            (
                vec![a, b, "val/b/1.jpg"],
                "ROOT/val: no folder of class a, which ROOT/train has",
            ),
            (
                vec![a, "val/a/1.jpg", b, "val/b/1.jpg", "val/c/1.jpg"],
                "ROOT/train: no folder of class c, which ROOT/val has",
            ),
            (
                vec![b, "val/a/1.jpg", "val/b/1.jpg"],
                "ROOT/train: no folder of class a, which ROOT/val has",
            ),
            (
                vec![
                    a,
                    b,
                    "train/2.JPG",
                    "train/1.jpg",
                    "val/a/1.jpg",
                    "val/b/1.jpg",
                ],
                "ROOT/train: 2 pictures beside the class folders, the first is 1.jpg",
            ),
            (
                vec![a, "val/a/1.jpg", "val/2.png"],
                "ROOT/val: 1 pictures beside the class folders, the first is 2.png",
            ),
            (
                vec![a, "val/a/1.txt"],
                "ROOT/val/a: no picture in this class: 1 .txt in it; .jpg, .jpeg, .png, .ppm, \
                 .bmp, .pgm, .tif, .tiff, .webp are read",
            ),
            (
                vec![a, "train/b/x.gif", "val/a/1.jpg", "val/b/1.jpg"],
                "ROOT/train/b: no picture in this class: 1 .gif in it; .jpg, .jpeg, .png, .ppm, \
                 .bmp, .pgm, .tif, .tiff, .webp are read",
            ),
        ] {
            assert_eq!(refusal(&names), expected);
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(
            scan(&empty.path().join("nowhere"))
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }

    fn paths(listing: &Listing) -> Vec<(&str, u16)> {
        let mut files: Vec<_> = listing
            .files
            .iter()
            .map(|f| (&f.path[..], f.label))
            .collect();
        files.sort_unstable();
        files
    }

    #[test]
    fn subfolders_belong_to_their_class_and_every_ending_of_torchvisions_counts() {
        let names = [
            "train/cat/1.jpg",
            "train/cat/second/a.webp",
            "train/cat/second/deep/er/b.TIF",
            "train/dog/images/1.bmp",
            "train/dog/images/2.ppm",
            "train/dog/images/3.pgm",
            "train/dog/images/4.tiff",
            "val/cat/x/1.JPEG",
            "val/dog/1.png",
        ];
        let folder = folder(&names);
        let found = scan(folder.path()).unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(
            paths(&found.train),
            [
                ("cat/1.jpg", 0),
                ("cat/second/a.webp", 0),
                ("cat/second/deep/er/b.TIF", 0),
                ("dog/images/1.bmp", 1),
                ("dog/images/2.ppm", 1),
                ("dog/images/3.pgm", 1),
                ("dog/images/4.tiff", 1),
            ]
        );
        assert_eq!(paths(&found.val), [("cat/x/1.JPEG", 0), ("dog/1.png", 1)]);
        assert_eq!(found.train.left_out(), None);
    }

    #[test]
    fn what_is_left_out_is_told_by_folder_with_the_reason() {
        let names = [
            "train/README",
            "train/cat/1.jpg",
            "train/cat/1.gif",
            "train/cat/2.GIF",
            "train/cat/.DS_Store",
            "train/cat/more/3.gif",
            "train/cat/more/x\u{1b}.y\u{1b}",
            "val/cat/1.jpg",
        ];
        let folder = folder(&names);
        let found = scan(folder.path()).unwrap();
        assert_eq!(
            found.train.left_out().unwrap(),
            "6 left out: 1 without an ending in .; 1 .GIF, 1 .gif, 1 hidden in cat; 1 .gif, 1 \
             .y\\u{1b} in cat/more"
        );
        assert_eq!(found.val.left_out(), None);
        for i in 0..8 {
            let class = folder.path().join(format!("val/cat/{i}"));
            fs::create_dir(&class).unwrap();
            fs::write(class.join("x.txt"), b"").unwrap();
        }
        let told = scan(folder.path()).unwrap().val.left_out().unwrap();
        assert!(
            told.starts_with("8 left out: 1 .txt in cat/0; 1 .txt in cat/1;"),
            "{told}"
        );
        assert!(told.ends_with("in cat/4; and 3 more folders"), "{told}");
    }

    #[test]
    fn tiny_imagenet_is_read_as_published() {
        let names = [
            "wnids.txt",
            "train/n2/images/n2_0.JPEG",
            "train/n2/n2_boxes.txt",
            "train/n1/images/n1_0.JPEG",
            "val/images/val_0.JPEG",
            "val/images/val_1.JPEG",
            "val/val_annotations.txt",
            "test/images/test_0.JPEG",
        ];
        let annotations = "val_1.JPEG\tn1\t0\t32\t44\t62\nval_0.JPEG\tn2\t1\t1\t2\t2\n";
        let folder = folder_of(&names, |_| annotations.as_bytes().to_vec());
        let found = scan(folder.path()).unwrap();
        assert_eq!(found.classes, ["n1", "n2"]);
        let of_train = [("n1/images/n1_0.JPEG", 0), ("n2/images/n2_0.JPEG", 1)];
        assert_eq!(paths(&found.train), of_train);
        let of_val = [("images/val_0.JPEG", 1), ("images/val_1.JPEG", 0)];
        assert_eq!(paths(&found.val), of_val);
        assert_eq!(found.train.left_out().unwrap(), "1 left out: 1 .txt in n2");
        assert_eq!(found.val.left_out(), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_in_no_circle_and_what_is_no_file_is_refused() {
        use std::os::unix::fs::symlink;
        let folder = folder(&[
            "train/a/1.jpg",
            "val/a/1.jpg",
            "elsewhere/2.jpg",
            "elsewhere/b/3.jpg",
        ]);
        let of_class = folder.path().join("train/a");
        symlink("../../elsewhere", of_class.join("more")).unwrap();
        symlink("../..", of_class.join("up")).unwrap();
        symlink("../../train/a", folder.path().join("elsewhere/b/back")).unwrap();
        let found = scan(folder.path()).unwrap().train;
        let files = [("a/1.jpg", 0), ("a/more/2.jpg", 0), ("a/more/b/3.jpg", 0)];
        assert_eq!(paths(&found), files);
        let told = found.left_out().unwrap();
        assert_eq!(
            told,
            "2 left out: 1 link in a circle in a/more/b/back; 1 link in a circle in a/up"
        );
        let pipe = of_class.join("2.png");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let message = scan(folder.path()).unwrap_err().to_string();
        assert!(message.contains("2.png: a named pipe"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_that_are_not_utf8_are_refused_and_hidden_links_that_lead_nowhere_are_not() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        let folder = folder(&["train/a/1.jpg", "val/a/1.jpg"]);
        let of_class = folder.path().join("train/a");
        symlink("nowhere", of_class.join(".#1.jpg")).unwrap();
        symlink("nowhere", folder.path().join("val/.#a")).unwrap();
        let name = |bytes: &[u8]| of_class.join(std::ffi::OsStr::from_bytes(bytes));
        fs::write(name(b"\xff.txt"), b"").unwrap();
        fs::write(name(b".\xff.jpg"), b"").unwrap();
        assert_eq!(scan(folder.path()).unwrap().train.files.len(), 1);
        // A link of an image's name would be an image less than the folder shows.
        symlink("nowhere", of_class.join("notes")).unwrap();
        let found = scan(folder.path()).unwrap().train;
        let told = found.left_out().unwrap();
        assert!(told.contains("1 links that lead nowhere in a"), "{told}");
        let link = of_class.join("2.jpg");
        symlink("nowhere", &link).unwrap();
        let message = scan(folder.path()).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("{}: ", link.display())),
            "{message}"
        );
        fs::remove_file(link).unwrap();
        fs::write(name(b"\xff.jpg"), b"").unwrap();
        assert_eq!(
            scan(folder.path()).unwrap_err().to_string(),
            format!(
                "{}/\u{fffd}.jpg: a name that is not UTF-8",
                of_class.display()
            )
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_class_whose_name_no_file_could_hold_is_refused() {
        let folder = folder(&["train/a/1.jpg", "val/a/1.jpg", "train/b\u{1b}\n/1.jpg"]);
        let expected = "train: control characters in the name of the class folder \"b\\u{1b}\\n\"";
        for error in [
            scan(folder.path()).unwrap_err(),
            classes(folder.path()).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.ends_with(expected), "{message}");
        }
    }

    #[test]
    fn a_prefix_holds_all_classes_and_the_order_is_fixed() {
        let names: Vec<String> = (0..400)
            .map(|i| format!("train/{}/{i:03}.jpg", i / 100))
            .collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.extend(["val/0/0.jpg", "val/1/0.jpg", "val/2/0.jpg", "val/3/0.jpg"]);
        let folder = folder(&names);
        let found = scan(folder.path()).unwrap();
        for class in 0..4 {
            // Hypergeometric with mean 25 and deviation 3.8.
            let count = found.train.files[..100]
                .iter()
                .filter(|f| f.label == class)
                .count();
            assert!((10..40).contains(&count), "{class}: {count}");
        }
        // Another order would break the resume of older runs.
        assert_eq!(found.train.files[0].path, "3/381.jpg");
    }

    #[test]
    fn the_stamp_sees_names_sizes_and_classes_and_no_times() {
        let names = ["train/a/1.jpg", "train/a/2.jpg", "val/a/1.jpg"];
        let folder = folder(&names);
        let stamp = || scan(folder.path()).unwrap().train.stamp();
        let first = stamp();
        assert_eq!(stamp(), first);
        let path = folder.path().join(names[0]);
        fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        assert_eq!(stamp(), first);
        fs::write(&path, b"longer than the name was").unwrap();
        assert_ne!(stamp(), first);
        fs::write(folder.path().join("train/a/3.jpg"), b"").unwrap();
        assert_ne!(stamp(), first);
    }
}
