use super::attend::{BlockOfKeys, Cells};
use super::*;
use crate::cpu::isa::Isa;
use crate::quant::Type;
use crate::quant::{dequantize, half_to_f32, quantize};
use std::ops::Range;

/// The types that there are kernels for.
fn types() -> impl Iterator<Item = Type> {
    Type::ALL.iter().copied().filter(|ty| ty.on_cpu())
}

/// Numbers in -1..1, the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// Memory for `bytes` bytes, aligned to 64, with a guard value after it.
struct Workspace {
    bytes: usize,
    memory: Vec<u8>,
}

impl Workspace {
    const GUARD: u8 = 0xa5;

    fn new(bytes: usize) -> Workspace {
        Workspace { bytes, memory: vec![Workspace::GUARD; bytes + 128] }
    }
    fn start(&mut self) -> *mut u8 {
        let shift = self.memory.as_ptr().align_offset(64);
        self.memory[shift..].as_mut_ptr()
    }
    fn guard_is_whole(&self) -> bool {
        let shift = self.memory.as_ptr().align_offset(64);
        self.memory[shift + self.bytes..].iter().all(|b| *b == Workspace::GUARD)
    }
}

/// A row with the columns of each lane, every 16th of 512, rounded to multiples of a unit made of their greatest
/// magnitude.
fn rounded_in_lanes(x: &[f32], inverse_and_unit: impl Fn(f32) -> (f32, f32)) -> Vec<f32> {
    let mut out = x.to_vec();
    for step in out.chunks_mut(512) {
        for lane in 0..16 {
            let max = step.iter().skip(lane).step_by(16).fold(0f32, |m, v| m.max(v.abs()));
            let (inverse, unit) = inverse_and_unit(max);
            for v in step.iter_mut().skip(lane).step_by(16) {
                *v = (f64::from(*v) * f64::from(inverse)).round_ties_even() as f32 * unit;
            }
        }
    }
    out
}

/// What products make of a row of weights: of those of 16 bits, multiples of 2^-12 of the greatest power of two in a
/// lane.
fn rounded_weights(ty: Type, row: &[f32]) -> Vec<f32> {
    if !matches!(ty, Type::F16 | Type::BF16) {
        return row.to_vec();
    }
    rounded_in_lanes(row, |max| {
        let power = f32::from_bits(max.to_bits() & 0x7f80_0000);
        if power == 0.0 { (0.0, 0.0) } else { (4096.0 / power, power / 4096.0) }
    })
}

/// What the format makes of activations: rounded to int8 in blocks of 16, to 8191ths of the greatest in a lane, or
/// themselves.
fn rounded(fmt: ActFormat, x: &[f32]) -> Vec<f32> {
    let round = |block: &[f32]| {
        let max = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        let inverse = if max == 0.0 { 0.0 } else { 127.0 / max };
        block.iter().map(|v| (v * inverse).round_ties_even() * (max / 127.0)).collect::<Vec<_>>()
    };
    match fmt {
        ActFormat::F32 => x.to_vec(),
        ActFormat::Q14x32 => rounded_in_lanes(x, |max| (8191.0 / max.max(1e-30), max.max(1e-30) / 8191.0)),
        ActFormat::Q8x16 => x.chunks(16).flat_map(round).collect(),
    }
}

/// Activations `[n_tokens, 256]` to prepare in one go.
fn one_part(fmt: ActFormat, x: &[f32], n_tokens: usize, ws: *mut u8) -> Source {
    let x = x.as_ptr();
    Source { fmt, x, x_stride: 256, x_rows: std::ptr::null(), n_tokens, n_cols: 256, part: 0, n_parts: 1, ws }
}

struct Case {
    ty: Type,
    n_cols: usize,
    n_rows: usize,
    weights: Vec<u8>,
    values: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(ty: Type, n_rows: usize, n_cols: usize) -> Case {
        let mut noise = Noise(n_cols as u64 + ty.gguf() as u64);
        let row_bytes = ty.row_bytes(n_cols).unwrap();
        // One byte in front: the weights of a file may lie at any address.
        let mut weights = vec![0u8; 1 + n_rows * row_bytes];
        for row in weights[1..].chunks_exact_mut(row_bytes) {
            let scale = noise.next().abs() + 0.1;
            let x: Vec<f32> = noise.vector(n_cols).iter().map(|v| v * scale + 0.1).collect();
            quantize(ty, &x, row);
        }
        let mut values = vec![0f32; n_rows * n_cols];
        dequantize(ty, &weights[1..], &mut values);
        let values = values.chunks(n_cols).flat_map(|row| rounded_weights(ty, row)).collect();
        Case { ty, n_cols, n_rows, weights, values, bias: noise.vector(n_rows) }
    }

