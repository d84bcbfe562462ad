//! Where parameters come from: an ordered, named, seeded store.
//!
//! candle's CPU generator cannot be seeded and its `VarMap` iterates in the order of a hash map, so
//! a run built on them is not reproducible. Here every tensor is drawn from a ChaCha8 stream whose
//! number is a hash of the tensor's full name: its value depends on `(seed, name, shape)` alone,
//! not on the order in which layers are built. Listings are sorted by name.
//!
//! ```
//! use candle_core::Device;
//! use s3_core::{Init, ParamKind, Params};
//! let root = Params::new(7, &Device::Cpu);
//! let w = root.pp("layer1").get("w_sign", (2, 3), Init::Normal { std: 0.1 }, ParamKind::Latent)?;
//! assert_eq!(w.dims(), [2, 3]);
//! assert_eq!(root.all().keys().collect::<Vec<_>>(), ["layer1.w_sign"]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a named tensor is to the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A full-precision latent behind a weight; a plain weight is its own latent.
    Latent,
    /// A latent of which its weight sees only whether it is > 0, as S3's (eqs. 6, 8): its size
    /// decides how soon it changes sides, and nothing else.
    Gate {
        /// The shift gates that must be open for this one to count: `t - j` of w_j of eq. 8, 0 of a
        /// sign and of a sparsity gate. A weight that sees it changes by 2^depth at least with it.
        depth: u32,
    },
    /// A batch-norm gain or bias.
    Norm,
    /// The bias of a convolution or linear layer.
    Bias,
    /// A trained factor of a weight: a scale or a clipping point. It has no weight decay.
    Scale,
    /// State that is saved but not trained: running statistics, masks, bases.
    Buffer,
}

impl ParamKind {
    /// Whether it stands behind a weight.
    ///
    /// ```
    /// use s3_core::ParamKind;
    /// assert!(ParamKind::Gate { depth: 1 }.is_latent() && ParamKind::Latent.is_latent());
    /// assert!(!ParamKind::Scale.is_latent());
    /// ```
    pub const fn is_latent(self) -> bool {
        matches!(self, Self::Latent | Self::Gate { .. })
    }
}

/// How a tensor is filled when it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// N(0, std²).
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// N(mean, std²).
    NormalAt {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// |N(0, std²)|.
    HalfNormal {
        /// The standard deviation of the normal that is folded.
        std: f64,
    },
    /// U(low, high).
    Uniform {
        /// Inclusive lower end.
        low: f64,
        /// Exclusive upper end.
        high: f64,
    },
    /// One value everywhere.
    Const(f64),
}

impl Init {
    /// The normal initialisation of a weight: [`Init::weight_std`].
    pub fn weight(shape: &[usize]) -> Self {
        Init::Normal {
            std: Self::weight_std(shape),
        }
    }

    /// The standard deviation that a weight starts with: He's fan-out rule `√(2/(kh·kw·c_out))` for
    /// a convolution `[c_out, c_in, kh, kw]`, and torch's default variance `1/(3·in)` for a linear
    /// layer `[out, in]`.
    pub fn weight_std(shape: &[usize]) -> f64 {
        match shape {
            [c_out, _, kernel @ ..] if !kernel.is_empty() => {
                (2.0 / (c_out * kernel.iter().product::<usize>()).max(1) as f64).sqrt()
            }
            _ => (1.0 / (3 * shape.last().copied().unwrap_or(1).max(1)) as f64).sqrt(),
        }
    }

    /// `n` draws of the stream called `stream` under `seed`: what a parameter of that name starts
    /// with, and what a method draws in [`advance`](crate::Quantizer::advance) under a name that
    /// holds layer and step.
    ///
    /// ```
    /// use s3_core::Init;
    /// let u = Init::Uniform { low: 0.0, high: 1.0 };
    /// assert_eq!(u.draw(1, "conv1@7", 2), u.draw(1, "conv1@7", 3)[..2]);
    /// assert_ne!(u.draw(1, "conv1@7", 2), u.draw(1, "conv1@8", 2));
    /// ```
    pub fn draw(self, seed: u64, stream: &str, n: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(fnv1a(stream));
        self.fill(&mut rng, n)
    }

    fn fill(self, rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
        let mut normal = |std: f64, map: fn(f64) -> f64| -> Vec<f32> {
            (0..n)
                .map(|_| {
                    let z: f64 = StandardNormal.sample(rng);
                    (map(z) * std) as f32
                })
                .collect()
        };
        match self {
            Init::Normal { std } => normal(std, |z| z),
            Init::NormalAt { mean, std } => {
                let shift = |z: f32| (f64::from(z) * std + mean) as f32;
                normal(1.0, |z| z).into_iter().map(shift).collect()
            }
            Init::HalfNormal { std } => normal(std, f64::abs),
            Init::Uniform { low, high } => (0..n)
                .map(|_| {
                    let u: f64 = StandardUniform.sample(rng);
                    (low + (high - low) * u) as f32
                })
                .collect(),
            Init::Const(v) => vec![v as f32; n],
        }
    }
}

/// One named tensor of the store.
#[derive(Clone, Debug)]
pub struct Param {
    /// The tensor; layers hold clones of it that see every update.
    pub var: Var,
    /// Its role.
    pub kind: ParamKind,
}

