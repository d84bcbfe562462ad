//! Event files, byte by byte, and as TensorBoard itself reads them.

use std::process::Command;

use super::*;

/// A PNG of one grey pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\x9cch\0\0\0\x82\0\x81w\xcdr\xb6\0\0\0\0IEND\xaeB`\x82";

#[test]
fn the_checksum_is_castagnolis() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c::crc32c(&[0xff; 32]), 0x62a8_ab43);
}

#[test]
fn a_file_starts_with_the_bytes_that_tensorflow_writes() {
    let mut file = Vec::new();
    EventWriter::new(&mut file, 0.0).expect("a vector");
    let mut expected = vec![24, 0, 0, 0, 0, 0, 0, 0];
    // The checksum of a length of 24, as at the start of every event file.
    expected.extend([0xa3, 0x7f, 0x4b, 0x22]);
    expected.extend([0x09, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"\x1a\x0dbrain.Event:2");
    assert_eq!(file[..36], expected[..]);
    assert_eq!(file.len(), 40);
}

#[test]
fn a_scalar_is_these_bytes() {
    let mut file = Vec::new();
    let mut events = EventWriter::resume(&mut file);
    events.scalar(1.0, 300, "a", 0.5).expect("a vector");
    let data = [
        &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..], // wall_time 1.0
        &[0x10, 0xac, 0x02],                       // step 300
        &[0x2a, 0x0a, 0x0a, 0x08],                 // summary, value
        &[0x0a, 0x01, b'a'],                       // tag
        &[0x15, 0, 0, 0, 0x3f],                    // simple_value 0.5
    ]
    .concat();
    assert_eq!(file[..8], (data.len() as u64).to_le_bytes());
    assert_eq!(file[12..12 + data.len()], data[..]);
    assert_eq!(file[12 + data.len()..], masked_crc(&data).to_le_bytes());
}

#[test]
fn what_has_no_plot_is_refused_and_writes_nothing() {
    let mut file = Vec::new();
    let mut events = EventWriter::resume(&mut file);
    let empty = Density::relative(&[f32::NAN], 3).expect("bins");
    let error = events.histogram(0.0, 0, "fc", &empty).expect_err("empty");
    let text = "histogram fc: expected a weight in its range, got none";
    assert_eq!(error.to_string(), text);
    let error = events
        .image(0.0, 0, "fc", [1, 1, 1], b"GIF89a")
        .expect_err("GIF");
    assert_eq!(error.to_string(), "image fc: expected the bytes of a PNG");
    assert!(file.is_empty());
}

#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = python() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = std::fs::File::create(folder.path().join("events.out.tfevents.0.s3")).expect("file");
    let mut events = EventWriter::new(file, 5.0).expect("writes");
    events.scalar(6.0, 10, "test/top1", 0.875).expect("writes");
    events
        .scalar(7.0, 20, "test/top1", f64::NAN)
        .expect("writes");
    let density = Density::relative(&[-2.0, 0.5, 0.5, 2.0], 4).expect("bins");
    events
        .histogram(7.0, 20, "conv1", &density)
        .expect("writes");
    let zeros = Density::relative(&[0.0, 0.0], 3).expect("bins");
    events.histogram(7.0, 20, "zeros", &zeros).expect("writes");
    events
        .image(8.0, 20, "filters", [1, 1, 1], PIXEL)
        .expect("writes");
    events.flush().expect("flushes");
    let script = r#"
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={})
events.Reload()
for e in events.Scalars("test/top1"): print(e.wall_time, e.step, e.value)
for tag in ("conv1", "zeros"):
    h = events.Histograms(tag)[0].histogram_value
    print(h.min, h.max, h.num, h.sum, h.sum_squares, list(h.bucket_limit), list(h.bucket))
i = events.Images("filters")[0]
print(i.step, i.width, i.height, len(i.encoded_image_string))
"#;
    let output = Command::new(python)
        .args(["-c", script])
        .arg(folder.path())
        .output()
        .expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let expected = format!(
        "6.0 10 0.875\n7.0 20 nan\n\
         -2.0 2.0 4.0 1.0 5.0 [-1.0, 0.0, 1.0, 2.0] [1.0, 0.0, 2.0, 1.0]\n\
         -1.0 1.0 2.0 0.0 0.0 [-0.33333333333333337, 0.33333333333333326, 1.0] [0.0, 2.0, 0.0]\n\
         20 1 1 {}\n",
        PIXEL.len()
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// A Python with TensorBoard, or a word that there is none.
#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
fn python() -> Option<String> {
    let name = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&name)
        .args(["-c", "import tensorboard"])
        .output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(name);
    }
    eprintln!("skipped: {name} has no tensorboard");
    None
}
