//! Which file does the name of an experiment mean?

use crate::given::Given;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Where the experiments of the repository are.
pub(super) const FOLDER: &str = "xtask/experiments";

/// Names that are less alike than this are not suggested.
const ALIKE: f64 = 0.7;

/// `given` where it is there; else the experiment of this name, with or without its folder and its
/// ending: `cifar10/resnet20-s3-3bit`, `resnet20-s3-3bit.toml`.
///
/// # Errors
/// Several have this name, or none: the nearest is named. A run's folder, a checkpoint or a packed
/// network is no experiment.
pub(super) fn find(given: &Path) -> Result<PathBuf> {
    let shown = given.display();
    match Given::at(given) {
        Given::Nothing => {}
        Given::Run => bail!(
            "{shown}: a run's folder, no experiment's file; its settings are in {}",
            given.join("config.toml").display()
        ),
        // A named pipe or a device is refused where it is read.
        Given::Experiment | Given::Other | Given::Endless => return Ok(given.to_path_buf()),
        other => bail!("{shown}: {}, no experiment's file", other.words()),
    }
    let mut files = Vec::new();
    if collect(Path::new(FOLDER), &mut files).is_err() {
        bail!("{shown}: no such file, and no folder {FOLDER} here to find an experiment's name in")
    }
    choose(given, files)
}

/// The files of experiments below a folder, in no order.
pub(super) fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn choose(given: &Path, mut files: Vec<PathBuf>) -> Result<PathBuf> {
    files.sort();
    let wanted = name(given);
    let is_wanted = |file: &PathBuf| Path::new(&name(file)).ends_with(&wanted);
    let found: Vec<&PathBuf> = files.iter().filter(|file| is_wanted(file)).collect();
    match found[..] {
        [file] => Ok(file.clone()),
        [] => {
            let alike = |file: &PathBuf| {
                let (whole, last) = (name(file), Path::new(&wanted).components().count());
                let parts = Path::new(&whole).components().rev().take(last);
                let end: PathBuf = parts.collect::<Vec<_>>().into_iter().rev().collect();
                strsim::jaro_winkler(&wanted, &end.to_string_lossy())
            };
            let nearest = files.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
            let hint = match nearest.filter(|file| alike(file) >= ALIKE) {
                Some(file) => format!("the nearest is {}", file.display()),
                None => "`s3 list` shows them".to_string(),
            };
            bail!(
                "{}: no such file and no experiment below {FOLDER}; {hint}",
                given.display()
            )
        }
        _ => {
            let names: Vec<String> = found.iter().map(|file| name(file)).collect();
            bail!(
                "{}: the name of several experiments: {}",
                given.display(),
                names.join(", ")
            )
        }
    }
}

/// A file's path below the folder of the experiments, without its ending.
fn name(file: &Path) -> String {
    let below = file.strip_prefix(FOLDER).unwrap_or(file).to_string_lossy();
    below.strip_suffix(".toml").unwrap_or(&below).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<PathBuf> {
        [
            "mnist/resnet8-s3-3bit",
            "demo/resnet8-s3-3bit",
            "cifar10/resnet20-s3-3bit",
            "cifar10/resnet20-s3-3bit-authors",
        ]
        .map(|name| format!("{FOLDER}/{name}.toml").into())
        .to_vec()
    }

    #[test]
    fn a_name_finds_its_experiment() {
        let file = Path::new("xtask/experiments/cifar10/resnet20-s3-3bit.toml");
        for given in [
            "resnet20-s3-3bit",
            "resnet20-s3-3bit.toml",
            "cifar10/resnet20-s3-3bit",
            "xtask/experiments/cifar10/resnet20-s3-3bit",
        ] {
            assert_eq!(choose(Path::new(given), files()).expect(given), file);
        }
        let chosen = choose(Path::new("mnist/resnet8-s3-3bit"), files()).expect("one");
        assert!(chosen.ends_with("mnist/resnet8-s3-3bit.toml"));
    }

    #[test]
    fn a_name_of_several_or_of_none_says_which_there_are() {
        let refused = |given: &str| {
            choose(Path::new(given), files())
                .expect_err(given)
                .to_string()
        };
        let several = refused("resnet8-s3-3bit");
        assert!(
            several.contains("demo/resnet8-s3-3bit, mnist/resnet8-s3-3bit"),
            "{several}"
        );
        for given in [
            "resnet20-s3-3bits",
            "resnet-20-s3-3bit.toml",
            "cifar/resnet20-s3-3bit.toml",
            "xtask/experiments/cifar10/resnet20_s3_3bit.toml",
        ] {
            let nearest = refused(given);
            assert!(
                nearest.contains("the nearest is xtask/experiments/cifar10/resnet20-s3-3bit.toml"),
                "{nearest}"
            );
        }
        assert!(refused("qqq").contains("s3 list"));
    }
}
