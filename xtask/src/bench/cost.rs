//! `bench cost`: what the paper's ImageNet runs take, on CPU machines from steps that are measured
//! here and on GPUs from throughputs that others have published
//! ([`s3_metrics::budget`]).
//!
//! Prices and published throughputs stand in `cost/prices.csv` and `cost/gpus.csv`, each with its
//! source and date.

mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use s3_metrics::budget::{Budget, Gpu, Price};
use serde_json::{Value, json};

use super::page::{provenance, show, summary};
use super::{loader, train_step};

/// Images of a step in the experiments.
const BATCH: f64 = 256.0;

#[derive(Args)]
pub(crate) struct Options {
    /// Prints one JSON object only
    #[arg(long)]
    json: bool,
    /// Rounds of the measurements
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Steps timed in each round
    #[arg(long, default_value_t = 5)]
    steps: u32,
    /// Networks with their batch
    #[arg(long, value_delimiter = ',', default_value = "resnet18:32,resnet50:16")]
    models: Vec<String>,
    /// Methods with their bits
    #[arg(long, value_delimiter = ',', default_value = "fp32,s3:3")]
    methods: Vec<String>,
    /// Types of the activations
    #[arg(long, value_delimiter = ',', default_value = "f32,bf16")]
    dtypes: Vec<String>,
    /// An image folder, with train and val in it: decoding is measured and counted too
    #[arg(long)]
    pictures: Option<PathBuf>,
    /// Epochs of a run
    #[arg(long, default_value_t = 200)]
    epochs: u32,
    /// Numbers of machines
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    machines: Vec<u32>,
    /// The rate of many cores over that of one core times their number: an assumption, until `bench
    /// ddp` has measured it on such machines
    #[arg(long, default_value_t = 0.85)]
    efficiency: f64,
    /// What an hour costs
    #[arg(long, default_value = "xtask/src/bench/cost/prices.csv")]
    prices: PathBuf,
    /// What GPUs train, as others have published it
    #[arg(long, default_value = "xtask/src/bench/cost/gpus.csv")]
    gpus: PathBuf,
    /// Writes the page
    #[arg(long)]
    report: Option<PathBuf>,
}

/// A step that was measured on one core.
struct Step {
    network: String,
    method: String,
    batch: u64,
    dtype: String,
    images_per_s: Vec<f64>,
    memory_mb: u64,
}

impl Step {
    fn rate(&self) -> f64 {
        summary(&self.images_per_s).0
    }

    fn name(&self) -> String {
        let Self {
            network,
            method,
            dtype,
            batch,
            ..
        } = self;
        format!("{network} | {method} | {dtype} | {batch}")
    }
}

/// Everything that the page is computed from.
struct Facts {
    budget: Budget,
    machines: Vec<u32>,
    steps: Vec<Step>,
    /// Images a second that one core decodes, one figure a round.
    decoded: Vec<f64>,
    gpus: Vec<Gpu>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !(options.efficiency > 0.0 && options.efficiency <= 1.0) {
        bail!("--efficiency {}: expected 0 < x <= 1", options.efficiency)
    }
    // Files that do not parse are better known before half an hour of measurements.
    let (prices, gpus) = (prices(&options.prices)?, gpus(&options.gpus)?);
    let (steps, decoded) = (steps(options)?, decoded(options)?);
    let budget = Budget {
        epochs: options.epochs.into(),
        efficiency: options.efficiency,
        decoded: (!decoded.is_empty()).then(|| summary(&decoded).0),
        prices,
    };
    let facts = Facts {
        budget,
        machines: options.machines.clone(),
        steps,
        decoded,
        gpus,
    };
    let page = facts.page()?;
    if options.json {
        println!("{}", facts.as_json()?);
    }
    show(&page, !options.json, options.report.as_deref())
}

fn steps(options: &Options) -> Result<Vec<Step>> {
    let rows = train_step::measure(&train_step::Options {
        json: false,
        peers: false,
        python: String::new(),
        rounds: options.rounds,
        models: options.models.clone(),
        methods: options.methods.clone(),
        dtypes: options.dtypes.clone(),
        threads: vec![1],
        steps: vec![options.steps],
        report: None,
    })?;
    let step = |(key, rounds): (train_step::Key, train_step::Rounds)| {
        let (network, method, bits, batch, _, dtype, _, _) = key;
        Step {
            network: network.split(' ').next().unwrap_or_default().to_owned(),
            method: match method.as_str() {
                "fp32" => method,
                _ => format!("{method} {bits} bit"),
            },
            batch,
            dtype,
            images_per_s: rounds.images_per_s,
            memory_mb: rounds.memory_mb.map_or(0, |[first, last]| first.max(last)),
        }
    };
    Ok(rows.into_iter().map(step).collect())
}

fn decoded(options: &Options) -> Result<Vec<f64>> {
    let Some(folder) = &options.pictures else {
        return Ok(Vec::new());
    };
    let measured = loader::measure(&loader::Options {
        folder: folder.clone(),
        copies: 10,
        peers: false,
        python: String::new(),
        rounds: options.rounds,
        workers: 1,
        batch: 64,
        json: false,
        report: None,
    })?;
    let mut rates = measured.rates.into_iter();
    let files = rates.find(|(who, _)| who == "s3, files");
    Ok(files.context("bench loader measured no files")?.1)
}

/// The lines of a table of commas below its heading; no field holds a comma.
fn lines<const N: usize, T>(path: &Path, of: impl Fn([String; N]) -> Result<T>) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = |(index, line): (usize, &str)| {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let fields: Vec<String> = line.split(',').map(|f| f.trim().to_owned()).collect();
        let count = fields.len();
        let fields = <[String; N]>::try_from(fields).ok();
        let fields = fields.with_context(|| format!("expected {N} fields, got {count}"));
        fields.and_then(&of).with_context(place)
    };
    text.lines().enumerate().skip(1).map(line).collect()
}