struct Store {
    seed: u64,
    device: Device,
    params: BTreeMap<String, Param>,
}

/// A path into the store; cheap to clone. `pp` descends, `get` makes a tensor.
#[derive(Clone)]
pub struct Params {
    store: Arc<Mutex<Store>>,
    path: String,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the tensors: they are many, and another thread may hold the lock.
        let mut shown = f.debug_struct("Params");
        shown.field("path", &self.path).finish_non_exhaustive()
    }
}

impl Params {
    /// An empty store whose tensors are drawn from `seed` and live on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        let store = Store {
            seed,
            device: device.clone(),
            params: BTreeMap::new(),
        };
        Self {
            store: Arc::new(Mutex::new(store)),
            path: String::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path `self.name`.
    #[must_use]
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self {
            store: self.store.clone(),
            path: self.join(&name.to_string()),
        }
    }

    fn join(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            (path, "") => path.to_string(),
            ("", name) => name.to_string(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// The path so far, `layer1.0.conv1`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The device that tensors are made on.
    pub fn device(&self) -> Device {
        self.lock().device.clone()
    }

    /// Makes the f32 tensor `path.name`, or `path` itself where `name` is empty.
    ///
    /// # Errors
    /// The name is taken, or the device refuses the allocation.
    pub fn get(
        &self,
        name: &str,
        shape: impl Into<Shape>,
        init: Init,
        kind: ParamKind,
    ) -> Result<Var> {
        let (name, shape) = (self.join(name), shape.into());
        let mut store = self.lock();
        if store.params.contains_key(&name) {
            bail!("parameter {name} is made twice")
        }
        let values = init.draw(store.seed, &name, shape.elem_count());
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &store.device)?)?;
        debug_assert_eq!(var.dtype(), DType::F32);
        store.params.insert(
            name,
            Param {
                var: var.clone(),
                kind,
            },
        );
        Ok(var)
    }

    /// Every tensor of the store (not only those below this path), sorted by name.
    pub fn all(&self) -> BTreeMap<String, Param> {
        self.lock().params.clone()
    }

    /// The tensors an optimizer updates, sorted by name.
    pub fn trainable(&self) -> Vec<(String, Param)> {
        self.all()
            .into_iter()
            .filter(|(_, p)| p.kind != ParamKind::Buffer)
            .collect()
    }
}

/// FNV-1a, 64 bits: the stream number of a name.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_depend_on_the_order_of_construction() -> Result<()> {
        let normal = Init::Normal { std: 1.0 };
        let (a, b) = (Params::new(3, &Device::Cpu), Params::new(3, &Device::Cpu));
        let a1 = a
            .get("one", 5, normal, ParamKind::Latent)?
            .to_vec1::<f32>()?;
        let a2 = a
            .get("two", 5, normal, ParamKind::Latent)?
            .to_vec1::<f32>()?;
        let b2 = b
            .get("two", 5, normal, ParamKind::Latent)?
            .to_vec1::<f32>()?;
        let b1 = b
            .get("one", 5, normal, ParamKind::Latent)?
            .to_vec1::<f32>()?;
        assert_eq!((&a1, &a2), (&b1, &b2));
        assert_ne!(a1, a2);
        let c = Params::new(4, &Device::Cpu);
        assert_ne!(
            c.get("one", 5, normal, ParamKind::Latent)?
                .to_vec1::<f32>()?,
            a1
        );
        Ok(())
    }

    #[test]
    fn a_name_is_made_once() -> Result<()> {
        let p = Params::new(0, &Device::Cpu).pp("a");
        p.get("w", 1, Init::Const(1.0), ParamKind::Bias)?;
        let err = p
            .get("w", 1, Init::Const(1.0), ParamKind::Bias)
            .expect_err("taken")
            .to_string();
        assert!(err.contains("a.w"), "{err}");
        Ok(())
    }

    #[test]
    fn moments_are_those_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let v = Init::weight(&[16, 3, 3, 3]).fill(&mut rng, 100_000);
        let (mean, var) = moments(&v);
        // 1e5 draws: three standard errors of mean and variance.
        assert!(mean.abs() < 3.0 * (2f64 / 144.0 / 1e5).sqrt(), "{mean}");
        assert!(
            (var * 144.0 / 2.0 - 1.0).abs() < 3.0 * (2f64 / 1e5).sqrt(),
            "{var}"
        );
        let (mean, var) = moments(
            &Init::NormalAt {
                mean: -3.0,
                std: 2.0,
            }
            .fill(&mut rng, 100_000),
        );
        assert!((mean + 3.0).abs() < 3.0 * (4f64 / 1e5).sqrt(), "{mean}");
        assert!((var / 4.0 - 1.0).abs() < 3.0 * (2f64 / 1e5).sqrt(), "{var}");
        let h = Init::HalfNormal { std: 2.0 }.fill(&mut rng, 1000);
        assert!(h.iter().all(|&x| x >= 0.0));
    }

    fn moments(v: &[f32]) -> (f64, f64) {
        let n = v.len() as f64;
        let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (
            mean,
            v.iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / n,
        )
    }
}
