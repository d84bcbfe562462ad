//! A command that is given another thing than it wants says what it was given.

mod common;

use common::{Bench, refusal, succeed};

#[test]
fn what_was_given_is_named_where_a_command_wants_something_else() {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1", "--no-report"]));
    let run = bench.run("runs").display().to_string();
    succeed(&mut bench.s3(&[
        "export",
        &run,
        "-o",
        "net.safetensors",
        "--activations",
        "f32",
    ]));
    let checkpoint = format!("{run}/last.safetensors");
    std::fs::write(bench.path("text"), "text").expect("a file");
    let of_run = format!("a checkpoint of the run {run}, ");
    for verb in ["report", "compare", "logs", "fidelity", "export"] {
        let cases = [
            (&*checkpoint, &*of_run),
            (
                "net.safetensors",
                "a packed network, not a run's folder (`eval` and",
            ),
            ("tiny.toml", "an experiment's file, not a run's folder"),
            ("text", "a file, not a run's folder"),
            ("gone", "no such folder"),
            (".", "not a run's folder (no config.toml in it)"),
        ];
        for (given, said) in cases {
            let mut args = vec![verb, given];
            match verb {
                "export" => args.extend(["-o", "x.onnx"]),
                "logs" => args.extend(["--csv", "-o", "logs"]),
                _ => {}
            }
            let line = refusal(&mut bench.s3(&args));
            assert!(line.contains(&format!("{given}: {said}")), "{verb}: {line}");
        }
    }
    for verb in ["train", "shards", "summary"] {
        let of_run = format!("a checkpoint of the run {run}, no experiment's file");
        let cases = [
            (&*checkpoint, &*of_run),
            ("net.safetensors", "a packed network, no experiment's file"),
            ("gone", "no such file, and no folder xtask/experiments here"),
        ];
        for (given, said) in cases {
            let line = refusal(&mut bench.s3(&[verb, given]));
            assert!(line.contains(&format!("{given}: {said}")), "{verb}: {line}");
        }
    }
    let settings = format!("{run}: a run's folder, no experiment's file; its settings are in ");
    for verb in ["train", "shards"] {
        let line = refusal(&mut bench.s3(&[verb, &run]));
        assert!(line.contains(&settings), "{verb}: {line}");
    }
    succeed(&mut bench.s3(&["summary", &run]));
}
