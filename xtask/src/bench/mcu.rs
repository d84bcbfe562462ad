//! `bench mcu`: the reference networks of MLPerf Tiny on microcontrollers. The exported C of each
//! is compiled for every core and run in an emulator, which counts its instructions; a stated model
//! makes them cycles.
//!
//! Networks are packed files where they are given, else those of `experiments/mlperf_tiny` with
//! weights by chance (`benches/src/bin/mcu.rs`): which numbers they are does not change the time,
//! how many are 0 does.

mod cores;
mod count;
mod cycles;
mod networks;
mod page;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use self::cores::CORES;
use self::count::Counter;
use self::networks::{NETWORKS, Row};
use super::page::show;
use crate::s3::build;
use crate::tools::program;

#[derive(Args)]
pub(crate) struct Options {
    /// Networks of MLPerf Tiny: ic, kws, vww, ad
    #[arg(long, value_delimiter = ',', default_value = "ic,kws,vww,ad")]
    networks: Vec<String>,
    /// Bits of the weights
    #[arg(long, value_delimiter = ',', default_value = "2,3,4")]
    bits: Vec<u32>,
    /// The share of weights by chance that are 0; the default is what 3-bit S3 ends with on
    /// CIFAR-10 (docs/results/init-cifar10.md)
    #[arg(long, default_value_t = 0.024)]
    zeros: f64,
    /// A packed file of 8-bit activations and its test accuracy in %, in place of weights by
    /// chance: ic=FILE or ic=FILE,85.1
    #[arg(long, value_name = "NETWORK=FILE")]
    packed: Vec<String>,
    /// Prints what was counted as JSON in place of the page
    #[arg(long)]
    json: bool,
    /// Writes the page
    #[arg(long)]
    report: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let missing = missing();
    if !missing.is_empty() {
        bail!(
            "not installed: {}; on Debian: qemu-system-arm qemu-system-misc gcc-arm-none-eabi \
             picolibc-arm-none-eabi gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf gcc",
            missing.join(", ")
        );
    }
    let mut chosen = Vec::new();
    for key in &options.networks {
        let found = NETWORKS.iter().position(|network| network.key == key);
        let keys = NETWORKS.each_ref().map(|network| network.key).join(", ");
        chosen.push(found.with_context(|| format!("--networks {key}: expected some of {keys}"))?);
    }
    let packed = packed(&options.packed)?;
    let maker = build("s3-benches", "mcu")?;
    let counter = Counter::new()?;
    for core in &CORES {
        counter.validate(core)?;
    }
    let mut rows = Vec::new();
    for network in chosen {
        let key = NETWORKS[network].key;
        let files: Vec<_> = packed.iter().filter(|(of, _, _)| of == key).collect();
        let mut made = Vec::new();
        for &&(_, ref path, accuracy) in &files {
            let mut command = Command::new(&maker);
            command.arg("--packed").arg(path);
            made.push((command, Some(accuracy)));
        }
        for bits in &options.bits {
            made.push((by_chance(&maker, network, *bits, options.zeros), None));
        }
        for (command, accuracy) in made {
            measure(&counter, network, command, accuracy, &mut rows)?;
        }
    }
    let page = page::page(&rows, options.zeros);
    if options.json {
        println!("{}", page::json(&rows));
    }
    show(&page, !options.json, options.report.as_deref())
}

/// What is not installed of what is needed.
fn missing() -> Vec<&'static str> {
    let needed = [
        "cc",
        "arm-none-eabi-gcc",
        "qemu-system-arm",
        "riscv64-unknown-elf-gcc",
        "qemu-system-riscv32",
    ];
    needed
        .into_iter()
        .filter(|name| program(&[*name]).is_none())
        .collect()
}

/// The network, the file and its accuracy of each `NETWORK=FILE,ACCURACY`.
fn packed(words: &[String]) -> Result<Vec<(String, PathBuf, Option<f64>)>> {
    let of = |word: &String| -> Result<_> {
        let (network, file) = word
            .split_once('=')
            .filter(|(key, _)| NETWORKS.iter().any(|network| network.key == *key))
            .with_context(|| format!("--packed {word}: expected NETWORK=FILE, such as ic=FILE"))?;
        let parts = file.rsplit_once(',');
        let accuracy = parts.and_then(|(_, accuracy)| accuracy.parse().ok());
        let file = parts
            .filter(|_| accuracy.is_some())
            .map_or(file, |(file, _)| file);
        Ok((network.to_owned(), PathBuf::from(file), accuracy))
    };
    words.iter().map(of).collect()
}

fn by_chance(maker: &Path, network: usize, bits: u32, zeros: f64) -> Command {
    let network = &NETWORKS[network];
    let file = format!("xtask/experiments/{}.toml", network.experiment);
    let mut command = Command::new(maker);
    command
        .arg("--experiment")
        .arg(crate::cargo::root().join(file))
        .args(["--image", network.image])
        .args(["--classes", &network.classes.to_string()])
        .args(["--bits", &bits.to_string(), "--zeros", &zeros.to_string()]);
    command
}

/// The network that `command` writes, on every core.
fn measure(
    counter: &Counter,
    network: usize,
    mut command: Command,
    accuracy: Option<Option<f64>>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let reference = &NETWORKS[network];
    let folder = tempfile::tempdir()?;
    let about = crate::ci::answer(command.arg(folder.path()))?;
    let about: Value = serde_json::from_str(&about)?;
    let (products, wanted) = (about["products"].as_u64(), reference.products);
    ensure!(
        products == Some(wanted),
        "{}: {products:?} multiplications, {wanted} are published",
        reference.name
    );
    for (index, core) in CORES.iter().enumerate() {
        eprintln!(
            "bench: {} of {} bits on {}",
            reference.name, about["bits"], core.name
        );
        let counted = counter.network(core, folder.path());
        let counted = counted.with_context(|| format!("{} on {}", reference.name, core.name))?;
        rows.push(Row {
            network,
            about: about.clone(),
            accuracy,
            core: index,
            counted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_file_may_have_its_accuracy() -> Result<()> {
        let words = ["ic=a/b.safetensors,85.25".to_owned(), "ad=c".to_owned()];
        let files = packed(&words)?;
        assert_eq!(
            files[0],
            ("ic".into(), "a/b.safetensors".into(), Some(85.25))
        );
        assert_eq!(files[1], ("ad".into(), "c".into(), None));
        let error = packed(&["no=a".to_owned()]).err().context("refused")?;
        assert!(error.to_string().contains("expected NETWORK=FILE"));
        Ok(())
    }

    #[test]
    fn every_network_has_its_experiment() {
        for network in &NETWORKS {
            let file = format!("xtask/experiments/{}.toml", network.experiment);
            assert!(crate::cargo::root().join(&file).is_file(), "{file}");
        }
    }
}
