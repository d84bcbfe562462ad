//! Classifies image files, or arrays, with a packed network.

use super::packed_file;
use crate::terminal::{self, note, one_line};
use crate::{input, packed};
use anyhow::{Result, bail, ensure};
use clap::Args;
use s3_layers::model::Model;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct InferArgs {
    /// A packed network's file.
    file: PathBuf,
    /// Images: JPEG, PNG, WebP, TIFF, BMP, PPM or PGM; or NumPy's .npy, each of one image.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Answers shown of each image.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Prints one JSON object an image.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InferArgs) -> Result<()> {
    let model = packed_file::load(&args.file, "infer")?;
    note(input::assumed(model.network()).map(|fit| {
        let file = args.file.display();
        let older = "a file of an older version, which does not say how pictures are fitted";
        format!("{file}: {older}: taken to be {fit}")
    }));
    if let [image] = &args.images[..] {
        return show(&model, image, args);
    }
    let mut refused = 0;
    for path in &args.images {
        // One image that cannot be read keeps no other from its answer.
        if let Err(e) = show(&model, path, args) {
            note!("error: {}", one_line(&e));
            refused += 1;
        }
    }
    let all = args.images.len();
    if refused > 0 {
        bail!("{refused} of {all} images have no answer")
    }
    Ok(())
}

fn show(model: &Model, path: &Path, args: &InferArgs) -> Result<()> {
    let network = model.network();
    if path.is_dir() {
        let shown = terminal::path(path);
        bail!("{shown}: a folder, no image; {shown}/*.png names those in it")
    }
    let scores = model.run(&input::read(path, network)?, 1)?;
    ensure!(
        scores.iter().all(|score| score.is_finite()),
        "{}: the network's scores are not finite: it has no answer",
        terminal::path(path)
    );
    let best = packed::most_likely(&scores, args.top as usize);
    let name = |class: usize| network.classes.get(class).map_or("?", String::as_str);
    if args.json {
        let top: Vec<_> = best
            .iter()
            .map(|&(class, p)| {
                serde_json::json!({ "class": class, "name": name(class), "probability": p })
            })
            .collect();
        // A path that is no UTF-8 has no other form in JSON.
        let image = path.to_string_lossy();
        say!("{}", serde_json::json!({ "image": image, "top": top }));
        return Ok(());
    }
    say!("{}", terminal::path(path));
    for (class, p) in best {
        say!("  {:5.1} %  {}", 100.0 * p, name(class));
    }
    Ok(())
}
