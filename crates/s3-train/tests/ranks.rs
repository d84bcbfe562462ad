//! A run that several ranks share ends in the bytes of the run of one process, or near them where
//! batch norms take their statistics over all ranks.

mod common;

use common::{TINY, assert_same_results};
use s3_metrics::record::{EpochRecord, read_jsonl};
use s3_train::config::Config;
use s3_train::observe::Event;
use s3_train::ranks::{Alone, Ranks, Threads};
use s3_train::train::{Outcome, Places, train};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Trains on `ranks`, a thread with a pool of its own each; rank 1 is told to stop after `steps`.
/// Returns each rank's outcome.
fn run(
    ranks: Vec<Arc<dyn Ranks>>,
    config: &Config,
    out: &Path,
    steps: Option<usize>,
) -> Vec<anyhow::Result<Outcome>> {
    let one = |ranks: Arc<dyn Ranks>| {
        let stop = AtomicBool::new(false);
        let last = ranks.rank() + 1 == ranks.size();
        let places = Places {
            data_dir: None,
            out: out.to_path_buf(),
            resume: true,
            checkpoint_every: Duration::from_secs(600),
            stop: &stop,
            ranks,
            command: Vec::new(),
        };
        let mut done = 0;
        let mut observer = |event: Event<'_>| {
            if let Event::Step { .. } = event {
                done += 1;
                // The step after this one is still made.
                if last && steps.is_some_and(|n| done + 1 == n) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        pool.install(|| train(config, &places, &mut observer))
    };
    std::thread::scope(|scope| {
        let each = ranks.into_iter().map(|r| scope.spawn(move || one(r)));
        let each: Vec<_> = each.collect();
        each.into_iter()
            .map(|t| t.join().expect("no panic"))
            .collect()
    })
}

fn threads(n: usize) -> Vec<Arc<dyn Ranks>> {
    let shared = |r| Arc::new(r) as Arc<dyn Ranks>;
    match n {
        1 => vec![shared_alone()],
        n => Threads::new(n).into_iter().map(shared).collect(),
    }
}

fn shared_alone() -> Arc<dyn Ranks> {
    Arc::new(Alone)
}

fn config(settings: &[&str]) -> Config {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    Config::parse(TINY, &settings, "tiny").expect("a configuration")
}

fn finished(outcomes: Vec<anyhow::Result<Outcome>>) -> PathBuf {
    let mut folders = outcomes.into_iter().map(|o| match o.expect("a run") {
        Outcome::Finished { folder, .. } => folder,
        stopped => panic!("{stopped:?}"),
    });
    let folder = folders.next().expect("a rank");
    assert!(folders.all(|f| f == folder));
    folder
}

/// S3; drawn outputs, which must not repeat in each micro-batch; a basis that inputs move; masks
/// and stages; batches whose last one cannot be cut evenly.
#[test]
fn one_two_and_four_ranks_give_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, settings) in [
        ("s3", vec!["epochs=2", "data.train_limit=155"]),
        ("lrnet", vec!["epochs=1", "method={name=\"lrnet\"}"]),
        (
            "lqnet",
            vec![
                "epochs=1",
                "method={name=\"lqnet\", bits=2, activation_bits=2}",
            ],
        ),
        ("inq", vec!["epochs=2", "method={name=\"inq\", bits=3}"]),
        ("sq", vec!["epochs=1", "method={name=\"sq\"}"]),
    ] {
        let config = config(&[&settings[..], &["micro_batches=4"]].concat());
        let out = |n: usize| dir.path().join(format!("{name}-{n}"));
        let alone = finished(run(threads(1), &config, &out(1), None));
        for n in [2, 4] {
            let shared = finished(run(threads(n), &config, &out(n), None));
            assert_same_results(&alone, &shared, &format!("{name} on {n} ranks"));
        }
    }
}

