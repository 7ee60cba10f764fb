//! Weights of a row: blocks of random bits, in every type.

use rekindle::gguf::TensorInfo;
use rekindle::graph::WeightSlice;
use rekindle::quant::{Type, dequantize, quantize};

use super::noise::Noise;

/// A tensor, of which a device may hold a part.
#[derive(Debug, Clone)]
pub struct Weight {
    pub info: TensorInfo,
    bytes: Vec<u8>,
    /// `None`: all.
    pub held: Option<WeightSlice>,
}

/// Where a block keeps halves, which must be numbers of ordinary size.
fn halves(ty: Type) -> &'static [usize] {
    match ty {
        Type::F16 | Type::Q4_0 | Type::Q5_0 | Type::Q8_0 | Type::IQ4_NL | Type::IQ4_XS => &[0],
        Type::IQ2_XXS | Type::IQ2_XS | Type::IQ2_S | Type::IQ3_XXS | Type::IQ3_S | Type::IQ1_S => &[0],
        Type::Q1_0 | Type::Q2_0 => &[0],
        Type::NVFP4 => &[],
        Type::TQ1_0 => &[52],
        Type::Q4_1 | Type::Q5_1 | Type::Q4_K | Type::Q5_K => &[0, 2],
        Type::Q2_K => &[80, 82],
        Type::Q3_K => &[108],
        Type::Q6_K => &[208],
        Type::TQ2_0 => &[64],
        _ => panic!("say where a block of {} keeps its halves", ty.name()),
    }
}

/// One block of random bits whose values are finite: scales of either sign between 2^-8 and 2, some of them subnormal.
fn block(noise: &mut Noise, ty: Type, block: &mut [u8]) {
    match ty {
        Type::F32 | Type::BF16 => return quantize(ty, &[noise.float()], block),
        _ => block.fill_with(|| noise.bits() as u8),
    }
    if ty == Type::MXFP4 {
        block[0] = if noise.below(31) == 0 { noise.below(3) } else { 120 + noise.below(8) } as u8;
        return;
    }
    if ty == Type::IQ1_M {
        // Of the half's exponent three bits are the top ones of a word of scales, and two those of the word before.
        block[55] = block[55] & 0x8f | if noise.below(29) == 0 { 0x00 } else { 0x20 };
        return;
    }
    for at in halves(ty) {
        let exponent = noise.below(8) + if noise.below(29) == 0 { 0 } else { 8 };
        block[at + 1] = block[at + 1] & 0x83 | (exponent as u8) << 2;
    }
}

impl Weight {
    /// `[n_cols, n_rows, n_matrices]`. Of very large ones the blocks come again and again.
    pub fn random(noise: &mut Noise, ty: Type, ne: [usize; 3]) -> Weight {
        const DISTINCT: usize = 1 << 21;
        let n_bytes = ty.row_bytes(ne[0]).expect("whole blocks") * ne[1] * ne[2];
        let each = ty.block_bytes();
        let mut bytes = vec![0; n_bytes.min(DISTINCT / each * each)];
        bytes.chunks_exact_mut(each).for_each(|b| block(noise, ty, b));
        while bytes.len() < n_bytes {
            bytes.extend_from_within(..bytes.len().min(n_bytes - bytes.len()));
        }
        Weight::of(ty, ne, bytes)
    }

    /// A tensor that is read as it stands.
    pub fn floats(values: Vec<f32>) -> Weight {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Weight::of(Type::F32, [values.len(), 1, 1], bytes)
    }

    /// The same rows several times over, of one matrix.
    pub fn taller(&self, times: usize) -> Weight {
        let [n_cols, n_rows, ..] = self.info.ne.map(|n| n as usize);
        Weight::of(self.info.ty, [n_cols, n_rows * times, 1], self.bytes.repeat(times))
    }

    fn of(ty: Type, [a, b, c]: [usize; 3], bytes: Vec<u8>) -> Weight {
        let (ne, n_bytes) = ([a as u64, b as u64, c as u64, 1], bytes.len() as u64);
        let info = TensorInfo { name: "weight".into(), ty, ne, n_dims: 3, offset: 0, n_bytes, split: 0 };
        Weight { info, bytes, held: None }
    }

    /// The values of a row of one of the matrices.
    pub fn row(&self, matrix: usize, row: usize) -> Vec<f32> {
        let (n, ty) = (self.info.ne[0] as usize, self.info.ty);
        let each = ty.row_bytes(n).expect("whole blocks");
        let at = (matrix * self.info.ne[1] as usize + row) * each;
        let mut values = vec![0.0; n];
        dequantize(ty, &self.bytes[at..at + each], &mut values);
        values
    }

    /// All values of a tensor of floats.
    pub fn values(&self) -> Vec<f32> {
        self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Bytes of what a device holds.
    pub fn n_bytes(&self) -> usize {
        self.held.map_or(self.bytes.len(), |part| part.n_bytes(&self.info) as usize)
    }

    /// Brings what a device holds to `to`, piece by piece: (offset there, bytes).
    pub fn load(&self, mut to: impl FnMut(usize, &[u8])) {
        let Some(part) = self.held else { return to(0, &self.bytes) };
        let mut done = 0;
        for (first, n) in part.pieces(&self.info) {
            to(done, &self.bytes[first..first + n]);
            done += n;
        }
    }
}
