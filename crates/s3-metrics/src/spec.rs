//! What a plot shows, as numbers and names: what `s3 plot` reads and what the feature `plot` draws.
//!
//! A description is an object with a `file` (its name without an ending), a `kind`, the fields of
//! its kind and, where they are wanted, a `title` and a `size` (width and height in pixels):
//!
//! ```
//! use s3_metrics::spec::{Axis, Curve, Shown, Spec};
//! let shown = Shown::LayerCurves {
//!     x: Axis::whole("epoch"),
//!     y: Axis::percent("WSVR").between(0.0, 0.5),
//!     curves: vec![Curve::new("conv1", vec![(10.0, 0.25)])],
//! };
//! let spec = Spec { file: "twn".to_owned(), title: String::new(), size: None, shown };
//! let json = concat!(
//!     r#"{"file":"twn","kind":"layer_curves","#,
//!     r#""x":{"label":"epoch","scale":"whole"},"#,
//!     r#""y":{"label":"WSVR","scale":"percent","ends":[0.0,0.5]},"#,
//!     r#""curves":[{"name":"conv1","points":[[10.0,0.25]]}]}"#,
//! );
//! assert_eq!(serde_json::to_string(&spec)?, json);
//! # Ok::<(), serde_json::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::density::Density;

/// What an axis shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Without the unit that [`Scale::Percent`] adds.
    pub label: String,
    /// How its numbers are shown.
    pub scale: Scale,
    /// In the unit of the data, where the data should not choose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<(f64, f64)>,
    /// Dashed lines, in the unit of the data; of the x axis alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<f64>,
}

/// How an axis shows its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As they are.
    Plain,
    /// Whole numbers: no tick stands between two.
    Whole,
    /// Shares of 1, times 100.
    Percent,
    /// Positive numbers by their logarithms.
    Log,
}

impl Axis {
    /// Numbers as they are; put the unit in the label, as in `size (KiB)`.
    pub fn plain(label: &str) -> Self {
        Self::of(label, Scale::Plain)
    }

    /// Whole numbers, as epochs are: no tick stands between two.
    pub fn whole(label: &str) -> Self {
        Self::of(label, Scale::Whole)
    }

    /// Shares, shown times 100; the label gets ` (%)`.
    pub fn percent(label: &str) -> Self {
        Self::of(label, Scale::Percent)
    }

    /// Positive numbers on a logarithmic axis, for the x axis of labelled points alone.
    pub fn log(label: &str) -> Self {
        Self::of(label, Scale::Log)
    }

    /// From `low` to `high`, as plots side by side need it; in the unit of the data, of
    /// [`Axis::percent`] as shares. Lines are cut off at the ends, and points outside are left out.
    /// Data more than 1000 times as far out as the axis is long is refused.
    #[must_use]
    pub fn between(self, low: f64, high: f64) -> Self {
        let ends = Some((low, high));
        Self { ends, ..self }
    }

    /// With a dashed line across the plot at each of these, of the x axis alone; in the unit of
    /// the data.
    #[must_use]
    pub fn marked(self, marks: &[f64]) -> Self {
        let marks = marks.to_vec();
        Self { marks, ..self }
    }

    fn of(label: &str, scale: Scale) -> Self {
        Self {
            label: label.to_owned(),
            scale,
            ends: None,
            marks: Vec::new(),
        }
    }
}

/// A named line: points `(x, y)` in ascending x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A named line.
    pub fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            points,
        }
    }
}

/// The curves of one configuration, one a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    /// In the legend.
    pub name: String,
    /// Points `(x, y)`, of any order, each x once a run.
    pub seeds: Vec<Vec<(f64, f64)>>,
}

impl Runs {
    /// A named set of runs.
    pub fn new(name: &str, seeds: Vec<Vec<(f64, f64)>>) -> Self {
        Self {
            name: name.to_owned(),
            seeds,
        }
    }
}

/// A named density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// In the legend.
    pub name: String,
    /// As records have it.
    pub density: Density,
}

/// A named point of a group (a method, a number of bits): groups have a colour each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Beside it.
    pub name: String,
    /// In the legend.
    pub group: String,
    /// Where it is.
    pub x: f64,
    /// Where it is.
    pub y: f64,
}

impl Point {
    /// A point of a group.
    pub fn new(name: &str, group: &str, x: f64, y: f64) -> Self {
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            x,
            y,
        }
    }
}

/// A named value of a group, and the ends of its line, as of several seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Valued {
    /// Left of it.
    pub name: String,
    /// Groups have a colour each.
    pub group: String,
    /// The mark.
    pub value: f64,
    /// The line.
    pub ends: Option<(f64, f64)>,
}

impl Valued {
    /// A value of a group, and the ends of its line.
    pub fn new(name: &str, group: &str, value: f64, ends: Option<(f64, f64)>) -> Self {
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            value,
            ends,
        }
    }
}

/// A bar: its name and the sizes of its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Below it.
    pub name: String,
    /// From the lowest to the highest, none negative.
    pub parts: Vec<f64>,
}

impl Bar {
    /// A named bar.
    pub fn new(name: &str, parts: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            parts,
        }
    }
}

/// A plot and the file that it is drawn into.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spec {
    /// Its name without an ending.
    pub file: String,
    /// May be empty: a page has its own caption.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Width and height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<(u32, u32)>,
    /// What it shows.
    #[serde(flatten)]
    pub shown: Shown,
}

/// What a plot shows: the fields of each kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the words of the description")]
pub enum Shown {
    /// One curve a layer, from the front of the network to its end.
    LayerCurves {
        x: Axis,
        y: Axis,
        curves: Vec<Curve>,
    },
    /// A mean curve for each set of runs, with the band of its seeds.
    SeedBands { x: Axis, y: Axis, runs: Vec<Runs> },
    /// Density polygons.
    Densities {
        x: Axis,
        y: Axis,
        densities: Vec<Named>,
    },
    /// Named points.
    LabelledPoints {
        x: Axis,
        y: Axis,
        points: Vec<Point>,
    },
    /// Named values, in this order from above.
    ValueRows { x: Axis, rows: Vec<Valued> },
    /// Each snapshot's epoch, levels and the number of weights on them.
    LevelOccupancy { levels: Vec<(u32, Vec<(f32, u64)>)> },
    /// Bars side by side, and the names of their parts.
    StackedBars {
        x: Axis,
        y: Axis,
        parts: Vec<String>,
        bars: Vec<Bar>,
    },
}
