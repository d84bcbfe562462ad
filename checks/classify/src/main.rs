//! `classify NETWORK PICTURE`: the five likeliest classes of a picture.
//!
//! The picture is a PNG file of the network's size. What is read here is all that a program needs
//! to run a packed network (docs/EXPORT-FORMAT.md).

use std::error::Error;
use std::process::ExitCode;

use png::{ColorType, Decoder, Transformations};
use s3_kernels::model::{Model, Network};

/// Answers that are shown.
const SHOWN: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, network, picture] = &arguments[..] else {
        eprintln!("error: expected a packed network and a picture");
        return ExitCode::from(2);
    };
    match answer(network, picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(network: &str, picture: &str) -> Result<(), Box<dyn Error>> {
    let in_file = |file: &str, error: &dyn Error| format!("{file}: {error}");
    let model = Model::load(network).map_err(|e| in_file(network, &e))?;
    let x = numbers(picture, model.network()).map_err(|e| in_file(picture, &*e))?;
    let scores = model.run(&x, 1)?;
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    let odds: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let all: f32 = odds.iter().sum();
    let mut best: Vec<_> = odds.iter().zip(&model.network().classes).collect();
    best.sort_by(|a, b| b.0.total_cmp(a.0));
    println!("{picture}");
    for (odds, name) in best.iter().take(SHOWN) {
        println!("  {:5.1} %  {name}", 100.0 * *odds / all);
    }
    Ok(())
}

/// The numbers of a picture as the network takes them, `[height, width, channels]`.
fn numbers(file: &str, network: &Network) -> Result<Vec<f32>, Box<dyn Error>> {
    let (image, input) = (&network.graph.image, &network.input);
    let mut decoder = Decoder::new(std::io::Cursor::new(std::fs::read(file)?));
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut bytes = vec![0; reader.output_buffer_size().ok_or("too large a picture")?];
    let found = reader.next_frame(&mut bytes)?;
    let colours = if image.channels == 1 {
        ColorType::Grayscale
    } else {
        ColorType::Rgb
    };
    let size = (found.width as usize, found.height as usize);
    if (size, found.color_type) != ((image.width, image.height), colours) {
        let (w, h) = (image.width, image.height);
        return Err(format!(
            "expected {w} x {h} pixels, {colours:?}, got {} x {}, {:?}",
            size.0, size.1, found.color_type
        )
        .into());
    }
    let normalised = |(at, &byte): (usize, &u8)| {
        let channel = at % image.channels;
        (f32::from(byte) / 255.0 - input.mean[channel]) / input.std[channel]
    };
    Ok(bytes.iter().enumerate().map(normalised).collect())
}