#[test]
fn a_run_stops_on_two_ranks_and_goes_on_with_four_and_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config(&["epochs=2", "micro_batches=4"]);
    let whole = finished(run(threads(1), &config, &dir.path().join("whole"), None));
    let out = dir.path().join("moved");
    for (ranks, steps) in [(2, 3), (4, 4)] {
        for outcome in run(threads(ranks), &config, &out, Some(steps)) {
            let stopped = outcome.expect("a run");
            assert!(matches!(stopped, Outcome::Stopped { .. }), "{stopped:?}");
        }
    }
    let moved = finished(run(threads(1), &config, &out, None));
    assert_same_results(&whole, &moved, "resumed on other numbers of ranks");
}

/// Float weights; discrete ones jump, and with them what a rounding does. Sums in another order:
/// each step's loss is off by some f32 roundings of numbers near 1, which ten steps of SGD make
/// larger, but not as large as a wrong statistic would (local ones: above 1e-2 here).
const SYNCED: f64 = 1e-3;

#[test]
fn synced_batch_norms_follow_the_one_process() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let losses = |name: &str, settings: &[&str], ranks: usize| -> Vec<f64> {
        let settings = [&["epochs=2", "method={name=\"fp32\"}"], settings].concat();
        let folder = finished(run(
            threads(ranks),
            &config(&settings),
            &dir.path().join(name),
            None,
        ));
        let epochs: Vec<EpochRecord> = read_jsonl(&folder.join("epochs.jsonl")).expect("epochs");
        epochs.iter().map(|e| e.train_loss).collect()
    };
    let apart = |a: &[f64], b: &[f64]| -> f64 {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f64::max)
    };
    let whole = losses("whole", &[], 1);
    for ranks in [2, 4] {
        let synced = losses(&format!("synced-{ranks}"), &["batch_norm=synced"], ranks);
        let apart = apart(&whole, &synced);
        assert!(apart < SYNCED, "{apart} apart on {ranks} ranks");
    }
    let local = losses("local", &["micro_batches=4"], 1);
    let apart = apart(&whole, &local);
    assert!(apart > 10.0 * SYNCED, "{apart}: the test could not fail");
}

#[test]
fn what_ranks_cannot_share_is_refused_before_work_starts() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (settings, ranks, words) in [
        (vec![], 2, "micro_batches: 2 ranks cannot share 1"),
        (
            vec!["micro_batches=2"],
            4,
            "micro_batches: 4 ranks cannot share 2",
        ),
        (
            vec!["micro_batches=8", "data.train_limit=36"],
            2,
            "micro_batches: 8 parts of a batch of 4 images",
        ),
        (
            vec!["batch_norm=synced", "dtype=bf16"],
            2,
            "dtype: expected \"f32\"",
        ),
    ] {
        for outcome in run(threads(ranks), &config(&settings), dir.path(), None) {
            let error = format!("{:#}", outcome.expect_err("refused"));
            let line = error.lines().next().unwrap_or_default();
            assert!(line.contains(words), "{error}");
        }
    }
    assert!(
        std::fs::read_dir(dir.path())
            .expect("the folder")
            .next()
            .is_none(),
        "nothing is written"
    );
    let refused = |set: &str| {
        let error = Config::parse(TINY, &[set.to_string()], "x").expect_err("refused");
        format!("{error:#}")
    };
    assert!(refused("micro_batches=3").contains("micro_batches: expected a power of two, got 3"));
    assert!(refused("batch_norm=all").contains("batch_norm: expected \"local\" or \"synced\""));
}

/// A rank that is lost ends the others with an error (tests/mpi.rs kills one in mid-run and
/// resumes).
#[test]
fn a_rank_that_is_gone_is_an_error_on_the_others() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config(&["epochs=1", "micro_batches=2"]);
    let mut ranks = threads(2);
    drop(ranks.pop());
    let outcome = run(ranks, &config, dir.path(), None).remove(0);
    let error = format!("{:#}", outcome.expect_err("rank 1 is gone"));
    assert!(error.contains("rank 1 is gone"), "{error}");
}
