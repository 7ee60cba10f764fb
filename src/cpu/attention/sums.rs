//! Running sums of softmax-weighted values, which can be added up part by part.

/// The result of a tile's rows over some keys.
pub(super) struct Sums<'a> {
    /// Floats of a row of `sums`.
    pub dim: usize,
    /// By row: the sum of values, weighted by exp(score - max).
    pub sums: &'a mut [f32],
    /// By row: the largest score.
    pub max: &'a mut [f32],
    /// By row: the sum of weights.
    pub total: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// Lays the result out in `floats`, of which there are `Sizes::result`.
    pub fn new(floats: &'a mut [f32], rows: usize, dim: usize) -> Sums<'a> {
        let (sums, rest) = floats.split_at_mut(rows * dim);
        let (max, rest) = rest.split_at_mut(rows);
        Sums { dim, sums, max, total: &mut rest[..rows] }
    }

    pub fn clear(&mut self) {
        self.sums.fill(0.0);
        self.total.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
    }

    /// Adds the result over the keys that come next.
    pub fn add(&mut self, part: &Sums) {
        for row in 0..self.max.len() {
            // This row saw no key there.
            if part.total[row] == 0.0 {
                continue;
            }
            let values = row * self.dim..(row + 1) * self.dim;
            let (to, from) = (&mut self.sums[values.clone()], &part.sums[values]);
            if self.total[row] == 0.0 {
                to.copy_from_slice(from);
                (self.max[row], self.total[row]) = (part.max[row], part.total[row]);
                continue;
            }
            let max = self.max[row].max(part.max[row]);
            let (before, more) = ((self.max[row] - max).exp(), (part.max[row] - max).exp());
            to.iter_mut().zip(from).for_each(|(x, y)| *x = *x * before + y * more);
            self.total[row] = self.total[row] * before + part.total[row] * more;
            self.max[row] = max;
        }
    }
}
