//! One step: the gradients of its micro-batches, and the update of the parameters.

use super::accumulate::Accumulator;
use super::dynamics;
use super::eval::tensors;
use super::loss::cross_entropy;
use super::observe::{Observer, skipped};
use super::session::Session;
use crate::data::{self, Loader};
use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use s3_core::Progress;
use s3_core::penalty::objective;
use s3_layers::Mode;
use s3_metrics::accuracy::Accuracy;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

impl Session<'_> {
    /// One update of the parameters, from the micro-batches of all ranks; whether one was told to
    /// stop.
    pub(super) fn step(
        &mut self,
        loader: &mut Loader,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let (step, per_epoch) = (self.position.step, self.per_epoch());
        let (epoch, epochs) = (self.position.epoch, self.config.epochs);
        let steps = per_epoch * epochs as u64;
        self.net.advance(Progress {
            step,
            steps,
            epoch,
            epochs,
            seed: self.config.seed,
        })?;

        let alpha = self.alpha(step, steps, per_epoch);
        let penalties = self.net.penalties()?;
        let ranks = self.ranks.clone();
        let mut accumulator = Accumulator::begin(&self.params, self.loader.parts, &*ranks)?;
        for _ in 0..self.loader.parts.count {
            let clock = Instant::now();
            let batch = loader.next();
            self.waited += clock.elapsed();
            let batch = batch.context("the loader ended before the epoch")??;
            skipped(observer, &batch.skipped);
            let mut left_out = batch.skipped.len();
            let shares = self.batches.whole_statistics;
            let alone = !shares && !batch.is_empty() && !self.batches.have_statistics(batch.len());
            if alone {
                left_out += batch.len();
                let of = &self.train.name;
                skipped(
                    observer,
                    &[format!(
                        "{of}: a picture alone in its batch, as the others cannot be read"
                    )],
                );
            }
            let pass = match batch.is_empty() || alone {
                true if self.config.batch_norm_is_synced()? && ranks.size() > 1 => bail!(
                    "batch_norm: \"synced\" needs a picture on each rank, and this one can read \
                     none of its part: {}",
                    batch.skipped.join("; ")
                ),
                true => None,
                false => Some(self.pass(batch, alpha, &penalties)?),
            };
            accumulator.add(pass, left_out)?;
        }
        let done = accumulator.end(stop.load(Ordering::Relaxed))?;
        let ends_epoch = self.position.step_in_epoch as u64 + 1 == per_epoch;
        if let Some(grads) = &done.grads {
            if ends_epoch && self.snapshot_is_due(epoch + 1) {
                self.position.gradients = dynamics::gradients(&self.params, grads)?;
            }
            let lr = self.config.lr.at(step, steps, per_epoch);
            let target = self.config.optimizer.target(step, steps, per_epoch);
            self.optimizer.step(lr, target, grads)?;
        }

        let penalty = penalties.iter().try_fold(0f64, |sum, p| {
            Ok::<_, candle_core::Error>(sum + f64::from(p.to_scalar::<f32>()?))
        })?;
        let position = &mut self.position;
        done.sums.iter().for_each(|part| position.sums.merge(part));
        position.skipped += done.skipped;
        position.penalty_bits = (f64::from_bits(position.penalty_bits) + penalty).to_bits();
        position.step += 1;
        position.step_in_epoch += 1;
        Ok(done.stops)
    }

    /// Forward and backward on one micro-batch: the gradients of its share of the objective (eq.
    /// 7), and its loss and hits.
    fn pass(
        &mut self,
        batch: data::Batch,
        alpha: f64,
        penalties: &[Tensor],
    ) -> Result<(GradStore, Accuracy)> {
        self.net.start_at_image(batch.images_of_step.start);
        let share = match self.loader.parts.of {
            1 => 1.0,
            _ => batch.len() as f64 / batch.step_len as f64,
        };
        let labels = batch.labels.clone();
        let (images, targets) = tensors(batch, &self.train, &self.device)?;
        let logits = self.net.forward(&images, Mode::Train)?;
        let loss = cross_entropy(&logits, &targets, self.config.label_smoothing)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            bail!(self.divergence(value, &images))
        }
        let mut total = objective(&loss, alpha, penalties)?;
        let objective = f64::from(total.to_scalar::<f32>()?);
        if !objective.is_finite() {
            bail!(self.divergence(objective, &images))
        }
        if share != 1.0 {
            total = (total * share)?;
        }
        let grads = total.backward()?;
        let scores = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut sums = Accuracy::default();
        sums.add_batch(
            value * labels.len() as f64,
            &scores,
            logits.dim(1)?,
            &labels,
        )?;
        Ok((grads, sums))
    }

    /// One line that names the step and the first layer whose output is not finite.
    fn divergence(&mut self, loss: f64, images: &Tensor) -> String {
        // The others may not take part in this pass.
        let alone = self.net.synchronise(None);
        let mut culprit = None;
        let mut see = |name: &str, _: &Tensor, y: &Tensor| -> candle_core::Result<()> {
            let finite = y
                .flatten_all()?
                .to_vec1::<f32>()?
                .iter()
                .all(|v| v.is_finite());
            if culprit.is_none() && !finite {
                culprit = Some(name.to_string());
            }
            Ok(())
        };
        let traced = alone.and_then(|()| self.net.forward_traced(images, Mode::Train, &mut see));
        let layer = match (traced, culprit) {
            (_, Some(name)) => {
                format!("the output of layer {name} is the first that is not finite")
            }
            (Err(e), None) => format!("and the network cannot be traced: {e}"),
            (Ok(_), None) => {
                "every layer's output is finite, the loss or the penalty itself overflowed".into()
            }
        };
        let saved = match self.folder.last() {
            path if path.is_file() => format!("the last checkpoint, {}, is whole", path.display()),
            _ => "no checkpoint had been written yet".into(),
        };
        format!(
            "training diverged at epoch {} step {} (step {} of the run): the loss is {loss}; \
             {layer}; {saved}",
            self.position.epoch + 1,
            self.position.step_in_epoch + 1,
            self.position.step + 1,
        )
    }
}
