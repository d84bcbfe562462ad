//! `bench cost`: what the paper's ImageNet runs take, on CPU machines from steps that are measured
//! here and on GPUs from throughputs that others have published.
//!
//! ```text
//! steps         = epochs · (1,281,167 + 50,000 / 3)     pictures; a test picture is one of three
//!                                                       passes of a step
//! decoded       = epochs · (1,281,167 + 50,000)         pictures
//! core-seconds  = steps / (trained a second) + decoded / (decoded a second)
//! machine-hours = core-seconds / 3600 / (cores · efficiency)
//! days          = machine-hours / machines / 24
//! euros         = machine-hours · (euros an hour)
//! GPU-hours     = steps / (trained a second by a GPU) / 3600
//! ```
//!
//! Prices and published throughputs stand in `cost/prices.csv` and `cost/gpus.csv`, each with its
//! source and date.

mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::page::{provenance, summary};
use super::{loader, train_step};

/// Pictures of ILSVRC2012's training and validation sets.
const TRAIN: f64 = 1_281_167.0;
const TEST: f64 = 50_000.0;
/// Hours of a month that is paid as one.
const MONTH: f64 = 730.0;
/// Pictures of a step in the experiments.
const BATCH: f64 = 256.0;
/// The side of the paper's pictures.
const SIDE: f64 = 224.0;

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

/// A line of `prices.csv`: something with so many cores or GPUs.
struct Price {
    what: String,
    name: String,
    units: f64,
    price: f64,
    currency: String,
    per: String,
    source: String,
    date: String,
}

/// A line of `gpus.csv`: what so many GPUs train together.
struct Gpu {
    network: String,
    name: String,
    gpus: f64,
    images_per_s: f64,
    side: f64,
    what: String,
    source: String,
    date: String,
}

impl Gpu {
    /// Images a second at the paper's size: work is taken as proportional to the pixels.
    fn rate(&self) -> f64 {
        self.images_per_s * (self.side / SIDE).powi(2)
    }
}

