//! What every page is made of: sections, rows and plots.

use s3_metrics::finished::Series;
use s3_metrics::paired::range;
use s3_metrics::spec::{self, Axis, Curve, Shown, Spec};

use super::plan::{Plan, Row};
use super::record::Record;

pub(super) use super::plan::Page;
pub(super) use super::runs::{Runs, zeros};

/// How the differences of a page are to be read.
const DIFFERENCES: &str = "\
A difference is taken seed by seed: rows of one seed see the same images in the same order. Its \
interval is that of Student's
t, 95 % of the mean of the pairs, and the word behind it follows from the interval alone: *ahead* or *behind* where 0 is
outside; *equal within 1 point* where all of it is less than a point from 0, a margin set when most rows had a single seed; else *no
difference seen*; and *no claim* of a single pair.
";

impl Page {
    /// A page with its introduction.
    pub(super) fn new(introduction: &str) -> Self {
        Self {
            text: introduction.to_owned(),
            plots: Vec::new(),
        }
    }

    /// Says once how its differences are to be read.
    pub(super) fn with_differences(mut self) -> Self {
        self.line("");
        self.text.push_str(DIFFERENCES);
        self
    }

    /// One section for each number of epochs that there are records of, and what all have below it.
    pub(super) fn sections(
        mut self,
        plan: &Plan,
        records: &[Record],
        section: impl Fn(&mut Self, &Runs<'_>),
    ) -> Self {
        let all = Runs::by_epochs(plan, records);
        if all.is_empty() {
            self.text.push_str("\nNo run yet.\n");
        }
        for runs in all {
            self.line(&format!("\n## {} epochs\n", runs.epochs));
            self.line(&runs.setting(plan));
            section(&mut self, &runs);
            runs.origins(&mut self.text);
        }
        self
    }

    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A row of a table.
    pub(super) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let cell = |c: &S| match c.as_ref() {
            "" => " |".to_owned(),
            text => format!(" {text} |"),
        };
        let cells: String = cells.iter().map(cell).collect();
        self.line(&format!("|{cells}"));
    }

    /// The head of a table: a first column of words, the others of numbers.
    pub(super) fn head(&mut self, cells: &[&str]) {
        self.row(cells);
        let rule: Vec<&str> = (0..cells.len())
            .map(|i| if i == 0 { "---" } else { "---:" })
            .collect();
        self.row(&rule);
    }

    /// A table with a line for each row: its name, `cells` of its finished runs under `columns`,
    /// and how many seeds; where there is none, why.
    pub(super) fn rows(
        &mut self,
        runs: &Runs<'_>,
        columns: &[&str],
        cells: impl Fn(&Row, &[&Record]) -> Vec<String>,
    ) {
        self.head(&[&["row"], columns, &["n"]].concat());
        for row in runs.rows.iter().filter(|row| runs.shows(row)) {
            let done = runs.of(row);
            let (mut line, seeds) = match done.is_empty() {
                true => (vec![runs.absence(row)], String::new()),
                false => (cells(row, &done), runs.seeds(row)),
            };
            line.resize(columns.len(), String::new());
            line.insert(0, row.name.to_owned());
            line.push(seeds);
            self.row(&line);
        }
    }

    /// Adds plots, side by side where there is room; `caption` is above them.
    pub(super) fn plots(&mut self, plan: &Plan, caption: &str, plots: Vec<Spec>) {
        if plots.is_empty() {
            return;
        }
        self.line(&format!("\n{caption}:\n"));
        for Spec { file, title, .. } in &plots {
            let path = format!("{}/{file}", plan.name);
            let alt = format!("{caption}, {title}");
            let alt = alt.trim_end_matches(", ");
            self.line(&format!(
                "<picture><source media=\"(prefers-color-scheme: dark)\" \
                 srcset=\"{path}-dark.svg\">\
                 <img alt=\"{alt}\" src=\"{path}.svg\"></picture>"
            ));
        }
        self.plots.extend(plots);
    }

    /// The files of the plots.
    pub(super) fn files(&self) -> Vec<String> {
        let names = self.plots.iter().map(|plot| &plot.file);
        names
            .flat_map(|n| [format!("{n}.svg"), format!("{n}-dark.svg")])
            .collect()
    }
}

/// One curve a layer over the epochs, in %.
pub(super) fn layer_curves(file: String, title: &str, label: &str, curves: Vec<Curve>) -> Spec {
    Spec {
        file,
        title: title.to_owned(),
        size: None,
        shown: Shown::LayerCurves {
            x: Axis::whole("epoch"),
            y: Axis::percent(label),
            curves,
        },
    }
}

/// Plots of [`layer_curves`] side by side get the same y axis, from 0 to just above the highest
/// point of all.
pub(super) fn share_axis(plots: &mut [Spec]) {
    let curves = plots.iter().flat_map(|plot| match &plot.shown {
        Shown::LayerCurves { curves, .. } => curves.as_slice(),
        _ => &[],
    });
    let (_, highest) = range(curves.flat_map(|c| &c.points).map(|point| point.1));
    for plot in plots {
        if let Shown::LayerCurves { y, .. } = &mut plot.shown
            && highest > 0.0
        {
            y.ends = Some((0.0, 1.04 * highest));
        }
    }
}

/// Which series of a record.
pub(super) type OfRun = fn(&Record) -> &Series;

/// One curve a row with the band of its seeds: a series of the records after each epoch.
pub(super) fn seed_bands(file: String, y: Axis, runs: &Runs<'_>, of: OfRun) -> Spec {
    let mut sets = Vec::new();
    for row in runs.rows {
        let curve = |r: &&Record| -> Vec<(f64, f64)> {
            let values = of(r).iter().flatten();
            (1..).map(f64::from).zip(values.copied()).collect()
        };
        let seeds = runs.of(row).iter().map(curve).collect::<Vec<_>>();
        let seeds: Vec<_> = seeds.into_iter().filter(|s| !s.is_empty()).collect();
        if !seeds.is_empty() {
            sets.push(spec::Runs::new(row.name, seeds));
        }
    }
    let (x, title) = (Axis::whole("epoch"), String::new());
    Spec {
        file,
        title,
        size: None,
        shown: Shown::SeedBands { x, y, runs: sets },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_side_by_side_share_their_axis() {
        let curve = |y: f64| vec![Curve::new("conv1", vec![(0.0, 0.0), (1.0, y)])];
        let plot = |y: f64| layer_curves("a".to_owned(), "a", "WSVR", curve(y));
        let mut plots = [plot(0.25), plot(0.5)];
        share_axis(&mut plots);
        for plot in &plots {
            let Shown::LayerCurves { y, .. } = &plot.shown else {
                panic!("curves")
            };
            assert_eq!(y.ends, Some((0.0, 0.52)));
        }
        // Where all is 0 there is nothing to share.
        let mut flat = [plot(0.0)];
        share_axis(&mut flat);
        assert_eq!(flat, [plot(0.0)]);
    }
}
