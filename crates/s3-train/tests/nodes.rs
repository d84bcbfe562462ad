//! Networks that a config lists node by node: what is refused of them before any work, and what is
//! said of them.

mod common;

use common::{Bench, TINY, refusal, succeed};

/// `tiny.toml` with this list of nodes.
fn bench(nodes: &str) -> Bench {
    let bench = Bench::new();
    let model = format!(r#"model = {{ name = "nodes", nodes = [{nodes}] }}"#);
    let text = TINY.replace(r#"model = { name = "resnet8" }"#, &model);
    assert_ne!(text, TINY);
    std::fs::write(bench.path("tiny.toml"), text).expect("tiny.toml");
    bench
}

/// A network of the layers `nodes` on four pixels a side, a mean and a classifier.
fn network(nodes: &str) -> String {
    format!(
        r#"{{ name = "small", op = "max_pool", kernel = 8 }}, {nodes},
        {{ name = "p", op = "mean_pool" }}, {{ name = "fc", op = "linear", role = "last" }}"#
    )
}

fn conv(name: &str, more: &str) -> String {
    format!(r#"{{ name = "{name}", op = "conv", channels = 4, kernel = 3{more} }}"#)
}

#[test]
fn nodes_whose_tensors_would_meet_are_refused_before_any_work() {
    let first = r#", role = "first""#;
    for (nodes, said) in [
        // Both in full precision: the latent of the one would have the key of the other's weight.
        (
            format!("{}, {}", conv("a", first), conv("a.weight", first)),
            "`a` and `a.weight` would have the tensor a.weight.weight below the tensor a.weight: \
             give `a.weight` another name",
        ),
        (
            format!("{}, {}", conv("b", ""), conv("snapshot/b", "")),
            "`snapshot/b`: its tensor snapshot/b.weight has a `/`, which a checkpoint has in its \
             own: give `snapshot/b` another name",
        ),
        (
            format!(
                "{}, {}",
                conv("b", r#", norm = "n""#),
                conv("c", r#", norm = "n""#)
            ),
            "`b` and `c` would have the tensor n.weight twice: give the `norm` of `c` another name",
        ),
        (
            conv("b", r#", norm = "fc""#),
            "`b` and `fc` would have the tensor fc.weight twice: give the `norm` of `b` another \
             name",
        ),
    ] {
        let bench = bench(&network(&nodes));
        let expected = format!("error: tiny.toml: model.name: nodes: {said}");
        assert_eq!(refusal(&mut bench.s3(&["summary", "tiny.toml"])), expected);
        for more in [&[][..], &["--dry-run"]] {
            assert_eq!(refusal(&mut bench.train("a", more)), expected);
        }
        assert!(!bench.path("a").exists(), "a refused run left a folder");
    }
}

#[test]
fn that_a_network_has_no_8_bit_form_is_said_before_it_is_trained() {
    let scores = conv("c", "").replace("channels = 4", "channels = 10");
    let said = "exported in f32 alone: layer p: mean_pool: the scores of an integer network are \
                what a layer makes";
    let of_means = bench(&format!(r#"{scores}, {{ name = "p", op = "mean_pool" }}"#));
    let of_layer = bench(&network(&scores));
    for (bench, times) in [(of_means, 1), (of_layer, 0)] {
        for command in [
            &mut bench.s3(&["summary", "tiny.toml"]),
            &mut bench.train("a", &["--dry-run"]),
            &mut bench.train("a", &["--set", "epochs=1", "--no-report"]),
        ] {
            let out = command.output().expect("s3 starts");
            let text = [out.stdout, out.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(out.status.success(), "{text}");
            assert_eq!(text.matches(said).count(), times, "{text}");
            assert_eq!(text.matches("f32 alone").count(), times, "{text}");
        }
    }
}

#[test]
fn a_summary_says_what_a_step_holds() {
    let bench = bench(&network(&conv("c", "")));
    let text = succeed(&mut bench.s3(&["summary", "tiny.toml"]));
    // 32 images of 3072 numbers, 48 of the pool, 64 of the convolution, 4 means, 10 scores.
    let step = "step: the values of 32 images take 409.3 kB, 399.4 kB of them at once what one \
                node reads and makes";
    assert!(text.contains(step), "{text}");
}

#[test]
fn a_packed_network_is_evaluated_on_as_many_images_as_its_run() {
    let bench = bench(&network(&conv("c", "")));
    succeed(&mut bench.train("runs", &["--set", "epochs=1", "--no-report"]));
    let run = bench.run("runs").display().to_string();
    let export = [
        "export",
        &run,
        "-o",
        "f32.safetensors",
        "--activations",
        "f32",
    ];
    succeed(&mut bench.s3(&export));
    let answers = |args: &[&str]| -> serde_json::Value {
        let text = succeed(bench.s3(args).arg("--json"));
        serde_json::from_str(&text).expect("JSON")
    };
    let own = answers(&["eval", &run]);
    let file = answers(&["eval", "f32.safetensors", "--test-limit", "50"]);
    assert_eq!(own["images"], 50);
    assert_eq!(own["images"], file["images"]);
    assert_eq!(own["top1"], file["top1"]);
    let said = refusal(&mut bench.s3(&["eval", &run, "--test-limit", "50"]));
    assert_eq!(
        said,
        "error: --test-limit: a run is evaluated on its own data set, as its config says"
    );
}

#[test]
fn runs_of_nodes_are_told_apart_by_the_nodes_that_differ() {
    let of = |nodes: &str| bench(&network(nodes));
    let bench = of(&conv("rect", ""));
    let short = ["--set", "epochs=1", "--no-report"];
    succeed(&mut bench.train("narrow", &short));
    let wide = std::fs::read_to_string(bench.path("tiny.toml")).expect("tiny.toml");
    std::fs::write(
        bench.path("tiny.toml"),
        wide.replace("channels = 4", "channels = 6"),
    )
    .expect("tiny.toml");
    succeed(&mut bench.train("wide", &short));
    let runs = ["narrow", "wide"].map(|out| bench.run(out).display().to_string());
    let table = succeed(&mut bench.s3(&["compare", &runs[0], &runs[1]]));
    for setting in [
        "| model.nodes.rect.channels=4 ",
        "| model.nodes.rect.channels=6 ",
    ] {
        assert_eq!(table.matches(setting).count(), 1, "{table}");
    }
}