    /// A product with these weights, but for where things are.
    fn shape(&self) -> Product {
        Product {
            ty: self.ty,
            w: std::ptr::null(),
            row_bytes: self.ty.row_bytes(self.n_cols).unwrap(),
            n_cols: self.n_cols,
            rows: 0..0,
            acts: std::ptr::null(),
            n_tokens: 0,
            scratch: std::ptr::null_mut(),
            y: std::ptr::null_mut(),
            y_stride: 0,
            y_rows: std::ptr::null(),
            bias: std::ptr::null(),
        }
    }

    /// Rows that are not asked for stay not-a-number.
    fn product(
        &self,
        kernels: &Kernels,
        x: &[f32],
        x_stride: usize,
        y_stride: usize,
        n_tokens: usize,
        rows: Range<usize>,
    ) -> Vec<f32> {
        let fmt = act_format(self.ty);
        let mut ws = Workspace::new(act_bytes(fmt, n_tokens, self.n_cols).unwrap());
        let mut scratch = Workspace::new(scratch_bytes(self.ty, n_tokens, self.n_cols).unwrap());
        let start = ws.start();
        let mut y = vec![f32::NAN; n_tokens * y_stride];
        // SAFETY: the vectors above are as long as the shapes say.
        unsafe {
            for part in 0..3 {
                kernels.prepare_acts(&Source {
                    fmt,
                    x: x.as_ptr(),
                    x_stride,
                    x_rows: std::ptr::null(),
                    n_tokens,
                    n_cols: self.n_cols,
                    part,
                    n_parts: 3,
                    ws: start,
                });
            }
            let (w, bias) = (self.weights[1..].as_ptr(), self.bias.as_ptr());
            let (scratch, y) = (scratch.start(), y.as_mut_ptr());
            let shape = self.shape();
            kernels.matmul(&Product { w, rows, acts: start, n_tokens, scratch, y, y_stride, bias, ..shape });
        }
        assert!(ws.guard_is_whole(), "{} {n_tokens} tokens: written past the workspace", self.ty.name());
        assert!(scratch.guard_is_whole(), "{} {n_tokens} tokens: written past the scratch", self.ty.name());
        y
    }

