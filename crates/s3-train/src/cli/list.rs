//! What there is to train.

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use s3_quant::METHODS;
use s3_train::config::Config;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Folder of the experiment files.
    #[arg(long, default_value = "xtask/experiments")]
    experiments: PathBuf,
}

/// The word of the paper's tables for an operation, `shift_sign_flip`.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(s)) => s.replace('_', " "),
        _ => String::new(),
    }
}

pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "method",
        "bits",
        "kernel operation",
        "starts from",
        "what",
    ]);
    for m in METHODS {
        let bits: Vec<String> = m.bits.iter().map(ToString::to_string).collect();
        let (bits, op) = (bits.join(", "), word(&m.operation));
        table.add_row([m.name, &bits, &op, m.start, m.summary]);
    }
    say!("{table}\n");

    let mut files = Vec::new();
    find(&args.experiments, &mut files)?;
    files.sort();
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "experiment",
        "network",
        "method",
        "data",
        "epochs",
    ]);
    for file in files {
        let c = Config::load(&file, &[])?;
        let bits = c
            .method
            .get("bits")
            .map_or(String::new(), |b| format!(" {b} bit"));
        let method = c
            .method
            .get("name")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        table.add_row([
            file.display().to_string(),
            c.model.name.clone(),
            format!("{method}{bits}"),
            c.data.name.as_str().to_string(),
            c.epochs.to_string(),
        ]);
    }
    say!("{table}");
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
