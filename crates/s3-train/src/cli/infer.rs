//! Classifies image files with a packed network.

use anyhow::Result;
use clap::Args;
use s3_train::{packed, picture};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct InferArgs {
    /// A packed network's file.
    file: PathBuf,
    /// Images, JPEG or PNG.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Answers shown of each image.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Prints one JSON object an image.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InferArgs) -> Result<()> {
    let model = packed::load(&args.file)?;
    let network = model.network();
    for path in &args.images {
        let scores = model.run(&picture::read(path, network)?, 1)?;
        let best = packed::most_likely(&scores, args.top);
        let name = |class: usize| network.classes.get(class).map_or("?", String::as_str);
        if args.json {
            let top: Vec<_> = best
                .iter()
                .map(|&(class, p)| {
                    serde_json::json!({ "class": class, "name": name(class), "probability": p })
                })
                .collect();
            say!("{}", serde_json::json!({ "image": path, "top": top }));
            continue;
        }
        say!("{}", path.display());
        for (class, p) in best {
            say!("  {:5.1} %  {}", 100.0 * p, name(class));
        }
    }
    Ok(())
}
