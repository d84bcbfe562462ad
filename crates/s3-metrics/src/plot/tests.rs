//! What every plot has in common: sound XML, equal bytes, errors in place of empty plots.

use super::*;
use crate::density::Density;
use proptest::prelude::*;

fn labels() -> Labels {
    Labels::new("a title", Axis::plain("epoch"), Axis::percent("accuracy"))
}

/// One of each kind, from two numbers.
fn every_kind(a: f64, b: f64, name: &str, style: &Style) -> Vec<Result<Plot, PlotError>> {
    let points = || vec![(a, b), (a + 1.0, b / 2.0), (a + 2.0, b)];
    let density = Density::over(&[0.25, 0.5], 0.0, 1.0, 4).expect("bins");
    let snapshots = [
        (0, vec![(a as f32, 3), (0.0, 1)]),
        (1, vec![(a as f32, 1), (b as f32, 2)]),
    ];
    let labels = Labels::new(name, Axis::plain(name), Axis::percent(name));
    vec![
        layer_curves(&[Curve::new(name, points())], &labels, style),
        seed_bands(&[Runs::new(name, vec![points(), points()])], &labels, style),
        value_rows(&[Valued::new(name, name, b, Some((a, b)))], &labels, style),
        densities(&[(name, &density)], &labels, style),
        level_occupancy(&snapshots, name, style),
        confusion(&[name, "b"], &[1, 2, 3, 4], name, style),
        filters(&[a as f32, b as f32, 0.0], [1, 3, 1, 1], name, style),
        labelled_points(
            &[Point::new(name, name, a, b), Point::new("b", "c", b, a)],
            &labels,
            style,
        ),
        stacked_bars(
            &[Bar::new(name, vec![a.abs(), b.abs() + 1.0])],
            &[name, "b"],
            &labels,
            style,
        ),
    ]
}

/// The texts of [`every_kind`].
fn every_svg(a: f64, b: f64, name: &str, style: &Style) -> Vec<Result<String, PlotError>> {
    let all = every_kind(a, b, name, style).into_iter();
    all.map(|plot| Ok(plot?.to_svg())).collect()
}

#[test]
fn equal_data_gives_equal_bytes_whatever_was_drawn_before() {
    let style = Style::new(Theme::Dark);
    let first = every_svg(1.0, 2.0, "x", &style);
    assert!(first.iter().all(Result::is_ok), "{first:?}");
    assert_eq!(first, every_svg(1.0, 2.0, "x", &style));
    assert!(first.iter().flatten().all(|svg| !svg.contains("kuva-clip")));
}

