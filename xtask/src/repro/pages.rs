//! How is a page written, and compared with its records?

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::plan::Plan;
use super::record::folder;
use super::trainer::{Trainer, write};

impl Plan {
    pub(super) fn page_path(&self, aside: Option<&Path>) -> PathBuf {
        folder(aside).join(format!("{}.md", self.name))
    }

    /// Whether this `s3` draws the page's plots as they are, to the byte.
    ///
    /// # Errors
    /// The first plot that is another one.
    pub(super) fn check_plots(&self, s3: &Trainer<'_>) -> Result<()> {
        let page = (self.page)(self, &self.records(None)?);
        let folder = folder(None).join(self.name);
        let files = page.files();
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !files.contains(&name) {
                bail!("{}: not on the page; remove it", entry.path().display());
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        let drawn = tempfile::tempdir().context("a temporary folder")?;
        s3.draw(&page.plots, drawn.path())?;
        for file in files {
            let path = folder.join(&file);
            let read = |path: &Path| {
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))
            };
            if read(&path)? != read(&drawn.path().join(&file))? {
                bail!(
                    "{}: not what {}.jsonl says: cargo xtask repro {} --redraw writes it",
                    path.display(),
                    self.name,
                    self.name
                );
            }
        }
        Ok(())
    }

    /// # Errors
    /// A page that is not what the records say, or a plot of it that is missing.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.page_path(None);
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let page = (self.page)(self, &self.records(None)?);
        let writes = format!("cargo xtask repro {} --redraw writes it", self.name);
        if found != page.text {
            bail!(
                "{}: not what {}.jsonl says: {writes}",
                path.display(),
                self.name
            );
        }
        for file in page.files() {
            let file = folder(None).join(self.name).join(file);
            if !file.is_file() {
                bail!("{}: missing: {writes}", file.display());
            }
        }
        Ok(())
    }

    pub(super) fn write_page(&self, s3: &Trainer<'_>) -> Result<()> {
        let aside = s3.how.aside();
        let aside = aside.as_deref();
        let page = (self.page)(self, &self.records(aside)?);
        if !page.plots.is_empty() {
            s3.draw(&page.plots, &folder(aside).join(self.name))?;
        }
        write(&self.page_path(aside), page.text.as_bytes())
    }
}
