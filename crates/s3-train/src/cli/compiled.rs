//! What an exported C file answers: compiled with `tools/run_c.c` around it, and run on stored
//! images.

use crate::data::{Dataset, Image};
use anyhow::{Context, Result, bail};
use s3_layers::export;
use s3_layers::model::{Network, Numbers};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PROGRAM: &str = include_str!("run_c.c");

/// A compiler, and images as an exported C file takes them.
pub(crate) struct Compiler<'a> {
    cc: &'a Path,
    numbers: Numbers,
    folder: TempDir,
}

impl<'a> Compiler<'a> {
    /// With the images of `data` at these positions.
    pub(crate) fn new(cc: &'a Path, data: &Dataset, images: &[u32]) -> Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let path = folder.path().join("images");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut to_images = BufWriter::new(file);
        for &image in images {
            match data.image(image as usize)? {
                Image::Bytes(bytes) => to_images.write_all(&bytes)?,
                Image::Floats(floats) => {
                    for number in floats {
                        to_images.write_all(&number.to_ne_bytes())?;
                    }
                }
            }
        }
        to_images.flush()?;
        Ok(Self {
            cc,
            numbers: data.images.numbers(),
            folder,
        })
    }

    /// The scores of the C file of `network` on every image, `[images, classes]`, and its bytes.
    pub(crate) fn ask(&self, network: &Network) -> Result<(Vec<f32>, usize)> {
        let path = |name: &str| self.folder.path().join(name);
        let files = export::c(network, "net")?;
        for (name, text) in [
            ("net.h", &*files.header),
            ("net.c", &files.source),
            ("run_c.c", PROGRAM),
        ] {
            std::fs::write(path(name), text).context("a temporary file")?;
        }
        let number = match self.numbers {
            Numbers::Bytes => "-DNUMBER=uint8_t",
            Numbers::Floats => "-DNUMBER=float",
        };
        let mut cc = Command::new(self.cc);
        // A score is a product and a sum, each of which rounds, as the runtime's are.
        cc.args(["-O2", "-std=c99", "-Wall", "-Werror", "-ffp-contract=off"])
            .args(["-DNET_FLOAT", number, "-o"])
            .args(["run", "net.c", "run_c.c"].map(path));
        self.output(&mut cc)?;
        let text = self.output(Command::new(path("run")).arg(path("images")))?;
        let scores: Result<Vec<f32>, _> = text.lines().map(str::parse).collect();
        Ok((scores.context("a score of the C file")?, files.source.len()))
    }

    /// The standard output of a command that succeeds; else the first line of its errors.
    fn output(&self, command: &mut Command) -> Result<String> {
        let shown = self.cc.display();
        let made = command.output();
        let made = made.with_context(|| format!("--cc {shown}"))?;
        if made.status.success() {
            return Ok(String::from_utf8_lossy(&made.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&made.stderr);
        let error = words.lines().find(|line| line.contains("error"));
        match error.or_else(|| words.lines().next()) {
            Some(line) => bail!("--cc {shown}: {line}"),
            None => bail!("--cc {shown}: ends with {}", made.status),
        }
    }
}
