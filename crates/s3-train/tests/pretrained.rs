//! A run may start from a full-precision one.

mod common;

use common::{Bench, refusal, succeed};

#[test]
fn a_method_starts_from_a_float_run_and_wrong_files_are_named() {
    let bench = Bench::new();
    let float = ["--set", "method={name=\"fp32\"}", "--set", "epochs=1"];
    succeed(&mut bench.train("float", &float));
    let checkpoint = bench.run("float").join("last.safetensors");
    let from = |path: &std::path::Path| format!("pretrained={:?}", path.display().to_string());

    let (start, ttq) = (from(&checkpoint), "method={name=\"ttq\"}");
    let set = |method: &'static str| ["--set", method, "--set", "epochs=1", "--set"];
    let args = [&set(ttq)[..], &[&start]].concat();
    succeed(&mut bench.train("started", &args));
    let run = bench.run("started");
    let record = std::fs::read_to_string(run.join("epochs.jsonl")).expect("epochs.jsonl");
    assert!(record.contains("\"epoch\":1"), "{record}");

    let missing = from(&bench.path("missing.safetensors"));
    let refused = refusal(&mut bench.train("a", &[&set(ttq)[..], &[&missing]].concat()));
    assert!(
        refused.contains("pretrained") && refused.contains("missing.safetensors"),
        "{refused}"
    );

    let s3 = "method={name=\"s3\", bits=3}";
    let refused = refusal(&mut bench.train("b", &[&set(s3)[..], &[&start]].concat()));
    assert!(
        refused.contains("no start from a full-precision weight"),
        "{refused}"
    );

    let quantized = from(&run.join("last.safetensors"));
    let other = [
        "--set",
        "model.name=resnet20",
        "--set",
        ttq,
        "--set",
        &quantized,
    ];
    let refused = refusal(&mut bench.train("c", &other));
    assert!(
        refused.contains("resnet8") && refused.contains("resnet20"),
        "{refused}"
    );
}