#[test]
fn names_are_escaped_and_hold_no_control_characters() {
    for name in [
        "<script>&\"'",
        "a\u{0}\u{1b}[31m\u{fffe}",
        "kuva-clip-0\")",
        "",
    ] {
        for svg in every_svg(1.0, 2.0, name, &Style::default()) {
            let svg = svg.expect("a picture");
            assert!(!svg.contains("<script") && !svg.chars().any(|c| c.is_control()));
            assert_eq!(svg.matches('<').count(), svg.matches('>').count(), "{svg}");
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let nan = [Curve::new("fc", vec![(0.0, 0.5), (1.0, f64::NAN)])];
    let error = layer_curves(&nan, &labels(), &Style::default()).expect_err("NaN");
    let text = "y of fc, number 1: expected a finite number of at most 1e12 in size, got NaN";
    assert_eq!(error.to_string(), text);
    for bad in [f64::NAN, f64::INFINITY, 1e30] {
        let all = every_kind(bad, 1.0, "x", &Style::default());
        // The density and the confusion matrix do not hold the number.
        assert_eq!(all.iter().filter(|svg| svg.is_err()).count(), 7, "{bad}");
    }
}

#[test]
fn nothing_to_draw_is_an_error_that_says_what_is_missing() {
    let style = Style::default();
    let empty = Density::over(&[], 0.0, 1.0, 4).expect("bins");
    let text = |plot: Result<Plot, PlotError>| plot.expect_err("nothing").to_string();
    let no_point = [Curve::new("fc", vec![])];
    let no_run = [Runs::new("S3", vec![])];
    let no_weight = [(0, vec![(1.0, 1)]), (7, vec![])];
    for (plot, what) in [
        (layer_curves(&[], &labels(), &style), "layer"),
        (layer_curves(&no_point, &labels(), &style), "point of fc"),
        (seed_bands(&[], &labels(), &style), "set of runs"),
        (seed_bands(&no_run, &labels(), &style), "run of S3"),
        (densities(&[], &labels(), &style), "density"),
        (
            densities(&[("fc", &empty)], &labels(), &style),
            "point of fc",
        ),
        (
            level_occupancy(&[], "", &style),
            "second snapshot of the levels",
        ),
        (
            level_occupancy(&no_weight, "", &style),
            "weight on a level at epoch 7",
        ),
        (confusion(&[], &[], "", &style), "class"),
        (
            confusion(&["a"], &[0], "", &style),
            "answer in the confusion matrix",
        ),
        (
            filters(&[], [0, 3, 1, 1], "", &style),
            "weight in filters of shape [0, 3, 1, 1]",
        ),
        (labelled_points(&[], &labels(), &style), "point"),
        (stacked_bars(&[], &["a"], &labels(), &style), "bar"),
        (
            stacked_bars(&[Bar::new("a", vec![0.0])], &["b"], &labels(), &style),
            "part of a bar above 0",
        ),
    ] {
        assert_eq!(text(plot), format!("nothing to draw: no {what}"));
    }
}

#[test]
fn lengths_that_disagree_are_refused() {
    let style = Style::default();
    let error = confusion(&["a", "b"], &[1, 2, 3], "", &style).expect_err("3 is not 4");
    assert_eq!(error.to_string(), "counts of 2 classes: expected 4, got 3");
    assert!(filters(&[1.0; 4], [1, 3, 1, 1], "", &style).is_err());
    assert!(filters(&[1.0; 4], [usize::MAX, 2, 2, 2], "", &style).is_err());
    let labels = Labels::new("", Axis::log("KiB"), Axis::plain("y"));
    let zero = [Point::new("a", "g", 0.0, 1.0)];
    let error = labelled_points(&zero, &labels, &style).expect_err("log of 0");
    assert!(error.to_string().contains("a positive number"), "{error}");
    let bars = [Bar::new("a", vec![1.0, -1.0])];
    let error = stacked_bars(&bars, &["b", "c"], &labels, &style).expect_err("-1");
    assert_eq!(
        error.to_string(),
        "parts of a, number 1: expected a number that is not negative, got -1"
    );
    assert!(stacked_bars(&bars, &["b"], &labels, &style).is_err());
}

#[test]
fn axes_end_where_they_are_told_to() {
    let curves = [Curve::new("fc", vec![(0.0, 0.01), (1.0, 0.02)])];
    let draw = |y: Axis| {
        let labels = Labels::new("", Axis::plain("epoch"), y);
        layer_curves(&curves, &labels, &Style::default()).map(|plot| plot.to_svg())
    };
    let (free, tied) = (
        Axis::percent("WSVR"),
        Axis::percent("WSVR").between(0.0, 0.4),
    );
    let (free, tied) = (draw(free).expect("free"), draw(tied).expect("tied"));
    assert!(!free.contains(">30<") && tied.contains(">30<"), "{tied}");
    for (low, high, reason) in [
        (
            0.4,
            0.4,
            "number 1: expected a number above the lower end, got 0.4",
        ),
        (
            0.0,
            1e-9,
            "y of fc, number 0: expected a number within 1000 lengths of the axis, got 1",
        ),
        (f64::NAN, 1.0, "number 0: expected a finite number"),
    ] {
        let error = draw(Axis::percent("WSVR").between(low, high)).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
    }
    // A point outside has neither mark nor name.
    let points = [
        Point::new("in", "g", 10.0, 0.5),
        Point::new("out", "g", 10.0, 0.9),
    ];
    let named = |x: Axis| {
        let labels = Labels::new("", x, Axis::percent("top-1").between(0.4, 0.6));
        labelled_points(&points, &labels, &Style::default()).map(|plot| plot.to_svg())
    };
    let svg = named(Axis::log("KiB").between(5.0, 20.0)).expect("a picture");
    assert!(svg.contains(">in<") && !svg.contains(">out<"), "{svg}");
    assert!(named(Axis::log("KiB").between(20.0, 30.0)).is_err());
    assert!(named(Axis::log("KiB").between(0.0, 30.0)).is_err());
    // Bars stand on 0, and their names are no numbers.
    let bars = |x: Axis, y: Axis| {
        let bars = [Bar::new("one", vec![1.0]), Bar::new("two", vec![2.0])];
        stacked_bars(&bars, &["part"], &Labels::new("", x, y), &Style::default())
    };
    assert!(bars(Axis::plain("x"), Axis::plain("y").between(1.0, 3.0)).is_err());
    let y = || Axis::plain("y").between(0.0, 3.0);
    let odd = bars(Axis::percent("x").between(0.0, 1.0), y()).expect("bars");
    let even = bars(Axis::plain("x (%)"), y()).expect("bars");
    assert_eq!(odd.to_svg(), even.to_svg());
}

#[test]
fn epochs_have_whole_ticks_and_marks_stand_where_they_are_told_to() {
    let curves = [Curve::new("fc", vec![(1.0, 0.1), (4.0, 0.2)])];
    let draw = |x: Axis| {
        let labels = Labels::new("", x, Axis::percent("y"));
        layer_curves(&curves, &labels, &Style::default()).map(|plot| plot.to_svg())
    };
    let plain = draw(Axis::plain("epoch")).expect("a picture");
    let whole = draw(Axis::whole("epoch")).expect("a picture");
    assert!(
        plain.contains(">1.5<") || plain.contains(">2.5<"),
        "{plain}"
    );
    assert!(
        !whole.contains(">1.5<") && !whole.contains(">2.5<"),
        "{whole}"
    );
    assert!(whole.contains(">2<") && whole.contains(">3<"), "{whole}");
    let dashes = |svg: &str| svg.matches("stroke-dasharray=\"4 3\"").count();
    let marked = draw(Axis::whole("epoch").marked(&[2.0, 3.0])).expect("a picture");
    assert_eq!((dashes(&whole), dashes(&marked)), (0, 2));
    let error = draw(Axis::whole("epoch").marked(&[f64::NAN])).expect_err("no number");
    assert!(
        error
            .to_string()
            .starts_with("marks of the x axis, number 0"),
        "{error}"
    );
}

#[test]
fn a_row_stands_in_its_place_and_outside_of_the_axis_it_is_left_out() {
    let rows = [
        Valued::new("fp32", "multiply", 0.81, None),
        Valued::new("s3", "shift", 0.8, Some((0.79, 0.82))),
        Valued::new("inq", "flip", 0.38, None),
    ];
    let draw = |x: Axis| {
        let labels = Labels::new("", x, Axis::plain(""));
        value_rows(&rows, &labels, &Style::default()).map(|plot| plot.to_svg())
    };
    let svg = draw(Axis::percent("top-1").between(0.7, 0.9)).expect("a picture");
    // How far below the upper edge a name stands.
    let at = |name: &str| -> Option<f64> {
        let before = svg.split_once(&format!(">{name}<"))?.0;
        before
            .rsplit_once(" y=\"")?
            .1
            .split('"')
            .next()?
            .parse()
            .ok()
    };
    assert!(at("fp32").expect("fp32") < at("s3").expect("s3"), "{svg}");
    assert_eq!((at("inq"), at("flip")), (None, None));
    assert!(draw(Axis::percent("top-1").between(0.9, 0.95)).is_err());
}

#[test]
fn every_plot_is_a_png_of_its_size() {
    for plot in every_kind(1.0, 2.0, "x", &Style::default()) {
        let plot = plot.expect("a picture");
        let png = plot.to_png(2.0).expect("a PNG");
        assert_eq!(png, plot.to_png(2.0).expect("a PNG"));
        // Signature, then the header's length, name, width and height.
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(Ok([side(16), side(20)]), plot.pixels(2.0));
        assert_eq!(side(16), 720);
        for scale in [0.0, -1.0, 17.0, f32::NAN] {
            let error = plot.to_png(scale).expect_err("no scale").to_string();
            assert!(error.contains("expected 0.25 to 16"), "{error}");
        }
    }
    let large = every_kind(1.0, 2.0, "x", &Style::default().sized(4096, 4096)).remove(0);
    let error = large
        .expect("a picture")
        .to_png(16.0)
        .expect_err("too large");
    let reason = "no PNG: expected at most 64 million pixels, got 65536 by";
    assert!(error.to_string().starts_with(reason), "{error}");
}

#[test]
fn a_band_runs_from_the_least_to_the_largest_seed() {
    // One point, drawn twice as high in the second run: the band's path holds both ends.
    let runs = |second: f64| {
        let seeds = vec![
            vec![(0.0, 0.1), (1.0, 0.2)],
            vec![(1.0, second), (0.0, 0.1)],
        ];
        let drawn = seed_bands(&[Runs::new("S3", seeds)], &labels(), &Style::default());
        drawn.expect("a picture").to_svg()
    };
    assert_ne!(runs(0.2), runs(0.4));
    assert!(runs(0.4).contains("S3 (n = 2)"));
}

#[test]
fn the_plot_scales_and_says_what_it_is() {
    let style = Style::default().sized(1, 10_000);
    let curves = [Curve::new("fc", vec![(0.0, 0.5), (1.0, 0.25)])];
    let svg = layer_curves(&curves, &labels(), &style)
        .expect("a picture")
        .to_svg();
    let start = "<svg viewBox=\"0 0 240 ";
    assert!(svg.starts_with(start), "{}", &svg[..80]);
    assert!(svg.contains("role=\"img\" aria-label=\"a title\""));
}

#[test]
fn the_largest_the_smallest_and_equal_numbers_give_a_plot() {
    let numbers = [0.0, 1.0, -1.0, 1e-12, 1e9, 9e9, -9e9, f64::MIN_POSITIVE];
    for a in numbers {
        for b in [a, -a, 0.0, a + 1.0] {
            for svg in every_svg(a, b, "x", &Style::default()) {
                let svg = svg.expect("a picture");
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf"),
                    "{a} {b}: {svg}"
                );
                assert!(svg.len() < 40_000, "{a} {b}: {} bytes", svg.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_finite_numbers_give_a_plot_without_nan(
        a in prop_oneof![Just(0.0), -1e9..1e9, -1e-9..1e-9],
        b in prop_oneof![Just(0.0), -1e9..1e9, -1e-9..1e-9],
    ) {
        for svg in every_svg(a, b, "x", &Style::default()) {
            let svg = svg.expect("a picture");
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}
