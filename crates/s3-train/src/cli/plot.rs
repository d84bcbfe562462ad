//! Plots that a JSON file describes: names and numbers in, SVG and PNG files out.
//!
//! The file is a list of plots. Each has a `file` (its name without an ending), a `kind`, and
//! the fields of its kind; `title` and `size` (width and height in pixels) may be left out
//! everywhere:
//!
//! | kind | fields |
//! | --- | --- |
//! | `layer_curves` | `x`, `y`, `curves`: `[{"name", "points": [[x, y], ..]}, ..]` |
//! | `seed_bands` | `x`, `y`, `runs`: `[{"name", "seeds": [[[x, y], ..], ..]}, ..]` |
//! | `densities` | `x`, `y`, `densities`: `[{"name", "density"}, ..]`, as records have them |
//! | `labelled_points` | `x`, `y`, `points`: `[{"name", "group", "x", "y"}, ..]` |
//! | `value_rows` | `x`, `rows`: `[{"name", "group", "value", "ends": [low, high] or null}, ..]`, in this order from above |
//! | `level_occupancy` | `levels`: `[[epoch, [[level, count], ..]], ..]` |
//! | `stacked_bars` | `x`, `y`, `parts`: `["name", ..]`, `bars`: `[{"name", "parts": [size, ..]}, ..]` |
//!
//! `x` and `y` are axes, `{"label", "scale"}` and, where the data should not choose them, `"ends":
//! [low, high]` in the unit of the data; the scale is `plain`, `whole` (ticks at whole numbers),
//! `percent` (of shares of 1) or, for the x axis of `labelled_points` alone, `log`. The x axis may
//! have `"marks": [x, ..]`, dashed lines. What the plots show is said in [`s3_metrics::plot`].

use crate::files::{read_regular, write_together};
use crate::given::Given;
use crate::terminal;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use s3_metrics::plot::{Axis, Plot, Scale, Style, Theme};
use s3_metrics::spec::Shown;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A description of plots has at most these bytes.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Args)]
pub(crate) struct PlotArgs {
    /// The pictures, a JSON file.
    spec: PathBuf,
    /// Folder of the pictures, made where there is none: FILE.svg on light, FILE-dark.svg on dark.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also as PNG, with SCALE pixels for each unit of the SVG, 0.25 to 16 [default: 2; 4 is for
    /// print].
    #[arg(
        long,
        value_name = "SCALE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2"
    )]
    png: Option<f32>,
}

/// The files of a plot by their names: NAME.svg on light and NAME-dark.svg on dark, with a PNG
/// beside each where a scale is given.
pub(super) fn files_of(
    name: &str,
    plots: &[Plot; 2],
    png: Option<f32>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for (plot, theme) in plots.iter().zip(["", "-dark"]) {
        files.push((format!("{name}{theme}.svg"), plot.to_svg().into_bytes()));
        if let Some(scale) = png {
            files.push((format!("{name}{theme}.png"), plot.to_png(scale)?));
        }
    }
    Ok(files)
}

/// Writes all files or none into a folder, which is made where there is none, and says their names.
pub(super) fn write_files(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let paths: Vec<PathBuf> = files.keys().map(|name| folder.join(name)).collect();
    let bytes = files.values().map(Vec::as_slice);
    let written: Vec<(&Path, &[u8])> = paths.iter().map(PathBuf::as_path).zip(bytes).collect();
    write_together(&written)?;
    for path in &paths {
        say!("{}", terminal::path(path));
    }
    Ok(())
}

pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let name = args.spec.display();
    match Given::at(&args.spec) {
        Given::Nothing | Given::Endless | Given::Other => {}
        given => bail!(
            "{name}: {}, no JSON file of pictures (`s3 report` draws a run's)",
            given.words()
        ),
    }
    let text = read_regular(&args.spec, MAX_BYTES).with_context(|| format!("reading {name}"))?;
    let spec: Value = serde_json::from_slice(&text).with_context(|| name.to_string())?;
    let Value::Array(plots) = spec else {
        bail!("{name}: expected a list of pictures")
    };
    // All are drawn before the first is written.
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (i, plot) in plots.into_iter().enumerate() {
        let of = match plot.get("file").and_then(Value::as_str) {
            Some(file) => format!("{name}: picture {file}"),
            None => format!("{name}: picture number {}", i + 1),
        };
        for (file, bytes) in draw(plot, args.png).with_context(|| of.clone())? {
            if files.contains_key(&file) {
                bail!("{of}: another picture is {file} already")
            }
            files.insert(file, bytes);
        }
    }
    write_files(&args.out, &files)
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    LayerCurves,
    SeedBands,
    Densities,
    LabelledPoints,
    ValueRows,
    LevelOccupancy,
    StackedBars,
}

