//! How many threads a product is worth.

/// Multiplications below which handing work to another thread costs more than it saves.
const SHARE: usize = 1 << 18;

/// Threads of the current rayon pool that `rows` by `columns` sums of `k` products keep busy, at least
/// 1 and at most one for each row.
pub(crate) fn threads(rows: usize, columns: usize, k: usize) -> usize {
    let work = rows.saturating_mul(columns).saturating_mul(k);
    rayon::current_num_threads()
        .min(work / SHARE)
        .clamp(1, rows.max(1))
}
