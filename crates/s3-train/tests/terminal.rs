//! What the program says reaches its user or is lost, but breaks nothing: names that are no UTF-8,
//! control characters, full disks, files that have no end.

mod common;

use common::{Bench, refusal, succeed};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A trained run of one epoch, its packed file and an image.
struct Trained {
    bench: Bench,
    run: PathBuf,
    file: PathBuf,
    png: PathBuf,
}

fn trained() -> Trained {
    let bench = Bench::new();
    succeed(&mut bench.train("runs", &["--set", "epochs=1"]));
    let run = bench.run("runs");
    let file = bench.path("net.safetensors");
    let export = ["export", "--calibration-images", "20", "-o"];
    succeed(bench.s3(&export).args([&file, &run]));
    let png = bench.path("picture.png");
    let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8, y as u8, 9]));
    image.save(&png).expect("a picture");
    Trained {
        bench,
        run,
        file,
        png,
    }
}

fn output(command: &mut Command) -> Output {
    let out = command.output().expect("s3 starts");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a terminal would obey a character of this text.
fn is_obeyed(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\n')
}

#[cfg(unix)]
#[test]
fn names_that_are_no_utf8_and_control_characters_break_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let Trained {
        bench,
        run,
        file,
        png,
    } = trained();
    for odd in [&b"\xff\x1b[31m"[..], b"a\nb\x9b\xe2\x80\xae"] {
        let odd = OsStr::from_bytes(odd);
        let image = bench.path("").join(odd).with_extension("png");
        std::fs::copy(&png, &image).expect("a copy");
        for json in [&[][..], &["--json"]] {
            let out = output(bench.s3(&["infer"]).arg(&file).arg(&image).args(json));
            assert!(out.status.success(), "{}", text(&out.stderr));
            let shown = text(&out.stdout);
            assert!(!is_obeyed(&shown), "{shown:?}");
            if !json.is_empty() {
                serde_json::from_str::<serde_json::Value>(&shown).expect("JSON");
            }
        }
        let packed = bench.path("").join(odd).with_extension("safetensors");
        std::fs::copy(&file, &packed).expect("a copy");
        let out = output(
            bench
                .s3(&["eval", "--data", "shapes", "--json"])
                .arg(&packed),
        );
        assert!(out.status.success(), "{}", text(&out.stderr));
        let evaluated: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        assert!(evaluated["file"].is_string(), "{evaluated}");

        let runs = bench.path("").join(odd);
        let out = output(bench.train("x", &["--set", "epochs=1", "--out"]).arg(&runs));
        assert!(out.status.code() == Some(2), "--out twice");
        let mut train = bench.s3(&["train", "tiny.toml", "--set", "epochs=1", "--out"]);
        let out = output(train.arg(&runs));
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(!is_obeyed(&text(&out.stdout)), "{:?}", text(&out.stdout));
        // Every other verb that takes a path, and a flag that is none.
        let mut gone = odd.to_owned();
        gone.push("gone");
        for (verb, more) in [
            ("train", &[][..]),
            ("train", &["--dry-run"]),
            ("summary", &[]),
            ("eval", &[]),
            ("export", &["-o", "x.safetensors"]),
            ("fidelity", &[]),
            ("compare", &[]),
            ("compare", &["--json"]),
            ("report", &[]),
            ("logs", &["--csv"]),
            ("plot", &["--out", "x"]),
            ("shards", &[]),
            ("infer", &["picture.png"]),
        ] {
            // Asked for what is not there, and for a folder that is no run's.
            for path in [&gone, odd] {
                let out = output(bench.s3(&[verb]).arg(path).args(more));
                let errors = text(&out.stderr);
                // Not by the usage: what is wrong is the path.
                assert_eq!(out.status.code(), Some(1), "{verb}: {errors:?}");
                assert!(!is_obeyed(&errors), "{verb}: {errors:?}");
            }
            let out = output(bench.s3(&[verb]).arg(odd).args(more).arg("--gone"));
            assert_eq!(out.status.code(), Some(2), "{verb}");
            let errors = text(&out.stderr);
            assert!(!is_obeyed(&errors), "{verb}: {errors:?}");
        }
    }
    assert!(run.is_dir());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_or_output_panics_nowhere() {
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    let bench = Bench::new();
    let train = || bench.train("runs", &["--set", "epochs=1", "--resume"]);
    for _ in 0..2 {
        let status = train().stdout(full()).stderr(full()).status();
        assert!(status.expect("an end").success());
    }
    for (args, code) in [
        (&["eval", "nowhere"][..], 1),
        (&["train", "--epochs"], 2),
        (
            &[
                "train",
                "tiny.toml",
                "--threads",
                "100000",
                "--dry-run",
                "--resume",
            ],
            0,
        ),
    ] {
        let out = bench
            .s3(args)
            .env("RUST_LOG", "no=such=filter")
            .stderr(full())
            .output();
        assert_eq!(out.expect("an end").status.code(), Some(code), "{args:?}");
    }
    // What was asked for is the output: it is not lost without a word.
    let out = output(bench.s3(&["summary", "tiny.toml"]).stdout(full()));
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("standard output"),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn variables_that_are_empty_are_none_and_foreign_ones_are_refused() {
    let bench = Bench::new();
    for variable in ["S3_KERNELS_ISA", "S3_KERNELS_AMX", "S3_OPS", "S3_DATA_DIR"] {
        let out = output(bench.train("x", &["--dry-run"]).env(variable, ""));
        assert!(out.status.success(), "{variable}: {}", text(&out.stderr));
    }
    #[cfg(unix)]
    for variable in ["S3_KERNELS_ISA", "S3_KERNELS_AMX", "S3_OPS"] {
        use std::os::unix::ffi::OsStrExt;
        let value = std::ffi::OsStr::from_bytes(b"\xff\x1b");
        let message = refusal(bench.train("x", &["--dry-run"]).env(variable, value));
        assert!(
            message.contains(variable) && !is_obeyed(&message),
            "{message:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_has_no_end_is_refused_and_not_waited_for() {
    let Trained {
        bench, file, png, ..
    } = trained();
    let pipe = bench.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for endless in [pipe.as_path(), Path::new("/dev/zero")] {
        for command in [
            bench.s3(&["infer"]).arg(&file).arg(endless),
            bench.s3(&["infer"]).arg(endless).arg(&png),
            bench.s3(&["plot", "--out", "x"]).arg(endless),
            bench.s3(&["train"]).arg(endless),
            bench.s3(&["summary"]).arg(endless),
        ] {
            let message = refusal(command);
            assert!(
                message.contains("no regular file"),
                "{command:?}: {message}"
            );
        }
        for verb in ["eval", "report", "compare", "fidelity"] {
            let message = refusal(bench.s3(&[verb]).arg(endless));
            let said = "a named pipe, a socket or a device, not a run's folder";
            assert!(message.contains(said), "{message}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_place_of_any_file_of_a_run_is_not_waited_for() {
    let Trained { bench, run, .. } = trained();
    let given = run.display().to_string();
    let resume = ["--set", "epochs=1", "--resume", "--no-report"];
    let commands = || {
        [
            bench.s3(&["eval", &given]),
            bench.s3(&["export", &given, "-o", "x.safetensors"]),
            bench.s3(&["fidelity", &given, "--markdown", "page.md"]),
            bench.s3(&["compare", &given, "--markdown", "page.md"]),
            bench.s3(&["compare", &given, "--json", "--dynamics"]),
            bench.s3(&["report", &given]),
            bench.s3(&["logs", &given, "--csv"]),
            bench.s3(&["summary", &given]),
            bench.train("runs", &resume),
        ]
    };
    for entry in std::fs::read_dir(&run).expect("the run") {
        let (file, name) = entry.map(|e| (e.path(), e.file_name())).expect("an entry");
        if !file.is_file() {
            continue;
        }
        let name = name.to_string_lossy();
        let aside = run.with_extension("aside");
        std::fs::rename(&file, &aside).expect("moved");
        let made = Command::new("mkfifo").arg(&file).status().expect("mkfifo");
        assert!(made.success());
        let mut naming = 0;
        for command in commands() {
            // One that waits ends with 124.
            let program = command.get_program().to_owned();
            let mut timed = Command::new("timeout");
            timed.arg("60").arg(program).args(command.get_args());
            timed.current_dir(command.get_current_dir().expect("a folder"));
            let out = output(&mut timed);
            let said = text(&out.stdout) + &text(&out.stderr);
            assert!(
                matches!(out.status.code(), Some(0 | 1)),
                "{name}: {command:?}: {said}"
            );
            naming += usize::from(said.contains(&*name));
        }
        assert!(naming > 0 || name == "report.html", "{name} is never named");
        std::fs::remove_file(&file).expect("a pipe");
        std::fs::rename(&aside, &file).expect("moved back");
    }
    succeed(&mut bench.s3(&["compare", &given, "--markdown", "page.md"]));
}

#[test]
fn images_that_can_be_read_are_answered_and_the_others_named() {
    let Trained {
        bench, file, png, ..
    } = trained();
    std::fs::write(bench.path("text.png"), "no picture").expect("a text");
    for json in [&[][..], &["--json"]] {
        let mut infer = bench.s3(&["infer"]);
        infer
            .arg(&file)
            .args(["missing.png", "text.png"])
            .arg(&png)
            .args(json);
        let out = output(&mut infer);
        assert_eq!(out.status.code(), Some(1));
        assert!(
            text(&out.stdout).contains("picture.png"),
            "{}",
            text(&out.stdout)
        );
        let errors = text(&out.stderr);
        let lines: Vec<&str> = errors.lines().collect();
        assert!(
            lines[0].contains("missing.png") && lines[1].contains("text.png"),
            "{errors}"
        );
        assert_eq!(lines[2], "error: 2 of 3 images have no answer");
    }
    assert!(refusal(bench.s3(&["infer"]).arg(&file).arg("text.png")).contains("text.png"));
}

#[test]
fn what_is_no_packed_network_is_said_with_a_way_out() {
    let Trained {
        bench, run, png, ..
    } = trained();
    let last = run.join("last.safetensors");
    let infer = |what: &Path| refusal(bench.s3(&["infer"]).arg(what).arg(&png));
    let eval = |what: &Path| refusal(bench.s3(&["eval"]).arg(what));
    let message = infer(&run);
    assert!(
        message.contains("a run's folder") && message.contains("s3 export"),
        "{message}"
    );
    let message = infer(&last);
    assert!(
        message.contains("a checkpoint") && message.contains("s3 export"),
        "{message}"
    );
    let message = eval(&last);
    assert!(
        message.contains("a checkpoint") && message.contains("s3 eval"),
        "{message}"
    );
    for message in [
        infer(&bench.path("tiny.toml")),
        eval(&bench.path("tiny.toml")),
    ] {
        let words = [
            "tiny.toml: an experiment's file, no packed",
            "s3 train",
            "s3 export",
        ];
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    }
    for message in [infer(&png), eval(&png)] {
        assert!(message.contains("no safetensors file"), "{message}");
    }
}

#[test]
fn threads_beyond_what_the_cores_serve_are_not_started() {
    let bench = Bench::new();
    for (flag, variable) in [(Some("100000"), ""), (None, "100000")] {
        let mut train = bench.train("x", &["--set", "epochs=1", "--resume"]);
        train.args(flag.map(|n| ["--threads", n]).into_iter().flatten());
        let out = output(train.env("RAYON_NUM_THREADS", variable));
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(
            text(&out.stderr).contains("100000 threads: more than 4 for each"),
            "{}",
            text(&out.stderr)
        );
    }
}

#[test]
fn a_flag_that_is_a_key_of_the_configuration_says_so() {
    let bench = Bench::new();
    for (flag, key) in [
        ("--epochs", "--set epochs="),
        ("--train-limit=5", "--set data.train_limit="),
    ] {
        let out = output(&mut bench.train("x", &[flag]));
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stderr).contains(key), "{}", text(&out.stderr));
    }
}
