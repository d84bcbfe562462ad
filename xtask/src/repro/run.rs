//! `repro PAGE`: what is done for one page.

use std::process::ExitCode;

use anyhow::Result;

use super::options::Options;
use super::plan::Plan;
use super::trainer::{Trainer, listen};
use super::work::{Work, say_plan, train_all};

impl Plan {
    pub(super) fn run(&'static self, options: &Options) -> Result<ExitCode> {
        let how = options.how();
        if options.check {
            self.check()?;
            self.check_plots(&Trainer::new(&how)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let jobs = self.jobs(options)?;
        let work: Vec<Work<'_>> = jobs.into_iter().map(|job| (self, job)).collect();
        if how.list {
            say_plan(&work, &how)?;
            return Ok(ExitCode::SUCCESS);
        }
        listen()?;
        let s3 = Trainer::new(&how)?;
        if options.redraw {
            self.write_page(&s3)?;
            println!("{}", self.page_path(how.aside().as_deref()).display());
            return Ok(ExitCode::SUCCESS);
        }
        train_all(self.name, &work, &s3)
    }
}

#[cfg(all(test, unix))]
mod tests;
