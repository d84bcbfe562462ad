//! Exact shift-and-add kernels for low-bit power-of-two weights, and the f32 kernels that train them.
