//! What every page is made of: sections, rows and pictures.

use serde_json::{Value, json};

use super::plan::{Plan, Row};

pub(super) use super::plan::Page;
pub(super) use super::runs::Runs;
pub(super) use super::values::{mean_curve, numbers, points, quantized, zeros};

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
            pictures: Vec::new(),
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
        records: &[Value],
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
        cells: impl Fn(&Row, &[&Value]) -> Vec<String>,
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

    /// Adds pictures, `{"file", "kind", "title", ...}`, side by side where there is room; `caption`
    /// is above them.
    pub(super) fn pictures(&mut self, plan: &Plan, caption: &str, pictures: Vec<Value>) {
        if pictures.is_empty() {
            return;
        }
        self.line(&format!("\n{caption}:\n"));
        for picture in &pictures {
            let word = |key: &str| picture[key].as_str().unwrap_or_default().to_owned();
            let (path, title) = (format!("{}/{}", plan.name, word("file")), word("title"));
            let alt = format!("{caption}, {title}");
            let alt = alt.trim_end_matches(", ");
            self.line(&format!(
                "<picture><source media=\"(prefers-color-scheme: dark)\" \
                 srcset=\"{path}-dark.svg\">\
                 <img alt=\"{alt}\" src=\"{path}.svg\"></picture>"
            ));
        }
        self.pictures.extend(pictures);
    }

    /// The files of the pictures.
    pub(super) fn files(&self) -> Vec<String> {
        let names = self.pictures.iter().filter_map(|p| p["file"].as_str());
        names
            .flat_map(|n| [format!("{n}.svg"), format!("{n}-dark.svg")])
            .collect()
    }
}

/// One curve a layer over the epochs, in %.
pub(super) fn layer_curves(
    file: &str,
    title: &str,
    label: &str,
    curves: &[(String, Vec<(f64, f64)>)],
) -> Value {
    let curves: Vec<Value> = curves
        .iter()
        .map(|(name, points)| json!({"name": name, "points": points}))
        .collect();
    json!({
        "file": file, "kind": "layer_curves", "title": title,
        "x": {"label": "epoch", "scale": "whole"}, "y": {"label": label, "scale": "percent"},
        "curves": curves,
    })
}

/// Pictures of [`layer_curves`] side by side get the same y axis, from 0 to just above the highest
/// point of all.
pub(super) fn share_axis(pictures: &mut [Value]) {
    let curves = pictures.iter().filter_map(|p| p["curves"].as_array());
    let points = curves.flatten().filter_map(|c| c["points"].as_array());
    let heights = points.flatten().filter_map(|point| point[1].as_f64());
    let highest = heights.fold(0.0, f64::max);
    if highest > 0.0 {
        for picture in pictures {
            picture["y"]["ends"] = json!([0.0, 1.04 * highest]);
        }
    }
}

/// One curve a row with the band of its seeds: `key` of the records after each epoch.
pub(super) fn seed_bands(file: &str, label: [&str; 2], key: &str, runs: &Runs<'_>) -> Value {
    let mut sets = Vec::new();
    for row in runs.rows {
        let curve = |r: &&Value| -> Vec<(f64, f64)> {
            (1..).map(f64::from).zip(numbers(&r[key])).collect()
        };
        let seeds = runs.of(row).iter().map(curve).collect::<Vec<_>>();
        let seeds: Vec<_> = seeds.into_iter().filter(|s| !s.is_empty()).collect();
        if !seeds.is_empty() {
            sets.push(json!({"name": row.name, "seeds": seeds}));
        }
    }
    let [label, scale] = label;
    json!({
        "file": file, "kind": "seed_bands", "title": "",
        "x": {"label": "epoch", "scale": "whole"}, "y": {"label": label, "scale": scale},
        "runs": sets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_side_by_side_share_their_axis() {
        let curve = |y: f64| [("conv1".to_owned(), vec![(0.0, 0.0), (1.0, y)])];
        let picture = |y: f64| layer_curves("a", "a", "WSVR", &curve(y));
        let mut pictures = [picture(0.25), picture(0.5)];
        share_axis(&mut pictures);
        for picture in &pictures {
            assert_eq!(picture["y"]["ends"], json!([0.0, 0.52]));
        }
        // Where all is 0 there is nothing to share.
        let mut flat = [picture(0.0)];
        share_axis(&mut flat);
        assert_eq!(flat, [picture(0.0)]);
    }
}
