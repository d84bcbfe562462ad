//! The shards of an experiment's images: few large files that an epoch reads instead of many
//! small ones.

use super::experiment;
use super::folders::data_dir;
use crate::config::Config;
use crate::data::imagenet::{Made, make_shards};
use crate::terminal;
use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct ShardsArgs {
    /// The experiment, a TOML file whose data set is `imagenet`.
    experiment: PathBuf,
    /// Replaces a setting, e.g. --set data.folder=imagenet-sample.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Between two plain lines.
const QUIET: Duration = Duration::from_secs(20);

/// One split on its way.
struct Split {
    name: String,
    images: usize,
    done: AtomicUsize,
    kept: AtomicUsize,
    broken: AtomicUsize,
    began: Instant,
    spoke: Mutex<Instant>,
    bar: Option<ProgressBar>,
}

impl Split {
    fn new(name: &str, images: usize) -> Self {
        let style = ProgressStyle::with_template(
            "{prefix} {bar:30} {pos}/{len} pictures, {per_sec}, eta {eta}",
        );
        let bar = match style {
            Ok(style) if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::new(images as u64).with_style(style);
                Some(bar.with_prefix(name.to_string()))
            }
            _ => None,
        };
        Self {
            name: name.to_string(),
            images,
            done: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            began: Instant::now(),
            spoke: Mutex::new(Instant::now()),
            bar,
        }
    }

    fn tell(&self, made: Made) {
        let add = |to: &AtomicUsize, n: usize| to.fetch_add(n, Ordering::Relaxed);
        let n = match made {
            Made::Image => 1,
            Made::Broken(line) => {
                let say = || note!("skipped: {}", terminal::line(&line));
                self.bar.as_ref().map_or_else(say, |bar| bar.suspend(say));
                add(&self.broken, 1);
                1
            }
            Made::Kept(n) => {
                add(&self.kept, n);
                n
            }
        };
        let done = add(&self.done, n) + n;
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            return;
        }
        let mut spoke = self.spoke.lock().unwrap_or_else(PoisonError::into_inner);
        if spoke.elapsed() >= QUIET {
            *spoke = Instant::now();
            let speed = self.speed();
            let (name, images) = (&self.name, self.images);
            say!("  {name} {done}/{images}{}", speed.unwrap_or_default());
        }
    }

    /// Of the images that were not there already.
    fn speed(&self) -> Option<String> {
        let read = |n: &AtomicUsize| n.load(Ordering::Relaxed);
        let made = read(&self.done) - read(&self.kept);
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        (made > 0).then(|| format!(", {:.0} pictures/s", made as f64 / seconds))
    }

    fn conclude(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mut line = format!("{}: {} pictures", self.name, self.images);
        let notes = [(&self.kept, "there already"), (&self.broken, "broken")];
        for (count, note) in notes {
            match count.load(Ordering::Relaxed) {
                0 => {}
                n => line += &format!(", {n} {note}"),
            }
        }
        say!("{line}{}", self.speed().unwrap_or_default());
    }
}

pub(crate) fn run(args: &ShardsArgs, stop: &AtomicBool) -> Result<()> {
    let config = Config::load(&experiment::find(&args.experiment)?, &args.overrides)?;
    let data_dir = data_dir(args.data_dir.as_ref());
    let under_way: Mutex<Option<Arc<Split>>> = Mutex::new(None);
    let end = || {
        let last = under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(split) = last {
            split.conclude();
        }
    };
    let mut folder = None;
    make_shards(&config.data, &data_dir, stop, |job| {
        end();
        folder = Some(job.folder.to_path_buf());
        let split = Arc::new(Split::new(job.split, job.images));
        *under_way.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&split));
        move |made| split.tell(made)
    })?;
    end();
    let folder = folder.context("no split")?;
    say!(
        "shards: {} (--set data.shards=true reads them)",
        terminal::path(&folder)
    );
    Ok(())
}
