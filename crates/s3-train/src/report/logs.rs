//! The lines of a run folder for other programs: CSV tables, and TensorBoard's events.
//!
//! | file of [`Logs::csv`] | one row for each | columns |
//! | --- | --- | --- |
//! | `epochs.csv` | epoch | the fields of [`EpochRecord`] |
//! | `dynamics.csv` | snapshot and layer | those of [`DynamicsRecord`]; `levels` is `level:count` by spaces |
//! | `latents.csv` | snapshot, layer and latent | flips, gradient and density; `counts` of the bins by spaces |
//!
//! Floats are the shortest text that reads back as the same bits, `NaN`, `inf` or `-inf`; what is
//! absent is empty. Columns are only ever added.
//!
//! [`Logs::tensorboard`] is one event file; its steps are epochs and its clock is that of the
//! folder: when the run began and the seconds of its epochs. The same folder gives the same bytes.
//!
//! | tag | kind | what |
//! | --- | --- | --- |
//! | `lr`, `alpha`, `zeros` | scalar | at the end of the epoch; zero weights are a share |
//! | `train/loss`, `train/top1`, `test/loss`, `test/top1` | scalar | of the epoch, shares of 1 |
//! | `wsvr/LAYER`, `wsvr_with_zero/LAYER`, `wsvr_latent/LAYER`, `wlvr/LAYER` | scalar | of the snapshot |
//! | `latents/LAYER/LATENT` | histogram | of the latent's values, from its density |
//! | `dynamics/wsvr`, `dynamics/wsvr_latent`, `dynamics/wlvr` | image | all layers over the epochs, at the last one |
//! | `answers/..` | image | confusion matrix, first filters, misclassified images, at the last epoch; where given |

use super::plots::{MEASURES, measure};
use super::{Answers, Bitmap};
use crate::run::RunFolder;
use anyhow::{Context, Result};
use s3_metrics::plot::Style;
use s3_metrics::record::{DynamicsRecord, EpochRecord, TimingRecord, read_whole_lines};
use s3_metrics::tensorboard::EventWriter;
use std::fmt::Write as _;
use std::path::Path;

/// What a run's folder logs.
#[derive(Debug)]
pub struct Logs {
    epochs: Vec<EpochRecord>,
    dynamics: Vec<DynamicsRecord>,
    timing: Vec<TimingRecord>,
    began_unix: f64,
}

impl Logs {
    /// Reads the run in `folder`, finished or under way.
    ///
    /// # Errors
    /// No run's folder, or one of its `.jsonl` files or its manifest is missing or damaged; the
    /// message names it.
    pub fn read(folder: &Path) -> Result<Self> {
        let run = RunFolder::open(folder)?;
        let began = run.read_json("manifest.json")?;
        let began = began["sittings"][0]["began_unix"].as_f64();
        Ok(Self {
            epochs: read_whole_lines(&run.file("epochs.jsonl"))?,
            dynamics: read_whole_lines(&run.file("dynamics.jsonl"))?,
            timing: read_whole_lines(&run.file("timing.jsonl"))?,
            began_unix: began.with_context(|| {
                let manifest = run.file("manifest.json");
                format!("{}: no sittings[0].began_unix", manifest.display())
            })?,
        })
    }

