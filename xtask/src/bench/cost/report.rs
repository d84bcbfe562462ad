//! The page of `bench cost`: docs/results/imagenet-cost.md.

use std::fmt::Write as _;

use anyhow::Result;
use s3_metrics::budget::{MONTH, SIDE, TEST, TRAIN};

use super::super::page::{provenance, summary};
use super::{BATCH, Facts};

impl Facts {
    /// Measurements, arithmetic, tables and sources.
    pub(super) fn page(&self) -> Result<String> {
        let mut page = String::from("# What the paper's ImageNet runs take\n\n");
        let _ = writeln!(
            page,
            "{}. Steps on generated pictures of {SIDE}x{SIDE} pixels, one thread. n is the number \
             of rounds, each the median over its steps. MB is the memory of the process.\n",
            provenance(),
        );
        page.push_str(
            "## One core\n\n| network | method | activations | batch | images/s | min | max | n | \
             MB |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for step in &self.steps {
            let (median, min, max) = summary(&step.images_per_s);
            let _ = writeln!(
                page,
                "| {} | {median:.2} | {min:.2} | {max:.2} | {} | {} |",
                step.name(),
                step.images_per_s.len(),
                step.memory_mb,
            );
        }
        self.arithmetic(&mut page);
        self.on_machines(&mut page)?;
        self.on_gpus(&mut page)?;
        self.sources(&mut page)?;
        Ok(page)
    }

    fn arithmetic(&self, page: &mut String) {
        let (epochs, images) = (self.budget.epochs, self.budget.images());
        let _ = writeln!(
            page,
            "\n## Core-hours of {epochs} epochs\n\n\
             {epochs} · ({TRAIN} + {TEST} / 3) = {images:.0} pictures: a test picture counts as \
             a third of a training picture, one pass of three. That share is an assumption.",
        );
        let decoding = match self.decoded.is_empty() {
            true => {
                page.push_str(" Decoding is not counted (`--pictures FOLDER` measures it).\n\n");
                String::new()
            }
            false => {
                let rate = summary(&self.decoded).0;
                let _ = writeln!(
                    page,
                    " A core decodes {rate:.0} pictures/s (files, n = {}), test pictures too.\n",
                    self.decoded.len()
                );
                format!(" + {epochs} · {} / {rate:.0}", TRAIN + TEST)
            }
        };
        page.push_str(
            "| network | method | activations | batch | core-seconds / 3600 | core-hours \
                       |\n|---|---|---|---|---|---|\n",
        );
        for step in &self.steps {
            let (rate, hours) = (step.rate(), self.budget.core_hours(step.rate()));
            let _ = writeln!(
                page,
                "| {} | ({images:.0} / {rate:.2}{decoding}) / 3600 | {hours:.0} |",
                step.name(),
            );
        }
    }

    fn on_machines(&self, page: &mut String) -> Result<()> {
        for machine in self.budget.machines() {
            let euros = self.budget.euros_an_hour(machine)?;
            let (cores, efficiency) = (machine.units, self.budget.efficiency);
            let _ = writeln!(
                page,
                "\n## On machines of {cores} cores: {}\n\n\
                 Machine-hours are core-hours / ({cores} · {efficiency}); {efficiency} is the rate \
                 of many cores over that of one core times their number, whatever the number of \
                 machines: an assumption until `cargo xtask bench ddp` has measured it on such \
                 machines. Days are machine-hours / machines / 24. Euros are machine-hours · \
                 {euros:.3}, the same for any number of machines. GB is what {cores} processes of \
                 the first table need together.",
                machine.name,
            );
            let left: Vec<String> = self
                .machines
                .iter()
                .map(|&n| format!("{:.1} on {n}", BATCH / (cores * f64::from(n))))
                .collect();
            let _ = writeln!(
                page,
                "\nThese rates are those of the batch in the row, on each core; a step of {BATCH} \
                 pictures leaves a core {}. Below the row's batch the latents' share of a step \
                 grows (`--models resnet18:5` measures it); below 1 there is no work for every \
                 core. Such numbers of machines want larger steps than the paper's, or several \
                 runs at once.\n",
                left.join(", "),
            );
            let numbers = self.machines.iter();
            let days: Vec<String> = numbers.map(|n| format!("days on {n}")).collect();
            let _ = writeln!(
                page,
                "| network | method | activations | batch | machine-hours | {} | euros | GB a \
                 machine |",
                days.join(" | ")
            );
            let _ = writeln!(page, "|{}", "---|".repeat(7 + days.len()));
            for step in &self.steps {
                let hours = self.budget.machine_hours(step.rate(), machine);
                let days = self.machines.iter().map(|&n| hours / f64::from(n) / 24.0);
                let days: Vec<String> = days.map(|days| format!("{days:.1}")).collect();
                let _ = writeln!(
                    page,
                    "| {} | {hours:.0} | {} | {:.0} | {:.0} |",
                    step.name(),
                    days.join(" | "),
                    hours * euros,
                    cores * step.memory_mb as f64 / 1000.0,
                );
            }
        }
        Ok(())
    }

    fn on_gpus(&self, page: &mut String) -> Result<()> {
        let _ = writeln!(
            page,
            "\n## On GPUs\n\n\
             Published throughputs of mixed-precision training with float weights; ours has never \
             run on one (docs/gpu.md), and what S3's latents add to a step is not in them. Where \
             the pictures were smaller, images/s at {SIDE} are the published ones · (side / \
             {SIDE})². GPU-hours are {:.0} pictures / (images/s of one GPU) / 3600.\n\n\
             | network | GPU | GPUs | images/s | side | images/s at {SIDE} | GPU-hours | days | \
             euros a GPU-hour | euros | source |\n\
             |---|---|---|---|---|---|---|---|---|---|---|",
            self.budget.images(),
        );
        for (index, gpu) in self.gpus.iter().enumerate() {
            let (hours, euros) = (self.budget.gpu_hours(gpu), self.budget.price_of(gpu)?);
            let _ = writeln!(
                page,
                "| {} | {} | {} | {:.0} | {} | {:.0} | {hours:.1} | {:.2} | {euros:.2} | {:.0} | \
                 {} |",
                gpu.network,
                gpu.name,
                gpu.gpus,
                gpu.images_per_s,
                gpu.side,
                gpu.rate(),
                hours / gpu.gpus / 24.0,
                hours * euros,
                index + 1,
            );
        }
        Ok(())
    }

    fn sources(&self, page: &mut String) -> Result<()> {
        page.push_str("\nSources of the throughputs:\n\n");
        for (index, gpu) in self.gpus.iter().enumerate() {
            let (number, what) = (index + 1, &gpu.what);
            let _ = writeln!(page, "{number}. {}, {}: {what}", gpu.source, gpu.date);
        }
        let _ = writeln!(
            page,
            "\n## Prices change\n\n\
             These are of their dates. Put yours into `xtask/src/bench/cost/prices.csv`, or \
             another file with `--prices`. A month has {MONTH} hours.\n\n\
             | what | price | euros an hour | source | date |\n|---|---|---|---|---|"
        );
        for price in &self.budget.prices {
            let euros = match price.what.as_str() {
                "rate" => "-".to_owned(),
                _ => format!("{:.3}", self.budget.euros_an_hour(price)?),
            };
            let _ = writeln!(
                page,
                "| {} | {} {} / {} | {euros} | {} | {} |",
                price.name, price.price, price.currency, price.per, price.source, price.date,
            );
        }
        Ok(())
    }
}
