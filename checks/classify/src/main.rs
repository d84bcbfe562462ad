//! `classify NETWORK IMAGE`: the five best names for an image.
//!
//! The image is a binary PPM of the network's size, or raw little-endian f32 that are normalised
//! already, `[height, width, channels]`.

use std::error::Error;

use s3_kernels::model::{Model, Network};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, network, image] = &arguments[..] else {
        return Err("expected a packed network and an image".into());
    };
    let model = Model::load(network)?;
    let x = pixels(&std::fs::read(image)?, model.network())?;
    let scores = model.run(&x, 1)?;
    let mut names: Vec<_> = scores.iter().zip(&model.network().classes).collect();
    names.sort_by(|a, b| b.0.total_cmp(a.0));
    for (score, name) in names.iter().take(5) {
        println!("{score:9.4}  {name}");
    }
    Ok(())
}

/// The numbers of the image as the network takes them.
fn pixels(bytes: &[u8], network: &Network) -> Result<Vec<f32>, Box<dyn Error>> {
    let (image, input) = (&network.graph.image, &network.input);
    let header = format!("P6\n{} {}\n255\n", image.width, image.height);
    let Some(bytes) = bytes.strip_prefix(header.as_bytes()) else {
        if bytes.starts_with(b"P6") {
            return Err(format!("expected the header {header:?}").into());
        }
        let (words, rest) = bytes.as_chunks();
        return match rest {
            [] => Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect()),
            _ => Err("expected four bytes for each number".into()),
        };
    };
    let normalised = |(at, &pixel): (usize, &u8)| {
        let channel = at % image.channels;
        (f32::from(pixel) / 255.0 - input.mean[channel]) / input.std[channel]
    };
    if image.channels != 3 {
        return Err(format!(
            "expected raw f32: a PPM has 3 channels, not {}",
            image.channels
        )
        .into());
    }
    Ok(bytes.iter().enumerate().map(normalised).collect())
}