fn number(text: &str) -> Result<f64> {
    let number = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.with_context(|| format!("expected a number > 0, got `{text}`"))
}

fn prices(path: &Path) -> Result<Vec<Price>> {
    lines(
        path,
        |[what, name, units, price, currency, per, source, date]| {
            Ok(Price {
                units: number(&units)?,
                price: number(&price)?,
                what,
                name,
                currency,
                per,
                source,
                date,
            })
        },
    )
}

fn gpus(path: &Path) -> Result<Vec<Gpu>> {
    lines(
        path,
        |[network, name, gpus, images_per_s, side, what, source, date]| {
            Ok(Gpu {
                gpus: number(&gpus)?,
                images_per_s: number(&images_per_s)?,
                side: number(&side)?,
                network,
                name,
                what,
                source,
                date,
            })
        },
    )
}

impl Facts {
    fn as_json(&self) -> Result<Value> {
        let budget = &self.budget;
        let mut runs = Vec::new();
        for step in &self.steps {
            for machine in budget.machines() {
                let hours = budget.machine_hours(step.rate(), machine);
                let days = self.machines.iter().map(|&n| hours / f64::from(n) / 24.0);
                runs.push(json!({
                    "network": step.network, "method": step.method, "dtype": step.dtype,
                    "batch": step.batch,
                    "images_per_second": step.images_per_s, "memory_mb": step.memory_mb,
                    "core_hours": budget.core_hours(step.rate()), "machine": machine.name,
                    "machine_hours": hours,
                    "machines": self.machines, "days": days.collect::<Vec<_>>(),
                    "euros": hours * budget.euros_an_hour(machine)?,
                }));
            }
        }
        let mut gpus = Vec::new();
        for gpu in &self.gpus {
            let hours = budget.gpu_hours(gpu);
            gpus.push(json!({
                "network": gpu.network, "gpu": gpu.name, "gpus": gpu.gpus,
                "images_per_second": gpu.rate(),
                "gpu_hours": hours, "euros": hours * budget.price_of(gpu)?, "source": gpu.source,
            }));
        }
        Ok(json!({
            "measured": provenance(), "epochs": budget.epochs,
            "efficiency": budget.efficiency,
            "decoded_per_second": self.decoded, "runs": runs, "gpus": gpus,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 epochs of images so round that every figure can be told by heart.
    fn facts() -> Facts {
        let price = |what: &str, name: &str, units, price, currency: &str, per: &str| Price {
            what: what.to_owned(),
            name: name.to_owned(),
            units,
            price,
            currency: currency.to_owned(),
            per: per.to_owned(),
            source: "a page".to_owned(),
            date: "a day".to_owned(),
        };
        let step = Step {
            network: "net".to_owned(),
            method: "s3 3 bit".to_owned(),
            batch: 2,
            dtype: "f32".to_owned(),
            images_per_s: vec![100.0],
            memory_mb: 500,
        };
        let gpu = Gpu {
            network: "net".to_owned(),
            name: "G".to_owned(),
            gpus: 4.0,
            images_per_s: 16.0,
            side: 112.0,
            what: "w".to_owned(),
            source: "s".to_owned(),
            date: "d".to_owned(),
        };
        let budget = Budget {
            epochs: 3.0,
            efficiency: 0.5,
            decoded: None,
            prices: vec![
                price("machine", "M", 4.0, 73.0, "EUR", "month"),
                price("gpu", "G", 1.0, 3.0, "USD", "hour"),
                price("rate", "EUR", 1.0, 1.5, "USD", "EUR"),
            ],
        };
        Facts {
            budget,
            machines: vec![1, 10],
            steps: vec![step],
            decoded: Vec::new(),
            gpus: vec![gpu],
        }
    }

    #[test]
    fn the_page_shows_the_arithmetic() -> Result<()> {
        let facts = facts();
        let page = facts.page()?;
        for line in [
            "| net | s3 3 bit | f32 | 2 | 100.00 | 100.00 | 100.00 | 1 | 500 |",
            "3 · (1281167 + 50000 / 3) = 3893501 pictures",
            "| net | s3 3 bit | f32 | 2 | (3893501 / 100.00) / 3600 | 11 |",
            "| net | s3 3 bit | f32 | 2 | 5 | 0.2 | 0.0 | 1 | 2 |",
            "a step of 256 pictures leaves a core 64.0 on 1, 6.4 on 10.",
            "| net | G | 4 | 16 | 112 | 4 | 1081.5 | 11.27 | 2.00 | 2163 | 1 |",
            "| M | 73 EUR / month | 0.100 | a page | a day |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        let runs = &facts.as_json()?["runs"];
        assert_eq!(runs[0]["machines"], json!([1, 10]));
        Ok(())
    }

    #[test]
    fn the_files_of_the_repository_parse_and_price_every_gpu() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/cost");
        let mut facts = facts();
        facts.budget.prices = prices(&folder.join("prices.csv"))?;
        facts.gpus = gpus(&folder.join("gpus.csv"))?;
        facts.page()?;
        assert!(facts.budget.machines().count() > 0);
        Ok(())
    }

    #[test]
    fn a_bad_line_is_named() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        for (line, words) in [
            ("a,b", "expected 8 fields, got 2"),
            (
                "machine,m,x,1,EUR,hour,s,d",
                "expected a number > 0, got `x`",
            ),
        ] {
            fs::write(file.path(), format!("heading\n{line}\n"))?;
            let error = format!("{:#}", prices(file.path()).err().context("refused")?);
            assert!(error.contains("line 2") && error.contains(words), "{error}");
        }
        Ok(())
    }
}