/// The files of a plot by their names.
fn draw(plot: Value, png: Option<f32>) -> Result<Vec<(String, Vec<u8>)>> {
    let Value::Object(fields) = plot else {
        bail!("expected an object")
    };
    let mut fields = Fields(fields);
    let file: String = fields.take("file")?;
    let plain = !file.starts_with('.') && !file.contains(['/', '\\', ':']) && !file.is_empty();
    ensure!(plain, "file: expected a plain name, got {file:?}");
    let kind: Kind = fields.take("kind")?;
    let title: Option<String> = fields.take_if_there("title")?;
    let title = title.unwrap_or_default();
    let size: Option<(u32, u32)> = fields.take_if_there("size")?;
    let shown = match kind {
        Kind::LayerCurves => Shown::LayerCurves {
            x: fields.axis("x", false)?,
            y: fields.axis("y", false)?,
            curves: fields.take("curves")?,
        },
        Kind::SeedBands => Shown::SeedBands {
            x: fields.axis("x", false)?,
            y: fields.axis("y", false)?,
            runs: fields.take("runs")?,
        },
        Kind::Densities => Shown::Densities {
            x: fields.axis("x", false)?,
            y: fields.axis("y", false)?,
            densities: fields.take("densities")?,
        },
        Kind::LabelledPoints => Shown::LabelledPoints {
            x: fields.axis("x", true)?,
            y: fields.axis("y", false)?,
            points: fields.take("points")?,
        },
        Kind::ValueRows => Shown::ValueRows {
            x: fields.axis("x", false)?,
            rows: fields.take("rows")?,
        },
        Kind::LevelOccupancy => Shown::LevelOccupancy {
            levels: fields.take("levels")?,
        },
        Kind::StackedBars => Shown::StackedBars {
            x: fields.axis("x", false)?,
            y: fields.axis("y", false)?,
            parts: fields.take("parts")?,
            bars: fields.take("bars")?,
        },
    };
    fields.none_left()?;
    let on = |theme| {
        let style = Style::new(theme);
        let style = size.map_or(style, |(width, height)| style.sized(width, height));
        shown.draw(&title, &style)
    };
    files_of(&file, &[on(Theme::Light)?, on(Theme::Dark)?], png)
}

