//! The page of one run, or of several: what stands on it, in which order.

use super::answers::Answers;
use super::groups;
use super::html::{Drawn, Html};
use super::plots::{self, plot};
use super::run::{Run, groups_of};
use s3_metrics::cost::ModelCost;
use s3_metrics::cost::energy::EnergyModel;
use s3_metrics::plot::{Axis, Bar, Labels, Point, labelled_points, stacked_bars};

/// A page, and the plots on it in their order.
#[derive(Debug)]
pub struct Page {
    /// Self-contained.
    pub html: String,
    /// Without the small bitmaps of test images.
    pub plots: Vec<Drawn>,
}

/// The page of one run, or of several beside each other; `answers` belong to the runs by their
/// order and may be absent.
pub fn page(runs: &[Run], answers: &[Option<Answers>]) -> Page {
    let title = match runs {
        [one] => one.name.clone(),
        many => format!("{} runs", many.len()),
    };
    let mut html = Html::new(&title);
    if runs.len() > 1 {
        comparison(&mut html, runs);
    }
    for (i, run) in runs.iter().enumerate() {
        one(
            &mut html,
            run,
            answers.get(i).and_then(Option::as_ref),
            runs.len() > 1,
        );
    }
    let (html, plots) = html.finish();
    Page { html, plots }
}

fn comparison(html: &mut Html, runs: &[Run]) {
    html.heading("Side by side");
    let groups = groups_of(runs);
    let header: Vec<&str> = ["run", "differs in"]
        .into_iter()
        .chain(runs[0].facts().iter().map(|f| f.0).collect::<Vec<_>>())
        .collect();
    let rows = runs.iter().enumerate().map(|(i, run)| {
        let facts = run.facts().into_iter().map(|f| f.1);
        [run.name.clone(), groups.differs(i)]
            .into_iter()
            .chain(facts)
            .collect()
    });
    html.table(&header, rows.collect(), false);
    html.figures(|f| {
        for (what, caption) in plots::OVER_EPOCHS {
            f.push(
                caption,
                plot(|style| plots::over_epochs(runs, &groups, *what, style)),
            );
        }
        // A method's name, where that says it all.
        let methods: Vec<String> = runs.iter().map(|r| groups::method(&r.config)).collect();
        let name = |i: usize| {
            let same = |j: usize| methods[i] != methods[j] || groups.group(i) == groups.group(j);
            match (0..runs.len()).all(same) {
                true => methods[i].clone(),
                false => groups.label(i),
            }
        };
        let points: Vec<Point> = runs
            .iter()
            .enumerate()
            .filter_map(|(i, run)| {
                let bytes = run.cost.as_ref()?.total.bytes as f64 / 1024.0;
                Some(Point::new(&name(i), &name(i), bytes, run.top1()?))
            })
            .collect();
        let labels = Labels::new(
            "",
            Axis::log("packed network (KiB)"),
            Axis::percent("test top-1"),
        );
        f.push(
            "Size against accuracy, after the last epoch that is there",
            plot(|style| labelled_points(&points, &labels, style)),
        );
    });
}

fn one(html: &mut Html, run: &Run, answers: Option<&Answers>, among_others: bool) {
    if among_others {
        html.heading(&run.name);
    }
    for sentence in &run.missing {
        html.note(sentence);
    }
    if !among_others {
        html.facts(&run.facts());
    }
    html.subheading("Training");
    html.figures(|f| {
        let this = std::slice::from_ref(run);
        let groups = groups_of(this);
        for (what, caption) in plots::OVER_EPOCHS {
            f.push(
                caption,
                plot(|style| plots::over_epochs(this, &groups, *what, style)),
            );
        }
    });
    html.subheading("Weight dynamics");
    html.paragraph(
        "One curve a layer, from the front of the network (faint) to its end. WSVR: the share of \
         weights whose sign is the opposite one of the snapshot before. WLVR: the share of zeros \
         of a discrete layer, of weights below 0.03 of the largest in a continuous one.",
    );
    for warning in run.warnings() {
        html.note(&warning);
    }
    html.figures(|f| {
        for (measure, caption) in plots::MEASURES {
            f.push(
                caption,
                plot(|style| plots::measure(&run.dynamics, *measure, style)),
            );
        }
        for (caption, svg) in plots::latents(&run.dynamics) {
            f.push(&caption, svg);
        }
    });
    html.subheading("Layers");
    match &run.cost {
        Some(cost) => layers(html, cost),
        None => html.note("model.json is not there"),
    }
    if let Some(answers) = answers {
        answers.show(html);
    }
    html.subheading("Settings");
    match run.config.to_toml() {
        Ok(text) => html.details("config.toml", &text),
        Err(e) => html.note(&e.to_string()),
    }
    if let Some(manifest) = &run.manifest {
        let text = serde_json::to_string_pretty(manifest).unwrap_or_default();
        html.details("manifest.json", &text);
    }
}

fn layers(html: &mut Html, cost: &ModelCost) {
    let header = [
        "layer",
        "weights",
        "bits",
        "operation",
        "multiplications",
        "additions",
        "shifts",
        "sign flips",
        "bytes",
        "zeros",
    ];
    let row = |l: &s3_metrics::cost::CountedLayer| {
        let (layer, counts) = (&l.layer, &l.counts);
        let weights: u64 = layer.weight_shape.iter().product();
        let zeros = layer.nonzero.map_or("-".into(), |n| {
            format!("{:.1} %", 100.0 * (1.0 - n as f64 / weights.max(1) as f64))
        });
        vec![
            layer.name.clone(),
            layer
                .weight_shape
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" x "),
            layer.bits.map_or("32".into(), |b| b.to_string()),
            layer.operation.words().to_owned(),
            counts.multiplications.to_string(),
            counts.additions.to_string(),
            counts.shifts.to_string(),
            counts.sign_flips.to_string(),
            counts.bytes.to_string(),
            zeros,
        ]
    };
    let mut rows: Vec<Vec<String>> = cost.layers.iter().map(row).collect();
    let t = &cost.total;
    let mut all = vec![
        "all".to_string(),
        t.parameters.to_string(),
        String::new(),
        String::new(),
    ];
    all.extend(
        [
            t.multiplications,
            t.additions,
            t.shifts,
            t.sign_flips,
            t.bytes,
        ]
        .map(|v| v.to_string()),
    );
    all.push(
        cost.sparsity
            .map_or("-".into(), |s| format!("{:.1} %", 100.0 * s)),
    );
    rows.push(all);
    html.paragraph("Operations and bytes of one inference of one image.");
    html.table(&header, rows, true);
    // In floats alone there is nothing to set beside them.
    if cost.layers.iter().all(|l| l.layer.bits.is_none()) {
        return;
    }
    let energy = cost.energy(&EnergyModel::default());
    let bars: Vec<Bar> = energy
        .versions
        .iter()
        .map(|v| {
            let parts = [
                v.energy.operations_pj,
                v.energy.weights_pj,
                v.energy.activations_pj,
            ];
            Bar::new(&v.name, parts.map(|pj| pj / 1e6).to_vec())
        })
        .collect();
    let labels = Labels::new(
        "",
        Axis::plain("version of the network"),
        Axis::plain("energy (µJ)"),
    );
    html.figures(|f| {
        f.push(
            "Energy of one inference of one image, a model and not a measurement; shift is this \
             network as it is, with activations of 8 bits",
            plot(|style| {
                stacked_bars(
                    &bars,
                    &["operations", "weights", "activations"],
                    &labels,
                    style,
                )
            }),
        );
    });
    html.details(
        "Energy of one inference: a model, not a measurement",
        &energy.table(),
    );
}