    /// The product of `rows`, checked against sums in f64 over the rounded activations.
    fn check(&self, isa: Isa, n_tokens: usize, rows: Range<usize>) {
        let kernels = Kernels::new(isa);
        let fmt = act_format(self.ty);
        let (x_stride, y_stride) = (self.n_cols + 3, self.n_rows + 5);
        let x = Noise(9).vector(n_tokens * x_stride);
        let y = self.product(&kernels, &x, x_stride, y_stride, n_tokens, rows.clone());
        for t in 0..n_tokens {
            let x = rounded(fmt, &x[t * x_stride..][..self.n_cols]);
            for r in 0..y_stride {
                let ours = y[t * y_stride + r];
                if !rows.contains(&r) {
                    assert!(ours.is_nan(), "{} row {r} of token {t} was written", self.ty.name());
                    continue;
                }
                let terms =
                    || self.values[r * self.n_cols..].iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let exact = terms().sum::<f64>() + f64::from(self.bias[r]);
                // Single precision: each sum passes through some dozens of roundings of the magnitudes that it adds up;
                // with mins, those of the levels before the min is taken away, here up to twice as large.
                let tolerance = 2e-6 * (terms().map(f64::abs).sum::<f64>() + 1.0);
                assert!(
                    (f64::from(ours) - exact).abs() <= tolerance,
                    "{} on {}, {n_tokens} tokens, row {r} of token {t}: {ours} instead of {exact} (within {tolerance})",
                    self.ty.name(),
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn products_are_those_of_the_dequantised_weights() {
    for ty in types() {
        // Two steps and a part of one where the type allows it.
        let n_cols = 512 + if ty.block_len() == 256 { 256 } else { 96 };
        let case = Case::new(ty, 37, n_cols);
        for isa in Isa::available() {
            for n_tokens in [1, 2, 3, 7, 16, 23, 33] {
                for rows in [0..37, 5..6, 3..20] {
                    case.check(isa, n_tokens, rows);
                }
            }
        }
    }
}

#[test]
fn rows_of_any_length_work() {
    for (ty, lengths) in [
        (Type::F32, &[1, 15, 17, 255, 300][..]),
        (Type::F16, &[1, 33, 257]),
        (Type::BF16, &[7, 40]),
        (Type::Q8_0, &[32, 64, 288]),
        (Type::Q4_0, &[32, 224]),
        (Type::Q5_1, &[32, 480]),
    ] {
        for &n_cols in lengths {
            let case = Case::new(ty, 5, n_cols);
            for isa in Isa::available() {
                for n_tokens in [1, 6, 18] {
                    case.check(isa, n_tokens, 0..5);
                }
            }
        }
    }
}

/// Each token's products are the same bits alone and with others, of all rows at once and of some.
#[test]
fn products_do_not_depend_on_the_batch() {
    for ty in types() {
        let lengths: &[usize] = match ty.block_len() {
            1 => &[70, 512, 1000],
            32 => &[32, 512, 992],
            // Enough steps that they are done in pieces.
            _ => &[256, 1280, 256 * 27],
        };
        for &n_cols in lengths {
            let case = Case::new(ty, 21, n_cols);
            let x = Noise(5).vector(300 * n_cols);
            for isa in Isa::available() {
                let kernels = Kernels::new(isa);
                let single = |t: usize| case.product(&kernels, &x[t * n_cols..][..n_cols], n_cols, 21, 1, 0..21);
                let alone: Vec<f32> = (0..40).flat_map(single).collect();
                for n_tokens in [1, 2, 3, 5, 7, 16, 17, 24, 27, 40, 300] {
                    for rows in [0..21, 3..20] {
                        let y = case.product(&kernels, &x[..n_tokens * n_cols], n_cols, 21, n_tokens, rows.clone());
                        for (t, (y, alone)) in y.chunks(21).zip(alone.chunks(21)).enumerate() {
                            let bits = |y: &[f32]| y[rows.clone()].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                            let name = ty.name();
                            assert_eq!(
                                bits(y),
                                bits(alone),
                                "{name}, {n_cols} columns, {}, token {t} of {n_tokens}",
                                isa.name()
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn many_tokens_pass_a_panel() {
    let case = Case::new(Type::Q4_K, 18, 256);
    case.check(Isa::available()[Isa::available().len() - 1], 16 * 16 + 40, 0..18);
    let case = Case::new(Type::F16, 18, 256);
    case.check(Isa::available()[Isa::available().len() - 1], 16 * 16 + 40, 1..18);
}

/// Levels and scales at their limits: the 16-bit sums of some instruction sets must not overflow.
#[test]
fn extreme_blocks_do_not_overflow() {
    for ty in types().filter(|ty| ty.block_len() > 1) {
        for fill in [0xffu8, 0x80, 0x7f] {
            let mut case = Case::new(ty, 2, 256);
            for block in case.weights[1..].chunks_exact_mut(ty.block_bytes()) {
                let halves: &[usize] = match ty {
                    Type::Q6_K => &[208],
                    Type::Q4_0 | Type::Q5_0 | Type::Q8_0 | Type::IQ4_NL | Type::IQ4_XS => &[0],
                    Type::Q2_K => &[80, 82],
                    Type::Q3_K => &[108],
                    Type::TQ2_0 => &[64],
                    Type::MXFP4 => &[],
                    _ => &[0, 2],
                };
                block.fill(fill);
                if ty == Type::MXFP4 {
                    block[0] = 126;
                }
                for &at in halves {
                    block[at..at + 2].copy_from_slice(&0x3400u16.to_le_bytes());
                }
            }
            dequantize(ty, &case.weights[1..], &mut case.values);
            for isa in Isa::available() {
                let kernels = Kernels::new(isa);
                for n_tokens in [1, 16, 32] {
                    let x = vec![-1f32; 256 * n_tokens];
                    let fmt = act_format(ty);
                    let mut ws = Workspace::new(act_bytes(fmt, n_tokens, 256).unwrap());
                    let mut scratch = Workspace::new(scratch_bytes(ty, n_tokens, 256).unwrap());
                    let mut y = vec![0f32; 2 * n_tokens];
                    // SAFETY: the vectors above are as long as the shapes say.
                    unsafe {
                        kernels.prepare_acts(&one_part(fmt, &x, n_tokens, ws.start()));
                        let w = case.weights[1..].as_ptr();
                        let (acts, scratch, y) = (ws.start(), scratch.start(), y.as_mut_ptr());
                        let (rows, y_stride) = (0..2, 2);
                        kernels.matmul(&Product { w, rows, acts, n_tokens, scratch, y, y_stride, ..case.shape() });
                    }
                    let exact: f64 = case.values[..256].iter().map(|w| -f64::from(*w)).sum();
                    let size: f64 = case.values[..256].iter().map(|w| f64::from(w.abs())).sum();
                    // As above; the min and the levels may nearly cancel.
                    assert!(
                        (f64::from(y[0]) - exact).abs() <= 1e-4 * (size + 1.0),
                        "{} {fill}: {} {exact}",
                        ty.name(),
                        y[0]
                    );
                }
            }
        }
    }
}

/// The greatest halves: 32 products of a lane fit in 32 bits.
#[test]
fn extreme_halves_do_not_overflow() {
    for (ty, bits) in
        [(Type::F16, 0x7bffu16), (Type::F16, 0xfbff), (Type::BF16, 0x7a7f), (Type::BF16, 0x0200), (Type::F16, 1)]
    {
        let mut case = Case::new(ty, 3, 600);
        case.weights[1..].chunks_exact_mut(2).for_each(|w| w.copy_from_slice(&bits.to_le_bytes()));
        let mut weight = [0f32];
        dequantize(ty, &bits.to_le_bytes(), &mut weight);
        let exact = -600.0 * f64::from(weight[0]);
        for isa in Isa::available() {
            for n_tokens in [1, 8, 40] {
                let x = vec![-1f32; 600 * n_tokens];
                case.bias.fill(0.0);
                for y in case.product(&Kernels::new(isa), &x, 600, 3, n_tokens, 0..3) {
                    // The sum of few roundings of single precision; weights below 2^-115 may be taken as 0.
                    let close = (f64::from(y) - exact).abs() <= 1e-6 * exact.abs() + 600.0 * 2f64.powi(-115);
                    assert!(close, "{} {bits:#x} on {}: {y} instead of {exact}", ty.name(), isa.name());
                }
            }
        }
    }
}

/// Rounded in lanes, products of halves are as near to the exact ones as with activations rounded to F16.
#[test]
fn rounding_in_lanes_is_as_fine_as_f16() {
    let (n_rows, n_cols) = (64, 1024);
    let mut noise = Noise(4);
    // Nearly normal, and a few columns 20 times as large, as models have them.
    let mut normal = || (0..8).map(|_| noise.next()).sum::<f32>();
    let x: Vec<f32> = (0..n_cols).map(|i| normal() * if i % 100 == 7 { 20.0 } else { 1.0 }).collect();
    let w: Vec<f32> = (0..n_rows * n_cols).map(|_| normal() * 0.02).collect();
    let mut case = Case::new(Type::F16, n_rows, n_cols);
    w.chunks(n_cols).zip(case.weights[1..].chunks_exact_mut(2 * n_cols)).for_each(|(w, to)| quantize(Type::F16, w, to));
    let mut w = vec![0f32; n_rows * n_cols];
    dequantize(Type::F16, &case.weights[1..], &mut w);
    case.bias.fill(0.0);
    let (mut halves, mut in_halves) = (vec![0u8; 2 * n_cols], vec![0f32; n_cols]);
    quantize(Type::F16, &x, &mut halves);
    dequantize(Type::F16, &halves, &mut in_halves);
    let sum = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
    for isa in Isa::available() {
        let y = case.product(&Kernels::new(isa), &x, n_cols, n_rows, 1, 0..n_rows);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (row, y) in w.chunks(n_cols).zip(y) {
            ours += (f64::from(y) - sum(row, &x)).powi(2);
            theirs += (sum(row, &in_halves) - sum(row, &x)).powi(2);
        }
        assert!(ours <= theirs, "{}: square error {ours:e}, with activations as F16 {theirs:e}", isa.name());
    }
}

#[test]
fn zero_and_not_a_number_activations() {
    for ty in types() {
        let case = Case::new(ty, 3, 256);
        let fmt = act_format(ty);
        for isa in Isa::available() {
            for (value, n_tokens) in [0.0, f32::NAN].into_iter().flat_map(|x| [(x, 1), (x, 16), (x, 32)]) {
                let mut x = vec![0.0; 256 * n_tokens];
                x.iter_mut().step_by(64).for_each(|x| *x = value);
                let mut ws = Workspace::new(act_bytes(fmt, n_tokens, 256).unwrap());
                let mut scratch = Workspace::new(scratch_bytes(ty, n_tokens, 256).unwrap());
                let mut y = vec![7f32; 3 * n_tokens];
                // SAFETY: the vectors above are as long as the shapes say.
                unsafe {
                    let k = Kernels::new(isa);
                    k.prepare_acts(&one_part(fmt, &x, n_tokens, ws.start()));
                    let w = case.weights[1..].as_ptr();
                    let (acts, scratch, y) = (ws.start(), scratch.start(), y.as_mut_ptr());
                    let (rows, y_stride) = (0..3, 3);
                    k.matmul(&Product { w, rows, acts, n_tokens, scratch, y, y_stride, ..case.shape() });
                }
                let as_asked = |y: &f32| if value == 0.0 { *y == 0.0 } else { y.is_nan() };
                assert!(y.iter().all(as_asked), "{} on {}: {value} gave {y:?}", ty.name(), isa.name());
            }
        }
    }
}

/// Wherever it is in a row, and however great the row's other weights are.
#[test]
fn weights_that_are_no_numbers() {
    for (ty, bits) in [(Type::F16, 0x7e00u16), (Type::F16, 0xfc01), (Type::BF16, 0x7fc0), (Type::BF16, 0xffff)] {
        for column in [0, 15, 16, 47, 255] {
            let mut case = Case::new(ty, 3, 256);
            case.weights[1 + column * 2..][..2].copy_from_slice(&bits.to_le_bytes());
            let x = Noise(3).vector(32 * 256);
            for isa in Isa::available() {
                for n_tokens in [1, 8, 32] {
                    let y = case.product(&Kernels::new(isa), &x[..n_tokens * 256], 256, 3, n_tokens, 0..3);
                    let as_asked = |row: &[f32]| !row[0].is_finite() && row[1].is_finite() && row[2].is_finite();
                    assert!(
                        y.chunks(3).all(as_asked),
                        "{} on {}: {bits:x} in column {column} gave {y:?}",
                        ty.name(),
                        isa.name()
                    );
                }
            }
        }
    }
}

/// A row that ends within 256 columns is read together with the start of the next one, whose values must not matter.
#[test]
fn the_next_row_does_not_matter() {
    // The row ends in the first half of a step, and in the second.
    for (n_cols, ty) in [608, 864].into_iter().flat_map(|n| {
        [Type::Q8_0, Type::Q4_0, Type::Q4_1, Type::Q5_0, Type::Q5_1, Type::IQ4_NL, Type::MXFP4].map(|ty| (n, ty))
    }) {
        let mut case = Case::new(ty, 21, n_cols);
        // Not-a-number as a half; the greatest power of two in MXFP4.
        for row in case.weights[1..].chunks_exact_mut(ty.row_bytes(n_cols).unwrap()).skip(1) {
            row.fill(0xff);
        }
        let x = Noise(3).vector(40 * n_cols);
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for n_tokens in [1, 4, 7, 16, 40] {
                let of = |rows| case.product(&kernels, &x[..n_tokens * n_cols], n_cols, 21, n_tokens, rows);
                let (alone, followed) = (of(0..1), of(0..21));
                for t in 0..n_tokens {
                    let (a, b) = (alone[21 * t], followed[21 * t]);
                    assert!(
                        a.is_finite() && a.to_bits() == b.to_bits(),
                        "{} on {}, token {t}: {a} {b}",
                        ty.name(),
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn workspace_sizes_are_checked() {
    for fmt in [ActFormat::F32, ActFormat::Q14x32, ActFormat::Q8x16] {
        assert_eq!(act_bytes(fmt, usize::MAX, 4096), None);
        assert_eq!(act_bytes(fmt, 4096, usize::MAX), None);
        assert_eq!(act_bytes(fmt, 3, 100).unwrap() % 64, 0);
        assert_eq!(act_bytes(fmt, 0, 100), Some(0));
    }
}

#[test]
fn vector_helpers() {
    for isa in Isa::available() {
        let k = Kernels::new(isa);
        for n in [1, 16, 31, 64, 96, 128, 129] {
            let mut noise = Noise(n as u64);
            let (a, b) = (noise.vector(n), noise.vector(n));
            let dot = |a: &[f32]| a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            // Sums of at most 129 products below 1, in single precision.
            let near = |x: f32, y: f64| assert!((f64::from(x) - y).abs() < 1e-5, "{} {n}: {x} {y}", isa.name());
            near(k.dot_f32(&a, &b), dot(&a));
            let mut e: Vec<f32> = a.iter().map(|v| v * 40.0 - 40.0).collect();
            e[0] = f32::NEG_INFINITY;
            let before = e.clone();
            let sum = k.exp_inplace(&mut e, 1.5);
            near(sum, e.iter().map(|v| f64::from(*v)).sum());
            for (x, e) in before.iter().zip(&e) {
                let exact = f64::from(x - 1.5).exp();
                // 2 units in the last place; less than 1e-38 is 0.
                assert!((f64::from(*e) - exact).abs() <= 2.5e-7 * exact + 1e-38, "{}: exp {x} is {e}", isa.name());
            }
            let gate: Vec<f32> = a.iter().map(|v| v * 100.0).collect();
            let mut out = vec![0.0; n];
            k.silu_mul(&gate, &b, &mut out);
            for i in 0..n {
                let g = f64::from(gate[i]);
                let exact = g / (1.0 + (-g).exp()) * f64::from(b[i]);
                assert!(
                    (f64::from(out[i]) - exact).abs() <= 1e-6 * exact.abs() + 1e-30,
                    "silu({g}) {} {exact}",
                    out[i]
                );
            }
        }
    }
}

/// A head of `n_cells` cells in `ty`, behind another head: the bytes, bytes of a cell, and the head's values.
fn cells_of(ty: Type, n_cells: usize, dim: usize, seed: u64) -> (Vec<u8>, usize, Vec<f32>) {
    let row = ty.row_bytes(2 * dim).unwrap();
    let (mut noise, mut bytes, mut values) = (Noise(seed), vec![0; n_cells * row], vec![0.0; n_cells * dim]);
    for (cell, values) in bytes.chunks_exact_mut(row).zip(values.chunks_exact_mut(dim)) {
        quantize(ty, &noise.vector(2 * dim), cell);
        dequantize(ty, &cell[row / 2..], values);
    }
    (bytes, row, values)
}

#[test]
fn attention_over_a_block() {
    for isa in Isa::available() {
        let k = Kernels::new(isa);
        for (ty, dim_k, dim_v) in [
            (Type::F32, 64, 64),
            (Type::F32, 24, 8),
            (Type::F16, 128, 80),
            (Type::F16, 40, 56),
            (Type::F16, 192, 128),
            (Type::Q8_0, 64, 96),
        ] {
            for (n, softcap) in [(1usize, None), (17, Some(0.7f32)), (64, None)] {
                let what = format!("{} {} {dim_k} {dim_v} {n}", isa.name(), ty.name());
                let order: Vec<u32> = (0..n as u32).map(|i| (i * 37 + 5) % 64).collect();
                let (key_bytes, key_row, keys) = cells_of(ty, 64, dim_k, 1);
                let (value_bytes, value_row, values) = cells_of(ty, 64, dim_v, 2);
                let (dim_kp, dim_vp) = (dim_k.next_multiple_of(16), dim_v.next_multiple_of(16));
                let (mut key_floats, mut value_floats) = (vec![f32::NAN; dim_kp * 64], vec![f32::NAN; dim_vp * 64]);
                let head = |bytes: &[u8], row_bytes: usize| bytes.as_ptr().wrapping_add(row_bytes / 2);
                let (base_k, base_v) = (head(&key_bytes, key_row), head(&value_bytes, value_row));
                // SAFETY: the vectors are as long as the shapes say.
                unsafe {
                    let cells = Cells { base: base_k, row_bytes: key_row, cells: &order, dim: dim_k };
                    k.block_of_keys(ty, cells, key_floats.as_mut_ptr());
                    let cells = Cells { base: base_v, row_bytes: value_row, cells: &order, dim: dim_v };
                    k.block_of_values(ty, cells, value_floats.as_mut_ptr());
                }
                for (i, cell) in order.iter().enumerate() {
                    for d in 0..dim_k {
                        assert_eq!(key_floats[d * 64 + i], keys[*cell as usize * dim_k + d], "{what}");
                    }
                    for d in 0..dim_v {
                        assert_eq!(value_floats[i * dim_vp + d], values[*cell as usize * dim_v + d], "{what}");
                    }
                }
                const ROWS: usize = 7;
                let x = Noise(3).vector(ROWS * dim_k);
                let queries: Vec<*const f32> = x.chunks_exact(dim_k).map(<[f32]>::as_ptr).collect();
                // Over the keys from..to, starting from sums of 0.5 under a maximum of -2 and a total of 3.
                let attend = |queries: &[*const f32], from: usize, to: usize| {
                    let n_rows = queries.len();
                    let (mut scores, mut sums) = (vec![f32::NAN; n_rows * 64], vec![0.5; n_rows * dim_vp]);
                    let (mut max, mut total) = (vec![-2.0; n_rows], vec![3.0; n_rows]);
                    // SAFETY: as above.
                    unsafe {
                        k.attend(BlockOfKeys {
                            keys: key_floats.as_ptr(),
                            values: value_floats.as_ptr(),
                            from,
                            to,
                            dim_k,
                            dim_v: dim_vp,
                            queries,
                            scale: 0.3,
                            softcap,
                            scores: scores.as_mut_ptr(),
                            sums: sums.as_mut_ptr(),
                            max: &mut max,
                            total: &mut total,
                        });
                    }
                    (sums, max, total)
                };
                for (from, to) in [(0, n), (n / 3, n), (0, n.div_ceil(2))] {
                    let (sums, max, total) = attend(&queries, from, to);
                    for row in 0..ROWS {
                        let score = |i: usize| {
                            let key = &keys[order[i] as usize * dim_k..][..dim_k];
                            let dot: f64 =
                                x[row * dim_k..].iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                            softcap.map_or(0.3 * dot, |cap| f64::from(cap) * (0.3 * dot / f64::from(cap)).tanh())
                        };
                        let weight = |i: usize| (score(i) - f64::from(max[row])).exp();
                        let before = (-2.0 - f64::from(max[row])).exp();
                        let near = |x: f32, y: f64| {
                            assert!((f64::from(x) - y).abs() < 1e-4 * (1.0 + y.abs()), "{what}: {x} {y}")
                        };
                        near(total[row], (from..to).map(weight).sum::<f64>() + 3.0 * before);
                        for d in 0..dim_v {
                            let value = |i: usize| f64::from(values[order[i] as usize * dim_v + d]);
                            near(
                                sums[row * dim_vp + d],
                                (from..to).map(|i| weight(i) * value(i)).sum::<f64>() + 0.5 * before,
                            );
                        }
                        let alone = attend(&queries[row..=row], from, to);
                        assert_eq!(alone.0, sums[row * dim_vp..(row + 1) * dim_vp], "{what}");
                        assert_eq!((alone.1[0], alone.2[0]), (max[row], total[row]), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn halves_of_every_kind_are_read_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    for isa in Isa::available() {
        for chunk in halves.chunks(16) {
            let mut y = [0f32; 16];
            let cells = Cells { base: chunk.as_ptr().cast(), row_bytes: 32, cells: &[0], dim: 16 };
            // SAFETY: a cell of 16 halves, and as many floats.
            unsafe { Kernels::new(isa).block_of_values(Type::F16, cells, y.as_mut_ptr()) };
            for (h, y) in chunk.iter().zip(y) {
                let exact = half_to_f32(*h);
                assert!(y == exact || y.is_nan() && exact.is_nan(), "{}: {h:#x} is {y}, not {exact}", isa.name());
            }
        }
    }
}