/// The fields of a plot that are not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.take_if_there(key)?
            .with_context(|| format!("{key}: missing"))
    }

    fn take_if_there<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        match serde_path_to_error::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(e) => {
                let below = match e.path().to_string().as_str() {
                    "." => String::new(),
                    path if path.starts_with('[') => path.to_string(),
                    path => format!(".{path}"),
                };
                bail!("{key}{below}: {}", e.inner())
            }
        }
    }

    fn axis(&mut self, key: &str, log: bool) -> Result<Axis> {
        let axis: Axis = self.take(key)?;
        ensure!(
            axis.marks.is_empty() || key == "x",
            "{key}.marks: marks are for the x axis alone"
        );
        ensure!(
            log || axis.scale != Scale::Log,
            "{key}.scale: log is for the x axis of labelled_points alone"
        );
        Ok(axis)
    }

    fn none_left(self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => bail!("{key}: unknown field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3_metrics::density::Density;

    const AXES: &str =
        r#""x": {"label": "epoch", "scale": "plain"}, "y": {"label": "WSVR", "scale": "percent"}"#;

    fn plot(spec: &str) -> (Result<(), String>, Vec<String>) {
        plot_as(spec, None)
    }

    fn plot_as(spec: &str, png: Option<f32>) -> (Result<(), String>, Vec<String>) {
        let dir = tempfile::tempdir().expect("a folder");
        let (file, out) = (dir.path().join("spec.json"), dir.path().join("new/folder"));
        std::fs::write(&file, spec).expect("spec.json");
        let args = PlotArgs {
            spec: file,
            out: out.clone(),
            png,
        };
        let done = run(&args).map_err(|e| format!("{e:#}"));
        let names = std::fs::read_dir(out).into_iter().flatten();
        let mut names: Vec<String> = names
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        (done, names)
    }

    #[test]
    fn every_kind_becomes_a_light_and_a_dark_file() {
        let density = serde_json::to_string(&Density::relative(&[-1.0, 0.5], 3).expect("3 bins"));
        let density = density.expect("JSON");
        let kinds = [
            (
                "layer_curves",
                format!(
                    r#"{AXES},
                    "curves": [{{"name": "conv1", "points": [[10, 0.25], [20, 0.125]]}}]"#
                ),
            ),
            (
                "seed_bands",
                format!(
                    r#"{AXES}, "title": "two seeds",
                    "runs": [{{"name": "a", "seeds": [[[1, 0.3], [2, 0.4]], [[1, 0.2]]]}}]"#
                ),
            ),
            (
                "densities",
                format!(r#"{AXES}, "densities": [{{"name": "conv1", "density": {density}}}]"#),
            ),
            (
                "labelled_points",
                r#""x": {"label": "KiB", "scale": "log"},
                   "y": {"label": "top-1", "scale": "percent"}, "size": [480, 320],
                   "points": [{"name": "a", "group": "3 bits", "x": 10, "y": 0.5},
                              {"name": "b", "group": "4 bits", "x": 90, "y": 0.9}]"#
                    .to_string(),
            ),
            (
                "value_rows",
                r#""x": {"label": "top-1", "scale": "percent", "marks": [0.8], "ends": [0.7, 0.9]},
                   "rows": [{"name": "fp32", "group": "multiply", "value": 0.81, "ends": null},
                   {"name": "twn", "group": "flip", "value": 0.8, "ends": [0.79, 0.81]}]"#
                    .to_string(),
            ),
            (
                "level_occupancy",
                r#""levels": [[0, [[-1.0, 1], [1.0, 1]]],
                              [10, [[-1.0, 1], [0.0, 2], [1.0, 1]]]]"#
                    .to_string(),
            ),
            (
                "stacked_bars",
                r#""x": {"label": "version", "scale": "plain"},
                   "y": {"label": "energy (µJ)", "scale": "plain", "ends": [0, 3]},
                   "parts": ["operations", "memory"],
                   "bars": [{"name": "int8", "parts": [1, 0.5]}]"#
                    .to_string(),
            ),
        ];
        let list: Vec<String> = kinds
            .iter()
            .map(|(kind, rest)| format!(r#"{{"file": "{kind}", "kind": "{kind}", {rest}}}"#))
            .collect();
        for (png, endings) in [
            (None, &[".svg", "-dark.svg"][..]),
            (Some(1.0), &[".svg", "-dark.svg", ".png", "-dark.png"]),
        ] {
            let (done, names) = plot_as(&format!("[{}]", list.join(",")), png);
            assert_eq!(done, Ok(()));
            let files = |(kind, _): &(&str, String)| {
                let kind = kind.to_string();
                endings.iter().map(move |ending| format!("{kind}{ending}"))
            };
            let mut expected: Vec<String> = kinds.iter().flat_map(files).collect();
            expected.sort();
            assert_eq!(names, expected);
        }
        let (done, names) = plot_as(&format!("[{}]", list.join(",")), Some(100.0));
        let message = done.expect_err("too large a scale");
        assert!(message.contains("scale of a PNG"), "{message}");
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn a_bad_spec_names_the_file_the_plot_and_the_field() {
        let good = format!(
            r#"{{"file": "good", "kind": "layer_curves", {AXES}, "curves": [{{"name": "c",
                "points": [[1, 2]]}}]}}"#
        );
        for (bad, reason) in [
            (r#"{"file": "p"}"#, "picture p: kind: missing"),
            (
                r#"{"kind": "densities"}"#,
                "picture number 2: file: missing",
            ),
            (
                r#"{"file": "a/b"}"#,
                "picture a/b: file: expected a plain name",
            ),
            (r#"{"file": ".."}"#, "file: expected a plain name"),
            (
                r#"{"file": "p", "kind": "pie"}"#,
                "picture p: kind: unknown variant `pie`",
            ),
            (r#"7"#, "picture number 2: expected an object"),
            (
                r#"{"file": "p", "kind": "seed_bands", AXES, "runs": [], "colour": 1}"#,
                "picture p: colour: unknown field",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", AXES, "curves": [{"name": "c",
                    "points": [[1, 2], [3, "4"]]}]}"#,
                "picture p: curves[0].points[1][1]: invalid type",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", "x": {"label": "x", "scale": "log"}}"#,
                "picture p: x.scale: log is for the x axis of labelled_points alone",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", "x": {"label": "x", "scale": "whole"},
                    "y": {"label": "y", "scale": "plain", "marks": [1]}}"#,
                "picture p: y.marks: marks are for the x axis alone",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", "x": {"label": "x", "scale": "plain",
                    "ends": [2, 1]}, "y": {"label": "y", "scale": "plain"},
                    "curves": [{"name": "c", "points": [[1, 2]]}]}"#,
                "picture p: ends of the axis x, number 1: expected a number above the lower end, \
                 got 1",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", "x": {"scale": "plain"}}"#,
                "picture p: x: missing field `label`",
            ),
            (
                r#"{"file": "p", "kind": "layer_curves", AXES, "curves": []}"#,
                "picture p: nothing to draw: no layer",
            ),
            (&good, "picture good: another picture is"),
        ] {
            let bad = bad.replace("AXES", AXES);
            let (done, names) = plot(&format!("[{good}, {bad}]"));
            let message = done.expect_err("refused");
            assert!(message.contains("spec.json: picture "), "{message}");
            assert!(message.contains(reason), "{message}, expected {reason}");
            assert!(names.is_empty(), "{names:?}");
        }
        let message = plot("{}").0.expect_err("no list");
        assert!(
            message.ends_with("spec.json: expected a list of pictures"),
            "{message}"
        );
    }
}
