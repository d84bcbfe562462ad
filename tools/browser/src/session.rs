//! The networks that are loaded, and what they answer.

use s3_kernels::Isa;
use s3_kernels::model::{Activations, Fit, Model, Numbers, Value};

use crate::{json, operations};

/// Networks that are held at a time, at most.
pub const MOST: usize = 16;

/// Networks by number. A refusal is one line.
#[derive(Debug, Default)]
pub struct Session {
    models: Vec<Option<Model>>,
}

impl Session {
    /// Reads a packed network: its number, and what it is.
    ///
    /// ```text
    /// {"name", "image": [height, width, channels], "numbers": "bytes" | "floats",
    ///  "activations": "f32" | "u8" | "u8-shift", "classes": [..], "isa",
    ///  "fit": null | {"resize", "crop"},
    ///  "layers": [{"name", "weights", "additions", "shifts", "multiplications", "skipped"}]}
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or that there are [`MOST`] already. What was loaded before
    /// stays.
    pub fn load(&mut self, file: &[u8]) -> Result<(i32, String), String> {
        let model = Model::from_bytes(file).map_err(|refused| refused.to_string())?;
        let described = describe(&model)?;
        let free = self.models.iter().position(Option::is_none);
        let at = free.unwrap_or(self.models.len());
        if at == MOST {
            return Err(format!("{MOST} networks are loaded: no more are held"));
        }
        self.models
            .resize_with(self.models.len().max(at + 1), || None);
        self.models[at] = Some(model);
        let number = i32::try_from(at).map_err(|_| "too many networks".to_owned())?;
        Ok((number, described))
    }

    /// Forgets a network; another one may get its number.
    pub fn unload(&mut self, network: i32) {
        if let Some(model) = usize::try_from(network)
            .ok()
            .and_then(|at| self.models.get_mut(at))
        {
            *model = None;
        }
    }

    /// The scores of one image: `{"scores": [..]}`, one a class.
    ///
    /// The image is `[height, width, channels]`: bytes, or little-endian f32 where the network
    /// takes floats.
    ///
    /// # Errors
    ///
    /// An image of another size, a number that is not finite, a network that is not loaded.
    pub fn run(&self, network: i32, image: &[u8]) -> Result<String, String> {
        let model = self.model(network)?;
        let x = numbers(model, image)?;
        let scores = model.run(&x, 1).map_err(|refused| refused.to_string())?;
        Ok(format!(r#"{{"scores":{}}}"#, scores_json(&scores)))
    }

    /// [`Session::run`] with a `digest`: FNV-1a, 64 bits, of all bytes that the nodes make, in the
    /// order of the nodes.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn trace(&self, network: i32, image: &[u8]) -> Result<String, String> {
        let model = self.model(network)?;
        let x = numbers(model, image)?;
        let mut digest = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |byte: u8| digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let scores = model.run_traced(&x, 1, &mut |_, value| match value {
            Value::U8(bytes) => bytes.iter().copied().for_each(&mut add),
            Value::F32(floats) => {
                floats
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .for_each(&mut add);
            }
            _ => (),
        });
        let scores = scores_json(&scores.map_err(|refused| refused.to_string())?);
        Ok(format!(r#"{{"scores":{scores},"digest":"{digest:016x}"}}"#))
    }

    fn model(&self, network: i32) -> Result<&Model, String> {
        let at = usize::try_from(network).ok();
        let model = at.and_then(|at| self.models.get(at)?.as_ref());
        model.ok_or_else(|| format!("no network {network} is loaded"))
    }
}

fn describe(model: &Model) -> Result<String, String> {
    let network = model.network();
    let sizes = network
        .graph
        .sizes()
        .map_err(|refused| refused.to_string())?;
    let image = sizes[0];
    let activations = match network.activations {
        Activations::F32 => "f32",
        Activations::U8 => "u8",
        Activations::U8Shift => "u8-shift",
    };
    let numbers = if network.input.numbers.is_bytes() {
        "bytes"
    } else {
        "floats"
    };
    let fit = match network.input.fit {
        Some(Fit::ResizeAndCrop { resize, crop }) => {
            format!(r#"{{"resize":{resize},"crop":{crop}}}"#)
        }
        _ => "null".to_owned(),
    };
    Ok(format!(
        r#"{{"name":{},"image":[{},{},{}],"numbers":"{numbers}","activations":"{activations}","isa":"{}","fit":{fit},"classes":{},"layers":{}}}"#,
        json::string(&network.name),
        image.height,
        image.width,
        image.channels,
        Isa::detect().name(),
        json::array(network.classes.iter().map(|class| json::string(class))),
        operations::to_json(&operations::count(network, &sizes)),
    ))
}

/// The numbers of an image as the network takes them.
fn numbers(model: &Model, image: &[u8]) -> Result<Vec<f32>, String> {
    let network = model.network();
    let (size, input) = (network.graph.image, &network.input);
    let bytes = if input.numbers == Numbers::Bytes {
        1
    } else {
        4
    };
    let expected = size.len() * bytes;
    if image.len() != expected {
        return Err(format!(
            "image: expected {size} numbers in {expected} bytes, got {} bytes",
            image.len()
        ));
    }
    let channels = (0..size.channels).cycle();
    let normalised = |x: f32, c: usize| (x - input.mean[c]) / input.std[c];
    let x: Vec<f32> = match input.numbers {
        Numbers::Bytes => {
            let pixels = image.iter().map(|&pixel| f32::from(pixel) / 255.0);
            pixels
                .zip(channels)
                .map(|(x, c)| normalised(x, c))
                .collect()
        }
        Numbers::Floats => {
            let (words, _) = image.as_chunks();
            let floats = words.iter().map(|&word| f32::from_le_bytes(word));
            floats
                .zip(channels)
                .map(|(x, c)| normalised(x, c))
                .collect()
        }
    };
    match x.iter().all(|x| x.is_finite()) {
        true => Ok(x),
        false => Err("image: expected finite numbers".to_owned()),
    }
}

/// JSON has no infinite numbers: `null`.
fn scores_json(scores: &[f32]) -> String {
    json::array(scores.iter().map(|score| match score.is_finite() {
        true => score.to_string(),
        false => "null".to_owned(),
    }))
}
