//! `s3-browser NETWORK IMAGES`: what the module answers, natively.
//!
//! IMAGES holds images one after the other, as the network takes them. A line for each: the answer
//! of `trace`. With `--time` instead the milliseconds of an image: the median of each image's run.

use std::error::Error;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

use s3_browser::session::Session;
use s3_kernels::model::Network;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (network, images, time) = match &arguments[..] {
        [network, images] => (network, images, false),
        [network, images, time] if time == "--time" => (network, images, true),
        _ => return Err("expected a packed network, a file of images, and perhaps --time".into()),
    };
    let file = std::fs::read(network).map_err(|e| format!("{network}: {e}"))?;
    let images_file = std::fs::read(images).map_err(|e| format!("{images}: {e}"))?;
    let given = Network::from_bytes(&file).map_err(|e| format!("{network}: {e}"))?;
    let bytes = if given.input.numbers.is_bytes() { 1 } else { 4 };
    let mut session = Session::default();
    let (number, _) = session.load(&file).map_err(|e| format!("{network}: {e}"))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut times = Vec::new();
    for image in images_file.chunks(given.graph.image.len() * bytes) {
        if time {
            let clock = Instant::now();
            session.run(number, image)?;
            times.push(clock.elapsed());
        } else {
            writeln!(out, "{}", session.trace(number, image)?)?;
        }
    }
    times.sort();
    if let Some(median) = times.get(times.len() / 2) {
        writeln!(out, "{:.4}", median.as_secs_f64() * 1e3)?;
    }
    Ok(out.flush()?)
}
