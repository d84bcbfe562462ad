//! A program with a method, an architecture and a data set of its own, `examples/own.rs`, has the
//! whole command.

mod common;

use common::{Bench, refusal, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;

const STRIPES: &str = r#"
    epochs = 2
    batch_size = 32
    data = { name = "stripes", test_limit = 60 }
    model = { name = "ladder", steps = 2 }
    method = { name = "signs" }
    optimizer = { name = "sgd", momentum = 0.9 }
    lr = { schedule = "constant", start = 0.05 }
"#;

/// The example, which the tests' build has made beside the program.
fn own() -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_s3")).parent();
    let own = programs.expect("a folder").join("examples/own");
    assert!(
        own.is_file(),
        "`cargo test --workspace` builds {}",
        own.display()
    );
    own
}

fn command(bench: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(own());
    command.current_dir(bench.path("")).args(args);
    command
}

#[test]
fn a_program_of_ones_own_trains_reports_exports_and_evaluates() {
    let bench = Bench::new();
    std::fs::write(bench.path("stripes.toml"), STRIPES).expect("stripes.toml");
    succeed(&mut command(&bench, &["train", "stripes.toml"]));
    let run = bench.run("runs").display().to_string();
    let text = std::fs::read_to_string(format!("{run}/config.toml")).expect("config.toml");
    assert!(
        text.contains("name = \"stripes\"") && text.contains("steps = 2"),
        "{text}"
    );
    assert!(Path::new(&run).join("report.html").is_file());

    let said = succeed(&mut command(&bench, &["eval", &run]));
    // Stripes are easy.
    assert!(said.contains("100.00 %"), "{said}");
    for activations in ["u8", "f32"] {
        let export = [
            "export",
            &run,
            "-o",
            "net.safetensors",
            "--activations",
            activations,
        ];
        succeed(&mut command(&bench, &export));
        let said = succeed(&mut command(
            &bench,
            &["eval", "net.safetensors", "--data", "stripes"],
        ));
        assert!(said.contains("100.00 %"), "{activations}: {said}");
    }
    let said = succeed(&mut command(&bench, &["summary", "stripes.toml"]));
    assert!(said.contains("1.conv2"), "{said}");
    let said = succeed(&mut command(&bench, &["list", "--experiments", "."]));
    assert!(
        said.contains("signs times a power of two a filter"),
        "{said}"
    );
    let said = succeed(&mut command(&bench, &["runs"]));
    assert!(said.contains("finished") && said.contains("2/2"), "{said}");
}

#[test]
fn what_a_program_has_is_in_its_messages_and_in_no_others() {
    let bench = Bench::new();
    std::fs::write(bench.path("stripes.toml"), STRIPES).expect("stripes.toml");
    let said = refusal(&mut bench.s3(&["train", "stripes.toml"]));
    assert!(said.contains("unknown data set `stripes`"), "{said}");
    for (set, expected) in [
        ("model.steps=0", "model.steps: expected 1 to 9, got 0"),
        ("method={name=\"sign\"}", "apot, shiftcnn, signs"),
        ("model={name=\"lader\"}", "nodes, ladder"),
        ("data={name=\"stripe\"}", "arrays, stripes"),
        (
            "data={name=\"stripes\", size=9}",
            "size is for pictures in files",
        ),
    ] {
        let said = refusal(&mut command(
            &bench,
            &["train", "stripes.toml", "--set", set],
        ));
        assert!(said.contains(expected), "{set}: {said}");
    }
}