    /// The tables as `(file name, text)`, each with a header line.
    pub fn csv(&self) -> [(&'static str, String); 3] {
        let epochs = self.epochs.iter().map(|e| {
            vec![
                e.epoch.to_string(),
                e.step.to_string(),
                float(e.lr),
                float(e.alpha),
                float(e.train_loss),
                float(e.train_penalty),
                float(e.train_top1),
                optional(e.test_loss),
                optional(e.test_top1),
                optional(e.test_top5),
                optional(e.sparsity),
                optional(e.validation_top1),
            ]
        });
        let dynamics = self.dynamics.iter().map(|d| {
            let levels = d.levels.iter().map(|(level, n)| format!("{level:?}:{n}"));
            vec![
                d.epoch.to_string(),
                d.layer.clone(),
                d.role.clone(),
                d.weights.to_string(),
                optional(d.wsvr),
                optional(d.wsvr_with_zero),
                optional(d.wsvr_latent),
                float(d.wlvr),
                d.zeros.to_string(),
                levels.collect::<Vec<_>>().join(" "),
            ]
        });
        let latents = self.dynamics.iter().flat_map(|d| {
            d.latents.iter().map(|l| {
                let gradient = l.gradient.as_ref();
                let counts = l.density.counts.iter().map(u64::to_string);
                vec![
                    d.epoch.to_string(),
                    d.layer.clone(),
                    l.name.clone(),
                    optional(l.flips),
                    optional(gradient.map(|g| g.norm)),
                    optional(gradient.map(|g| g.zero_share)),
                    gradient.map_or(String::new(), |g| g.not_finite.to_string()),
                    float(l.density.scale),
                    float(l.density.low),
                    float(l.density.high),
                    l.density.outside.to_string(),
                    l.density.not_finite.to_string(),
                    counts.collect::<Vec<_>>().join(" "),
                ]
            })
        });
        [
            (
                "epochs.csv",
                table(
                    "epoch,step,lr,alpha,train_loss,train_penalty,train_top1,\
                     test_loss,test_top1,test_top5,sparsity,validation_top1",
                    epochs,
                ),
            ),
            (
                "dynamics.csv",
                table(
                    "epoch,layer,role,weights,wsvr,wsvr_with_zero,wsvr_latent,wlvr,zeros,levels",
                    dynamics,
                ),
            ),
            (
                "latents.csv",
                table(
                    "epoch,layer,latent,flips,\
                     gradient_norm,gradient_zero_share,gradient_not_finite,\
                     scale,low,high,outside,not_finite,counts",
                    latents,
                ),
            ),
        ]
    }

    /// The events as `(file name, bytes)`, with the plots of `answers` where there are some. A
    /// latent without a finite value has no histogram, and what cannot be drawn no image.
    ///
    /// # Errors
    /// None that records can meet.
    pub fn tensorboard(&self, answers: Option<&Answers>) -> Result<(&'static str, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut events = EventWriter::new(&mut bytes, self.began_unix)?;
        for e in &self.epochs {
            let (time, step) = (self.time(e.epoch), i64::from(e.epoch));
            for (tag, value) in [
                ("lr", Some(e.lr)),
                ("alpha", Some(e.alpha)),
                ("zeros", e.sparsity),
                ("train/loss", Some(e.train_loss)),
                ("train/top1", Some(e.train_top1)),
                ("test/loss", e.test_loss),
                ("test/top1", e.test_top1),
                ("validation/top1", e.validation_top1),
            ] {
                if let Some(value) = value {
                    events.scalar(time, step, tag, value)?;
                }
            }
        }
        for d in &self.dynamics {
            let (time, step) = (self.time(d.epoch), i64::from(d.epoch));
            for (of, value) in [
                ("wsvr", d.wsvr),
                ("wsvr_with_zero", d.wsvr_with_zero),
                ("wsvr_latent", d.wsvr_latent),
                ("wlvr", Some(d.wlvr)),
            ] {
                if let Some(value) = value {
                    events.scalar(time, step, &format!("{of}/{}", d.layer), value)?;
                }
            }
            for l in d.latents.iter().filter(|l| l.density.inside() > 0) {
                let tag = format!("latents/{}/{}", d.layer, l.name);
                events.histogram(time, step, &tag, &l.density)?;
            }
        }
        let last = self.epochs.last().map_or(0, |e| e.epoch);
        let (time, step) = (self.time(last), i64::from(last));
        let style = Style::default();
        let measures = MEASURES.iter().filter_map(|&(of, _)| {
            let plot = measure(&self.dynamics, of, &style).ok()?;
            Bitmap::of(&format!("dynamics/{}", of.key()), &plot)
        });
        let answers = answers.map(Answers::bitmaps).unwrap_or_default();
        let answers = answers.into_iter().map(|b| Bitmap {
            name: format!("answers/{}", b.name),
            ..b
        });
        for image in measures.chain(answers) {
            events.image(time, step, &image.name, image.shape, &image.png)?;
        }
        Ok(("events.out.tfevents.s3", bytes))
    }

    /// Seconds since 1970 at the end of an epoch, without the pauses between sittings.
    fn time(&self, epoch: u32) -> f64 {
        let until = self.timing.iter().filter(|t| t.epoch <= epoch);
        let seconds = until.map(|t| t.train_seconds + t.test_seconds.unwrap_or(0.0));
        self.began_unix + seconds.sum::<f64>()
    }
}

fn float(value: f64) -> String {
    format!("{value:?}")
}

fn optional(value: Option<f64>) -> String {
    value.map(float).unwrap_or_default()
}

/// A header and its rows; a field with a separator, a quote or a line end is quoted (RFC 4180).
fn table(header: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("{header}\n");
    for row in rows {
        for (i, field) in row.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = match field.contains([',', '"', '\n', '\r']) {
                true => write!(text, "{comma}\"{}\"", field.replace('"', "\"\"")),
                false => write!(text, "{comma}{field}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_where_it_must_be() {
        let row = ["a,b", "say \"a\"", "two\nlines", "plain", ""].map(str::to_owned);
        let text = table("1,2,3,4,5", [row.to_vec()].into_iter());
        assert_eq!(
            text,
            "1,2,3,4,5\n\"a,b\",\"say \"\"a\"\"\",\"two\nlines\",plain,\n"
        );
    }

    #[test]
    fn floats_read_back_with_their_bits() {
        for value in [0.1, 1e-5, -0.0, 1.0 / 3.0, 5e-324, f64::MAX, f64::INFINITY] {
            let back: f64 = float(value).parse().expect("a float");
            assert_eq!(back.to_bits(), value.to_bits());
        }
    }
}