/// Everything that the page is computed from.
struct Facts {
    epochs: f64,
    machines: Vec<u32>,
    efficiency: f64,
    steps: Vec<Step>,
    /// Pictures a second that one core decodes, one figure a round.
    decoded: Vec<f64>,
    prices: Vec<Price>,
    gpus: Vec<Gpu>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !(options.efficiency > 0.0 && options.efficiency <= 1.0) {
        bail!("--efficiency {}: expected 0 < x <= 1", options.efficiency)
    }
    // Files that do not parse are better known before half an hour of measurements.
    let (prices, gpus) = (prices(&options.prices)?, gpus(&options.gpus)?);
    let facts = Facts {
        epochs: options.epochs.into(),
        machines: options.machines.clone(),
        efficiency: options.efficiency,
        steps: steps(options)?,
        decoded: decoded(options)?,
        prices,
        gpus,
    };
    let page = facts.page()?;
    match options.json {
        true => println!("{}", facts.as_json()?),
        false => println!("{page}"),
    }
    if let Some(path) = &options.report {
        fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
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
    /// Pictures of a run, in whole training steps.
    fn pictures(&self) -> f64 {
        self.epochs * (TRAIN + TEST / 3.0)
    }

    fn core_hours(&self, step: &Step) -> f64 {
        let decoding = match self.decoded.is_empty() {
            true => 0.0,
            false => self.epochs * (TRAIN + TEST) / summary(&self.decoded).0,
        };
        (self.pictures() / step.rate() + decoding) / 3600.0
    }

    fn machine_hours(&self, step: &Step, machine: &Price) -> f64 {
        self.core_hours(step) / (machine.units * self.efficiency)
    }

    fn gpu_hours(&self, gpu: &Gpu) -> f64 {
        self.pictures() / (gpu.rate() / gpu.gpus) / 3600.0
    }

    fn euros_an_hour(&self, price: &Price) -> Result<f64> {
        let euros = match price.currency.as_str() {
            "EUR" => price.price,
            other => {
                let mut rates = self.prices.iter().filter(|p| p.what == "rate");
                let rate = rates.find(|p| p.currency == other);
                price.price / rate.with_context(|| format!("no rate of {other}"))?.price
            }
        };
        match price.per.as_str() {
            "hour" => Ok(euros),
            "month" => Ok(euros / MONTH),
            other => bail!("{}: expected hour or month, got `{other}`", price.name),
        }
    }

    fn machines(&self) -> impl Iterator<Item = &Price> {
        self.prices.iter().filter(|p| p.what == "machine")
    }

    /// What an hour of one such GPU costs.
    fn price_of(&self, gpu: &Gpu) -> Result<f64> {
        let is_it = |p: &&Price| p.what == "gpu" && p.name == gpu.name;
        let price = self.prices.iter().find(is_it);
        let price = price.with_context(|| format!("no price of an {}", gpu.name))?;
        Ok(self.euros_an_hour(price)? / price.units)
    }

    fn as_json(&self) -> Result<Value> {
        let mut runs = Vec::new();
        for step in &self.steps {
            for machine in self.machines() {
                let hours = self.machine_hours(step, machine);
                let days = self.machines.iter().map(|&n| hours / f64::from(n) / 24.0);
                runs.push(json!({
                    "network": step.network, "method": step.method, "dtype": step.dtype,
                    "batch": step.batch,
                    "images_per_second": step.images_per_s, "memory_mb": step.memory_mb,
                    "core_hours": self.core_hours(step), "machine": machine.name,
                    "machine_hours": hours,
                    "machines": self.machines, "days": days.collect::<Vec<_>>(),
                    "euros": hours * self.euros_an_hour(machine)?,
                }));
            }
        }
        let mut gpus = Vec::new();
        for gpu in &self.gpus {
            let hours = self.gpu_hours(gpu);
            gpus.push(json!({
                "network": gpu.network, "gpu": gpu.name, "gpus": gpu.gpus,
                "images_per_second": gpu.rate(),
                "gpu_hours": hours, "euros": hours * self.price_of(gpu)?, "source": gpu.source,
            }));
        }
        Ok(json!({
            "measured": provenance(), "epochs": self.epochs, "efficiency": self.efficiency,
            "decoded_per_second": self.decoded, "runs": runs, "gpus": gpus,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 epochs of pictures so round that every figure can be told by heart.
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
        // A picture an hour: core-hours are pictures.
        let step = Step {
            network: "net".to_owned(),
            method: "s3 3 bit".to_owned(),
            batch: 2,
            dtype: "f32".to_owned(),
            images_per_s: vec![9.0 / 3600.0, 1.0 / 3600.0, 0.5 / 3600.0],
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
        Facts {
            epochs: 3.0,
            machines: vec![1, 10],
            efficiency: 0.5,
            steps: vec![step],
            decoded: Vec::new(),
            prices: vec![
                price("machine", "M", 4.0, 73.0, "EUR", "month"),
                price("gpu", "G", 1.0, 3.0, "USD", "hour"),
                price("rate", "EUR", 1.0, 1.5, "USD", "EUR"),
            ],
            gpus: vec![gpu],
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a / b - 1.0).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn hours_and_euros_follow_from_the_rates() -> Result<()> {
        let mut facts = facts();
        let pictures = 3.0 * 1_281_167.0 + 50_000.0;
        let step = &facts.steps[0];
        close(facts.core_hours(step), pictures);
        close(facts.machine_hours(step, &facts.prices[0]), pictures / 2.0);
        close(facts.euros_an_hour(&facts.prices[0])?, 0.1);
        // Half the side is a quarter of the work: 4 images/s at 224 of four GPUs, one of each.
        close(facts.gpu_hours(&facts.gpus[0]), pictures / 3600.0);
        close(facts.price_of(&facts.gpus[0])?, 2.0);
        // Every picture is decoded, the test pictures whole.
        facts.decoded = vec![1.0 / 3600.0];
        let all = pictures + 3.0 * (1_281_167.0 + 50_000.0);
        close(facts.core_hours(&facts.steps[0]), all);
        Ok(())
    }

    #[test]
    fn the_page_shows_the_arithmetic() -> Result<()> {
        let mut facts = facts();
        facts.steps[0].images_per_s = vec![100.0];
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
        let facts = Facts {
            prices: prices(&folder.join("prices.csv"))?,
            gpus: gpus(&folder.join("gpus.csv"))?,
            ..facts()
        };
        facts.page()?;
        assert!(facts.machines().count() > 0);
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
