//! A tensor's values as a slice.

use candle_core::{CpuStorage, Device, Layout, Result, Storage, StorageRef, Tensor, bail};
use std::fmt;

/// A contiguous f32 tensor on the CPU, borrowed as `&[f32]`; the tensor cannot be written while
/// this lives.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let t = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(s3_core::host::Host::new(&t)?[2], 3.0);
/// assert!(s3_core::host::Host::new(&t.t()?).is_err());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub struct Host<'a> {
    storage: StorageRef<'a>,
    range: (usize, usize),
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Host<'a> {
    /// Borrows `t`.
    ///
    /// # Errors
    /// `t` is not contiguous, not f32 or not on the CPU.
    pub fn new(t: &'a Tensor) -> Result<Self> {
        let (storage, layout) = t.storage_and_layout();
        let range = match &*storage {
            Storage::Cpu(s) => {
                slice(s, layout)?;
                layout.contiguous_offsets().unwrap_or_default()
            }
            _ => bail!(
                "a tensor on the CPU is expected, got one on {:?}",
                t.device().location()
            ),
        };
        Ok(Self { storage, range })
    }
}

impl std::ops::Deref for Host<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.range.0..self.range.1],
            _ => &[], // `new` has refused everything else
        }
    }
}

/// The values of `t` where a [`Host`] can read them: on the CPU, contiguous, without a graph. A
/// tensor that is all that already is not copied.
///
/// # Errors
/// Those of the transfer.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let t = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let columns = s3_core::host::on_cpu(&t.t()?)?;
/// assert_eq!(s3_core::host::Host::new(&columns)?[1], 3.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn on_cpu(t: &Tensor) -> Result<Tensor> {
    t.detach().contiguous()?.to_device(&Device::Cpu)
}

/// The f32 values of a contiguous storage, as custom ops receive it.
///
/// # Errors
/// The layout is not contiguous, or the storage not f32.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("a contiguous tensor is expected, got {:?}", layout.shape()),
    }
}
